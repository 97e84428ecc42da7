"""The registry as one object: what the CLI, the API, the page and `registry.fuse` share."""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from sqlalchemy.orm import Session, sessionmaker

from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore, make_private
from registry.config import Settings
from registry.db.claims import find_peft_config, store_claim
from registry.db.models import Cover
from registry.db.pending import PendingFile
from registry.db.promotion import promote, roll_back
from registry.db.runs import RunFacts, list_runs
from registry.db.session import one_line_errors, open_database
from registry.errors import (
    BlobNotFoundError,
    CoverNotFoundError,
)
from registry.fusion.maker import Maker
from registry.fusion.options import CompareOptions, FuseOptions, GridOptions, StepCallback
from registry.fusion.studio import Studio
from registry.refresh.learn import Learner, Lesson, Progress, silent
from registry.refresh.steps.read import read_stored, reader_version
from registry.retrieval.cards import (
    AdapterCard,
    State,
    count_by_base_model,
    is_sound_file,
    list_cards,
    load_cards,
)
from registry.retrieval.covers import find_cover
from registry.retrieval.details import AdapterDetail, get_detail
from registry.retrieval.filters import Filters
from registry.retrieval.finder import Finder
from registry.retrieval.results import Choice, DuplicateResult, SearchPage, Similar
from registry.text.cached_encoder import load_cached_text_encoder
from registry.text.word_segmentation import segment

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry.fusion.generate import FusedImage
    from registry.fusion.recipe import Recipe

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
        # Reentrant, because opening one thing may open another.
        self._lock = threading.RLock()
        self._sessions: sessionmaker[Session] | None = None
        self._blobs: BlobStore | None = None
        self._finder: Finder | None = None
        self._maker: Maker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is open."""
        with self._lock:
            self._sessions = self._finder = None
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
                # Before anybody puts a file there: all that lies below is private with it.
                make_private(self.settings.home)
                self._blobs = BlobStore(self.settings.blobs, self.settings.disk_limits)
            return self._blobs

    @property
    def finder(self) -> Finder:
        """What answers questions about adapters; it keeps the encoders that it has loaded."""
        with self._lock:
            if self._finder is None:
                self._finder = Finder(self.settings, self.sessions, self.blobs, self.text_encoder)
            return self._finder

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
        nearest: bool = False,
    ) -> SearchPage:
        """Return up to `limit` adapters that suit `text`, best first; none when nothing fits.

        `nearest` returns the nearest all the same. Without `base_model` the default one is
        searched: adapters of different base models never share a page, for they cannot share
        an image.

        Raises:
            SearchError: the text is empty, nothing is indexed, or not for this base model.
        """
        filters = Filters(
            base_models=_given(base_model),
            authors=_given(author),
            tags=tuple(tags),
            licences=_given(licence),
            hubs=_given(hub),
        )
        return self.finder.search(text, filters, limit, nearest=nearest)

    def adapter(self, adapter_id: int) -> AdapterDetail:
        """Return all that is known of an adapter, or raise AdapterNotFoundError."""
        with one_line_errors(), self.sessions() as session:
            return get_detail(session, adapter_id)

    def similar(self, adapter_id: int, limit: int = 10) -> Similar:
        """Return adapters of the same family with the most similar weights, and what told them.

        Fingerprints do where no encoder is active.
        """
        return self.finder.similar(adapter_id, limit)

    def duplicates(self, adapter_id: int) -> tuple[DuplicateResult, ...]:
        """Return adapters that are this one again: listed elsewhere, re-saved, little changed."""
        return self.finder.duplicates(adapter_id)

    def adapters(
        self,
        filters: Filters | None = None,
        *,
        before_id: int | None = None,
        limit: int = 50,
        state: State = "ready",
    ) -> list[AdapterCard]:
        """Return adapters of a state, the last added first, below `before_id`."""
        with one_line_errors(), self.sessions() as session:
            return list_cards(
                session, filters=filters or Filters(), before_id=before_id, limit=limit, state=state
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
        return self.finder.default_base_model()

    def claim(
        self, adapter_id: int, base_model: str | None, who: str = "somebody"
    ) -> AdapterDetail:
        """Say what an adapter is for, None to take that back; its file is read again with it.

        What its layers rule out is noted and not believed; the answer's verdict tells.

        Raises:
            AdapterNotFoundError: there is none of this id.
            UnknownClaimError: nothing known here is called so.
        """
        with one_line_errors(), self.sessions.begin() as session:
            sha256 = store_claim(session, adapter_id, base_model, who)
        if sha256 is not None and self.blobs.exists(sha256):
            file = PendingFile(sha256, f"adapter {adapter_id}")
            with one_line_errors():
                read_stored(self.sessions, self.blobs, file, reader_version())
        return self.adapter(adapter_id)

    # Encoders

    def promote(self, name: str, *, reason: str | None = None) -> str:
        """Let search use an encoder; return its base model. `reason` overrides thresholds.

        Raises:
            PromotionError: it is not back-filled, or not good enough.
        """
        with one_line_errors(), self.sessions.begin() as session:
            encoder = promote(session, name, reason=reason)
            encoder.calibration = self.finder.calibrate(session, encoder)
            return encoder.base_model

    def roll_back(self, base_model: str) -> str | None:
        """Let search use the encoder again that the active one replaced; return its name.

        None where it replaced none: then weights are compared no more.
        """
        with one_line_errors(), self.sessions.begin() as session:
            encoder = roll_back(session, base_model)
            if encoder is None:
                return None
            encoder.calibration = self.finder.calibrate(session, encoder)
            return encoder.name

    def learn(self, base_model: str, progress: Progress = silent) -> Lesson:
        """Train an encoder on what is here, and let it serve where it finds more for certain.

        Raises:
            NotEnoughToLearnError: too few captioned adapters, or authors.
        """
        learner = Learner(
            self.sessions, self.blobs, self.text_encoder, self.settings.home / "learning"
        )
        with one_line_errors():
            return learner.learn(base_model, progress)

    # Making images

    @property
    def maker(self) -> Maker:
        """What makes images; base models, gates and weights are loaded when first needed."""
        with self._lock:
            if self._maker is None:
                self._maker = Maker(self, Studio(self.settings, self.file, self.peft_config))
            return self._maker

    def fuse(self, prompt: str, **options: Unpack[FuseOptions]) -> "FusedImage":
        """Draw `prompt` with adapters that search finds for it, or those named: `Maker.fuse`."""
        return self.maker.fuse(prompt, **options)

    def grid(self, prompt: str, adapters: Sequence[int], **options: Unpack[GridOptions]) -> "Image":
        """Draw every pair of `adapters` fused, and each of them alone: `Maker.grid`."""
        return self.maker.grid(prompt, adapters, **options)

    def compare(self, prompt: str, **options: Unpack[CompareOptions]) -> "Image":
        """Draw the base, each adapter alone, and all by every way of fusing: `Maker.compare`."""
        return self.maker.compare(prompt, **options)

    def reproduce(self, recipe: "Recipe", progress: StepCallback | None = None) -> "FusedImage":
        """Draw the image of a recipe again: on the same machine, to the bit."""
        return self.maker.reproduce(recipe, progress)

    def file(self, sha256: str) -> Path:
        """Return where an adapter's file lies, or raise BlobNotFoundError."""
        if not self.blobs.exists(sha256):
            raise BlobNotFoundError(sha256)
        return self.blobs.path(sha256)

    def peft_config(self, sha256: str) -> str:
        """Return PEFT's config that an adapter's file was read with; "" if there was none."""
        with one_line_errors(), self.sessions() as session:
            return find_peft_config(session, sha256)

    def may_hand_out(self, sha256: str) -> bool:
        """Whether a hash is that of an adapter's file that was read here, and not refused."""
        with one_line_errors(), self.sessions() as session:
            return is_sound_file(session, sha256)

    def choose(self, prompt: str, k: int = 3, *, base_model: str | None = None) -> list[Choice]:
        """Return up to `k` adapters to draw `prompt` with: one for each thing that it names.

        Raises NothingFoundError when there is none.
        """
        return self.finder.choose(prompt, k, Filters(_given(base_model)))

    def named_adapters(self, prompt: str, adapter_ids: Sequence[int]) -> list[Choice]:
        """Return those adapters of `adapter_ids` that exist, with the prompt's similarity."""
        return self.finder.named_adapters(prompt, self.cards(adapter_ids))


def _given(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)
