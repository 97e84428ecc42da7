"""Finding adapters: the questions a registry answers, each within one snapshot of the database."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy.orm import Session, sessionmaker

from encoder.base_models.facts import find_facts, related_base_models
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.encoders import find_active
from registry.db.models import Encoder
from registry.db.session import one_line_errors
from registry.errors import AdapterNotFoundError, BlobNotFoundError
from registry.retrieval.calibration import calibrate
from registry.retrieval.candidates import find_candidates
from registry.retrieval.cards import AdapterCard, count_by_base_model, load_cards
from registry.retrieval.duplicates import find_duplicates
from registry.retrieval.errors import (
    EmptyQueryError,
    NothingFoundError,
    NothingIndexedError,
    QueryTooLongError,
    UnknownBaseModelError,
)
from registry.retrieval.filters import Filters
from registry.retrieval.found import MOST_FOUND, Paging, page_of
from registry.retrieval.hybrid import SearchQuery, ServingEncoder, search
from registry.retrieval.known_values import check_filters
from registry.retrieval.ranking import Calibration, Match, SearchHit, fits
from registry.retrieval.results import (
    Choice,
    ComparedBy,
    DuplicatesPage,
    SearchPage,
    Similar,
    load_duplicates,
    load_results,
)
from registry.retrieval.selection import choose
from registry.retrieval.vector import (
    nearest_by_fingerprint,
    nearest_by_weights,
    weight_embeddings,
)
from registry.text.prompt_phrases import texts_of
from registry.text.trigger_words import missing_triggers
from registry.text.word_segmentation import clean

if TYPE_CHECKING:
    from encoder.weight_encoders.checkpoint import WeightEncoder


# The API takes 2,000; a file of prompts on the command line is a mistake.
MOST_CHARACTERS = 10_000


class Finder:
    """Search over one database. Safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        blobs: BlobStore,
        text_encoder: TextEncoder,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._blobs = blobs
        self._text_encoder = text_encoder
        self._lock = threading.Lock()
        # Those loaded so far, by the hash of their checkpoint.
        self._encoders: dict[str, WeightEncoder] = {}

    def search(
        self, text: str, filters: Filters, limit: int = 10, *, nearest: bool = False
    ) -> SearchPage:
        """Return up to `limit` adapters that suit `text`, best first; none when nothing fits.

        `nearest` returns the nearest all the same. Without a base model in `filters` the
        default one is searched.

        Raises:
            SearchError: the text is empty, nothing is indexed, or not for this base model.
        """
        text = _checked(text)
        started = time.perf_counter()
        with self._snapshot() as session:
            filters, encoder, notes = self._prepare(session, filters)
            query = SearchQuery(text, filters, limit)
            hits = search(session, query, self._text_encoder, encoder)
            fitting = fits(hits)
            results = load_results(session, hits if fitting or nearest else [])
        elapsed = (time.perf_counter() - started) * 1000
        return SearchPage(text, filters.base_models[0], results, notes, elapsed, fitting)

    def choose(self, prompt: str, k: int, filters: Filters) -> list[Choice]:
        """Return up to `k` adapters to draw `prompt` with: one for each thing that it names.

        `registry.retrieval.selection` says how. Raises NothingFoundError when there is none.
        """
        prompt = _checked(prompt)
        with self._snapshot() as session:
            filters, encoder, _ = self._prepare(session, replace(filters, variants=False))
            chosen = choose(
                find_candidates(session, prompt, filters, self._text_encoder, encoder), k
            )
            cards = load_cards(session, [candidate.adapter_id for candidate in chosen])
            nearness = self._nearness(session, prompt, list(cards.values()))
        if not chosen:
            raise NothingFoundError(prompt, filters.base_models[0])
        return [
            Choice(
                cards[candidate.adapter_id],
                *nearness[candidate.adapter_id],
                candidate.span.text,
            )
            for candidate in chosen
        ]

    def named_adapters(self, prompt: str, cards: Sequence[AdapterCard]) -> list[Choice]:
        """Return adapters as if they had been chosen for `prompt`."""
        with self._snapshot() as session:
            nearness = self._nearness(session, clean(prompt), cards)
        return [Choice(card, *nearness[card.id]) for card in cards]

    def _nearness(
        self, session: Session, prompt: str, cards: Sequence[AdapterCard]
    ) -> dict[int, tuple[tuple[float, ...] | None, tuple[float, ...] | None]]:
        """Return by id how similar an adapter's weights are to each part of `prompt`, the whole
        first, and their embedding.

        The trigger words that fusing adds are parts too: adapters that are named are wanted.
        By the active encoder of each one's base model; None where it does not know them.
        """
        nearness: dict[int, tuple[tuple[float, ...] | None, tuple[float, ...] | None]] = {
            card.id: (None, None) for card in cards
        }
        added = [word for words in missing_triggers(prompt, cards) for word in words]
        embeddings = self._text_encoder.encode([*texts_of(prompt), *added])
        for base_model in dict.fromkeys(card.base_model for card in cards):
            encoder, _ = self._find_encoder(session, base_model)
            if encoder is None:
                continue
            queries = encoder.encode_query(embeddings)
            ids = [card.id for card in cards if card.base_model == base_model]
            stored = weight_embeddings(session, encoder=encoder.name, adapter_ids=ids)
            for id_, weights in stored.items():
                # Stored in half precision, so that the length is not quite 1.
                similarities = queries @ weights / np.linalg.norm(weights)
                nearness[id_] = (tuple(similarities.tolist()), tuple(weights.tolist()))
        return nearness

    def similar(self, adapter_id: int, paging: Paging) -> Similar:
        """Return a page of the MOST_FOUND adapters of the same family with most similar weights.

        By fingerprints where no encoder is active, or where it has not embedded the adapter.
        """
        with self._snapshot() as session:
            card = load_cards(session, [adapter_id]).get(adapter_id)
            if card is None:
                raise AdapterNotFoundError(adapter_id)
            filters = Filters((_family_of(card.base_model),))
            found = self._nearest_by_encoder(session, card, filters, MOST_FOUND + 1)
            by: ComparedBy = "encoder"
            if found is None:
                found = nearest_by_fingerprint(session, adapter_id, filters, MOST_FOUND + 1)
                by = "fingerprints" if found is not None else "nothing"
            hits = {
                match.adapter_id: SearchHit(match.adapter_id, match.score, {"weights": match.score})
                for match in found or ()
                if match.adapter_id != adapter_id
            }
            ids = list(hits)[:MOST_FOUND]
            page = page_of(session, ("similar", adapter_id), ids, paging)
            results = load_results(session, [hits[id_] for id_ in page.ids])
            return Similar(by, results, page.total, page.next)

    def _nearest_by_encoder(
        self, session: Session, card: AdapterCard, filters: Filters, limit: int
    ) -> list[Match] | None:
        """Return the nearest adapters in the encoder's space; None where it lacks this one."""
        encoder, _ = self._find_encoder(session, card.base_model)
        if encoder is None:
            return None
        weights = weight_embeddings(session, encoder=encoder.name, adapter_ids=[card.id])
        if card.id not in weights:
            return None
        return nearest_by_weights(
            session, weights[card.id], encoder=encoder.name, filters=filters, limit=limit
        )

    def duplicates(self, adapter_id: int, paging: Paging) -> DuplicatesPage:
        """Return a page of adapters that are this one again, the most certain most relevant."""
        with self._snapshot() as session:
            if not load_cards(session, [adapter_id]):
                raise AdapterNotFoundError(adapter_id)
            found = {copy.adapter_id: copy for copy in find_duplicates(session, adapter_id)}
            page = page_of(session, ("duplicates", adapter_id), list(found), paging)
            results = load_duplicates(session, [found[id_] for id_ in page.ids])
            return DuplicatesPage(results, page.total, page.next)

    def default_base_model(self) -> str:
        """Return the base model that is searched when none is named; see NothingIndexedError."""
        with self._snapshot() as session:
            return self._resolve_base_model(session, None)

    def calibrate(self, session: Session, encoder: Encoder) -> dict[str, list[float]]:
        """Return what an encoder's similarities mean in this index, for its row."""
        return calibrate(session, encoder, self._load(encoder)).to_json()

    @contextmanager
    def _snapshot(self) -> Iterator[Session]:
        """Give a session that sees one state of the database however long it is used.

        The active encoder and the embeddings compared with its queries go together: without
        this, one promoted between two statements would be compared with the other's.
        """
        with one_line_errors(), self._sessions() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def _prepare(
        self, session: Session, filters: Filters
    ) -> tuple[Filters, ServingEncoder | None, tuple[str, ...]]:
        base_model = self._resolve_base_model(session, next(iter(filters.base_models), None))
        check_filters(session, filters)
        encoder, note = self._find_encoder(session, base_model)
        return filters.of(base_model), encoder, (note,) if note else ()

    def _resolve_base_model(self, session: Session, asked: str | None) -> str:
        """Return `asked` if it has adapters; else the default.

        The default is what most adapters are for, among those that images can be made
        with here (REGISTRY_BASE_MODELS), if there are any.
        """
        known = list(count_by_base_model(session))
        if not known:
            raise NothingIndexedError
        if asked is None:
            runnable = [name for name in known if name in self._settings.base_models]
            return (runnable or known)[0]
        if not set(related_base_models(asked)) & set(known):
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
        if active.text_encoder != self._settings.text_encoder:
            return None, (
                f"Weights were not compared: encoder {active.name} reads "
                f"{active.text_encoder}, not {self._settings.text_encoder}. "
                "Set REGISTRY_TEXT_ENCODER."
            )
        calibration = Calibration.from_json(active.calibration)
        return ServingEncoder(active.name, self._load(active), calibration), None

    def _load(self, active: Encoder) -> "WeightEncoder":
        with self._lock:
            sha256 = active.checkpoint_sha256
            if sha256 not in self._encoders:
                from encoder.weight_encoders.checkpoint import load_encoder

                if not self._blobs.exists(sha256):
                    raise BlobNotFoundError(sha256)
                self._encoders[sha256] = load_encoder(self._blobs.path(sha256))
            return self._encoders[sha256]


def _family_of(base_model: str) -> str:
    """Return the name that means a base model's whole family, where it has one."""
    facts = find_facts(base_model)
    return facts.name if facts and facts.name in facts.variants else base_model


def _checked(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise QueryTooLongError(len(text), MOST_CHARACTERS)
    text = clean(text)
    if not text.strip():
        raise EmptyQueryError
    return text
