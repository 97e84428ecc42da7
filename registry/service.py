"""The registry as one object: what the CLI, the API, the page and `registry.fuse` share."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sqlalchemy.orm import Session, sessionmaker

from encoder.text_encoder import TextEncoder
from registry import making
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.encoders import find_active, promote, roll_back
from registry.db.models import Cover
from registry.db.session import one_line_errors, open_database
from registry.errors import (
    AdapterNotFoundError,
    BlobNotFoundError,
    CoverNotFoundError,
)
from registry.search.caching import load_cached_text_encoder
from registry.search.cards import (
    AdapterCard,
    AdapterDetail,
    Choice,
    RunFacts,
    SearchPage,
    SearchResult,
    count_by_base_model,
    find_cover,
    get_detail,
    list_cards,
    list_runs,
    load_cards,
    load_results,
)
from registry.search.errors import (
    EmptyQueryError,
    NothingFoundError,
    NothingIndexedError,
    UnknownBaseModelError,
)
from registry.search.filters import Filters
from registry.search.hybrid import SearchQuery, ServingEncoder, search
from registry.search.ranking import SearchHit
from registry.search.segment import clean, segment
from registry.search.selection import Candidate, choose, relevances
from registry.search.vector import nearest_by_weights, weight_embeddings, weights_similarities

if TYPE_CHECKING:
    from encoder.checkpoint import WeightEncoder
    from registry.fusion.backends.base import Progress
    from registry.fusion.generate import FusedImage
    from registry.fusion.inject import Mode
    from registry.fusion.recipe import Recipe
    from registry.making import Size
    from registry.studio import Studio

# From so many of the best hits the adapters of an image are chosen.
FUSE_CANDIDATES = 20
MOST_ADAPTERS = 5


class Registry:
    """Search and fusion over one database and one blob store.

    Nothing is opened before it is needed, and torch is not imported before an image is
    made. Safe to share between threads. Close it, or use it as a context manager: the
    embedded PostgreSQL may stop with its last user.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._stack = ExitStack()
        # Reentrant: opening the one thing may open another.
        self._lock = threading.RLock()
        self._sessions: sessionmaker[Session] | None = None
        self._blobs: BlobStore | None = None
        # By the hash of the checkpoint.
        self._encoders: dict[str, WeightEncoder] = {}
        self._studio: Studio | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._sessions = None
            self._stack.close()

    @property
    def sessions(self) -> sessionmaker[Session]:
        """Sessions on the database, which is started and migrated on first use."""
        with self._lock:
            if self._sessions is None:
                self._sessions = self._stack.enter_context(open_database(self.settings))
            return self._sessions

    @property
    def blobs(self) -> BlobStore:
        with self._lock:
            if self._blobs is None:
                self._blobs = BlobStore(self.settings.blobs)
            return self._blobs

    @property
    def text_encoder(self) -> TextEncoder:
        return load_cached_text_encoder(self.settings.text_encoder)

    def warm_up(self) -> None:
        """Open and load what the first search would otherwise wait for."""
        self.base_models()
        self.text_encoder.encode(["warm"])
        segment("预热")

    # Reading

    def search(
        self,
        text: str,
        base_model: str | None = None,
        limit: int = 10,
        *,
        author: str | None = None,
        tags: Sequence[str] = (),
        licence: str | None = None,
        hub: str | None = None,
    ) -> SearchPage:
        """Return up to `limit` adapters that suit `text`, best first.

        Without `base_model` the default one is searched: adapters of different base models
        never share a page, for they cannot share an image.

        Raises:
            SearchError: the text is empty, nothing is indexed, or not for this base model.
        """
        text = clean(text)
        if not text.strip():
            raise EmptyQueryError
        started = time.perf_counter()
        with self._snapshot() as session:
            base_model = self._resolve_base_model(session, base_model)
            filters = Filters(base_model, author, tuple(tags), licence, hub)
            encoder, note = self._find_encoder(session, base_model)
            hits = search(session, SearchQuery(text, filters, limit), self.text_encoder, encoder)
            results = load_results(session, hits)
        elapsed = (time.perf_counter() - started) * 1000
        return SearchPage(text, base_model, results, (note,) if note else (), elapsed)

    def adapter(self, adapter_id: int) -> AdapterDetail:
        """Return all that is known of an adapter, or raise AdapterNotFoundError."""
        with one_line_errors(), self.sessions() as session:
            return get_detail(session, adapter_id)

    def similar(self, adapter_id: int, limit: int = 10) -> tuple[SearchResult, ...]:
        """Return adapters of the same base model with the most similar weights.

        Empty when the adapter has no embedding (no active encoder for its base model).
        """
        with self._snapshot() as session:
            card = load_cards(session, [adapter_id]).get(adapter_id)
            if card is None:
                raise AdapterNotFoundError(adapter_id)
            encoder, _ = self._find_encoder(session, card.base_model)
            if encoder is None:
                return ()
            own = weight_embeddings(session, encoder=encoder.name, adapter_ids=[adapter_id])
            if adapter_id not in own:
                return ()
            matches = nearest_by_weights(
                session,
                own[adapter_id],
                encoder=encoder.name,
                filters=Filters(card.base_model),
                limit=limit + 1,
            )
            hits = [
                SearchHit(match.adapter_id, match.score, {"weights": match.score})
                for match in matches
                if match.adapter_id != adapter_id
            ]
            return load_results(session, hits[:limit])

    def adapters(
        self, filters: Filters | None = None, *, before_id: int | None = None, limit: int = 50
    ) -> list[AdapterCard]:
        """Return ready adapters, the last added first, below `before_id`."""
        with one_line_errors(), self.sessions() as session:
            return list_cards(
                session, filters=filters or Filters(), before_id=before_id, limit=limit
            )

    def cards(self, adapter_ids: Sequence[int]) -> list[AdapterCard]:
        """Return the cards of those ids that exist, in the order given."""
        with one_line_errors(), self.sessions() as session:
            cards = load_cards(session, adapter_ids)
        return [cards[id_] for id_ in dict.fromkeys(adapter_ids) if id_ in cards]

    def cover(self, adapter_id: int, position: int) -> Cover:
        with one_line_errors(), self.sessions() as session:
            cover = find_cover(session, adapter_id, position)
        if cover is None:
            raise CoverNotFoundError(adapter_id, position)
        return cover

    def base_models(self) -> dict[str, int]:
        """Return how many adapters are ready of every base model, most first."""
        with one_line_errors(), self.sessions() as session:
            return count_by_base_model(session)

    def runs(self, *, before_id: int | None = None, limit: int = 20) -> list[RunFacts]:
        with one_line_errors(), self.sessions() as session:
            return list_runs(session, before_id=before_id, limit=limit)

    def default_base_model(self) -> str:
        """Return the base model that is searched when none is named; see NothingIndexedError."""
        with one_line_errors(), self.sessions() as session:
            return self._resolve_base_model(session, None)

    def _resolve_base_model(self, session: Session, asked: str | None) -> str:
        """Return `asked` if it has adapters; else the default.

        The default is what most adapters are for, among those that images can be made
        with here (REGISTRY_BASE_MODELS), if there are any.
        """
        known = list(count_by_base_model(session))
        if not known:
            raise NothingIndexedError
        if asked is None:
            runnable = [name for name in known if name in self.settings.base_models]
            return (runnable or known)[0]
        if asked not in known:
            raise UnknownBaseModelError(asked, known)
        return asked

    def _find_encoder(
        self, session: Session, base_model: str
    ) -> tuple[ServingEncoder | None, str | None]:
        """Return the active encoder of a base model, or why the weights take no part.

        Looked up in the database each time, so that a promotion shows at once.
        """
        active = find_active(session, base_model)
        if active is None:
            return None, (
                f"No weight encoder is active for {base_model}: weights were not compared. "
                "Add one with `autolora encoders add`."
            )
        if active.text_encoder != self.settings.text_encoder:
            return None, (
                f"Weights were not compared: encoder {active.name} reads "
                f"{active.text_encoder}, not {self.settings.text_encoder}. "
                "Set REGISTRY_TEXT_ENCODER."
            )
        with self._lock:
            sha256 = active.checkpoint_sha256
            if sha256 not in self._encoders:
                from encoder.checkpoint import load_encoder

                if not self.blobs.exists(sha256):
                    raise BlobNotFoundError(sha256)
                self._encoders[sha256] = load_encoder(self.blobs.path(sha256))
            return ServingEncoder(active.name, self._encoders[sha256]), None

    @contextmanager
    def _snapshot(self) -> Iterator[Session]:
        """Give a session that sees one state of the database however long it is used.

        The active encoder and the embeddings compared with its queries go together: without
        this, one promoted between two statements would be compared with the other's.
        """
        with one_line_errors(), self.sessions() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    # Encoders

    def promote(self, name: str, *, reason: str | None = None) -> str:
        """Let search use an encoder; return its base model. `reason` overrides thresholds.

        Raises:
            PromotionError: it is not back-filled, or not good enough.
        """
        with one_line_errors(), self.sessions.begin() as session:
            return promote(session, name, reason=reason).base_model

    def roll_back(self, base_model: str) -> str:
        """Let search use the encoder again that the active one replaced; return its name."""
        with one_line_errors(), self.sessions.begin() as session:
            return roll_back(session, base_model).name

    # Making images

    @property
    def studio(self) -> "Studio":
        """What makes images: base models, gates and weights, loaded when first needed."""
        with self._lock:
            if self._studio is None:
                from registry.studio import Studio

                self._studio = Studio(self.settings, self.blobs, self.text_encoder)
            return self._studio

    def fuse(
        self,
        prompt: str,
        *,
        k: int = 3,
        adapters: Sequence[int] | None = None,
        strengths: Sequence[float] | None = None,
        base_model: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        size: "Size | None" = None,
        mode: "Mode" = "gated",
        check: bool = True,
        progress: "Progress | None" = None,
    ) -> "FusedImage":
        """Draw `prompt` with up to `k` adapters that search finds for it.

        `adapters` (ids) replaces the search; `strengths` (default 1) go with them, in
        order. The adapters' trigger words are added to the prompt where it lacks them.
        `check` measures how far they depart from the base together.

        Raises:
            SearchError: nothing suits the prompt.
            FusionError: a base model or gates are missing, or an adapter does not fit.
        """
        return making.fuse(
            self,
            self.studio,
            clean(prompt),
            k=k,
            adapters=adapters,
            strengths=strengths,
            base_model=base_model,
            seed=seed,
            steps=steps,
            size=size,
            mode=mode,
            check=check,
            progress=progress,
        )

    def reproduce(self, recipe: "Recipe", progress: "Progress | None" = None) -> "FusedImage":
        """Draw the image of a recipe again: on the same machine, to the bit."""
        return self.studio.reproduce(recipe, progress)

    def choose(self, prompt: str, k: int = 3, *, base_model: str | None = None) -> list[Choice]:
        """Return up to `k` adapters to draw `prompt` with: relevant, and unlike one another.

        `registry.search.selection` says how. Raises NothingFoundError when there is none.
        """
        page = self.search(prompt, base_model, FUSE_CANDIDATES)
        # Of all hits, those that cannot be fused too: how good the best is does not change.
        relevance = relevances([result.hit for result in page.results])
        with self._snapshot() as session:
            encoder, _ = self._find_encoder(session, page.base_model)
            embeddings = (
                weight_embeddings(session, encoder=encoder.name, adapter_ids=list(relevance))
                if encoder is not None
                else {}
            )
        results = {result.card.id: result for result in page.results if result.card.fusable}
        candidates = [
            Candidate(id_, result.card.file_sha256 or "", relevance[id_], embeddings.get(id_))
            for id_, result in results.items()
        ]
        chosen = [results[candidate.adapter_id] for candidate in choose(candidates, k)]
        if not chosen:
            raise NothingFoundError(prompt, page.base_model)
        return [Choice(result.card, result.hit.signals["weights"]) for result in chosen]

    def similarities(self, prompt: str, cards: Sequence[AdapterCard]) -> dict[int, float]:
        """Return how similar `prompt` is to each adapter's weights, for those that have it.

        By id, -1..1, by the active encoder of each one's base model.
        """
        found: dict[int, float] = {}
        embedding = self.text_encoder.encode([clean(prompt)])
        with self._snapshot() as session:
            for base_model in dict.fromkeys(card.base_model for card in cards):
                encoder, _ = self._find_encoder(session, base_model)
                if encoder is not None:
                    found |= weights_similarities(
                        session,
                        encoder.encode_query(embedding)[0],
                        encoder=encoder.name,
                        adapter_ids=[card.id for card in cards if card.base_model == base_model],
                    )
        return found

    def choices(self, prompt: str, adapter_ids: Sequence[int]) -> list[Choice]:
        """Return those adapters of `adapter_ids` that exist, with the prompt's similarity."""
        cards = self.cards(adapter_ids)
        similarity = self.similarities(prompt, cards) if cards else {}
        return [Choice(card, similarity.get(card.id)) for card in cards]
