"""Finding adapters: the questions a registry answers, each within one snapshot of the database."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy.orm import Session, sessionmaker

from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.encoder_models import Encoder
from registry.db.encoders import active_encoders, encoder_among
from registry.db.session import one_line_errors
from registry.measures import timed
from registry.retrieval.browsing import browse
from registry.retrieval.calibration import calibrate
from registry.retrieval.cards import AdapterCard, count_by_base_model
from registry.retrieval.choosing import Chooser
from registry.retrieval.corrections import put_right
from registry.retrieval.encoder_spaces import Space, spaces_of
from registry.retrieval.errors import EmptyQueryError, NothingIndexedError
from registry.retrieval.filters import (
    Filters,
    base_models_meant,
    base_models_named,
    base_models_of_families,
    known_names,
)
from registry.retrieval.found import MOST_FOUND, page_of
from registry.retrieval.given_values import Likes, Paging, check_length
from registry.retrieval.hybrid import Question, SearchQuery, correct, put, read
from registry.retrieval.known_values import base_models_listed, check_filters
from registry.retrieval.likeness import Spaces, search_alike
from registry.retrieval.opening import ActiveEncoder, ask_opening
from registry.retrieval.paging import MOST_RANKED, Paged, ranked_page, sorted_page
from registry.retrieval.remembered import Remembered, weigh
from registry.retrieval.results import (
    Choice,
    DuplicatesPage,
    SearchPage,
    Similar,
    ask_results,
    load_browse_page,
    load_results,
)
from registry.retrieval.serving_encoders import ServingEncoders, no_encoder
from registry.retrieval.similar import list_duplicates, list_similar
from registry.retrieval.spaces import CaptionSpace, WeightSpace
from registry.retrieval.statements import (
    begin_snapshot,
    ending,
    filter_sql,
    rows,
    snapshot,
    together,
)
from registry.retrieval.terms import Maturity
from registry.text.cached_encoder import LONGEST_KEPT
from registry.text.pasted_prompts import read_pasted
from registry.text.request_frames import what_is_asked
from registry.text.unwanted import read_wish
from registry.text.word_segmentation import clean

NONE_LEFT = "The filters leave no adapter, so that nothing was compared."
UNDERSTOOD = "Read as “{}”, and without “{}”."
CORRECTED = "Nothing here has “{}”: read as “{}”. In quotes a word is taken as it is."
UNKNOWN = "Adapter {} has neither an embedding nor captions nor a fingerprint: it was not compared."
SORTED = f"Only the {MOST_RANKED} most relevant are sorted; by relevance all can be gone through."


class Finder:
    """Search over one database. Safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        blobs: BlobStore,
        text_encoder: TextEncoder,
    ) -> None:
        self._sessions = sessions
        self._text_encoder = text_encoder
        self._encoders = ServingEncoders(settings.text_encoder, blobs)
        self._chooser = Chooser(settings.base_models, self._encoders, text_encoder)
        self.remembered = Remembered()

    def search(self, text: str, filters: Filters, paging: Paging) -> SearchPage:
        """Return a page of adapters, those first that most probably do what `text` says.

        All base models are searched unless `filters` name some. A page's `next` is the cursor of
        the one after it: the list goes on, whatever has come into the index since. In another
        sort what fits or perhaps fits is listed. An empty text asks for all that `filters` let
        through.

        Raises:
            SearchError: nothing is indexed, a filter asks for what is not there, or the cursor is
                of another question.
        """
        started = time.perf_counter()
        if clean(text).strip():
            page = self._search(_checked(text), filters, paging)
        else:
            page = self._everything(filters, paging)
        return replace(page, milliseconds=(time.perf_counter() - started) * 1000)

    def _search(self, text: str, filters: Filters, paging: Paging) -> SearchPage:
        pasted, asked = read_pasted(text), ("search", text, filters, paging)
        with one_line_errors(), snapshot(self._sessions) as session:
            remembered: SearchPage | None = self.remembered.find(session, asked)
            if remembered is not None:
                return remembered
            with together(session):
                begin_snapshot(session)
                opening = ask_opening(session)
                query = SearchQuery(
                    pasted.plain_words, filters, paging.limit, called=pasted.pointers
                )
                question = put(session, query, self._text_encoder)
            opened = opening()
            question = correct(session, question, self._text_encoder)
            names = self._base_models(session, filters, opened.base_models)
            spaces, notes = self._encoder_spaces(filters, names, opened.encoders)
            paged = self._page(session, question, spaces, paging)
            with timed("load"):
                with ending(session):
                    found = ask_results(session, paged.hits)
                results = found()
            if not results and _leave_nothing(session, filters):
                notes = (*notes, NONE_LEFT)
        if question.unwanted:
            notes = (*notes, _understood(question.text, [own.text for own in question.unwanted]))
        notes = (*notes, *_said_corrected(question.corrected))
        if paging.sort != "relevance" and len(paged.found) == MOST_RANKED:
            notes = (*notes, SORTED)
        page = SearchPage(
            text,
            tuple(names) if _names_some(filters) else (),
            results,
            notes,
            found=dict(Counter(paged.found.values()).most_common()),
            ranked=tuple(paged.found),
            next=paged.next,
            sort=paging.sort,
        )
        if len(text) <= LONGEST_KEPT:
            texts = (text, paging.cursor or "", page.next or "")
            self.remembered.keep(asked, opened.state, page, weigh(len(results), page.ranked, texts))
        return page

    def _page(
        self, session: Session, question: Question, spaces: Sequence[Space], paging: Paging
    ) -> Paged:
        if paging.sort == "relevance":
            return ranked_page(session, question, self._text_encoder, spaces, paging.cursor)
        return sorted_page(session, question, self._text_encoder, spaces, paging)

    def alike(self, text: str, likes: Likes, filters: Filters, paging: Paging) -> SearchPage:
        """Return a page of the MOST_FOUND adapters most like some, and `text`, and unlike others.

        In another sort only what fits or perhaps fits is listed, where anything does.
        Without a base model in `filters` all are searched: captions lead from one to another.

        Raises:
            SearchError: this cannot be asked, nothing is indexed, a filter asks for what is not
                there, or the cursor is of another question.
            AdapterNotFoundError: one of the adapters is not there.
        """
        text = asked = _checked(text) if text.strip() else ""
        wish = read_wish(what_is_asked(text))
        if wish.unwanted:
            away = [*([likes.unlike_text] if likes.unlike_text else []), *wish.unwanted]
            text, likes = wish.wanted, replace(likes, unlike_text=", ".join(away))
        question = "alike", text, likes, filters
        started = time.perf_counter()
        with self._snapshot() as session:
            if not base_models_listed(session):
                raise NothingIndexedError
            check_filters(session, filters)
            text, corrected = self._put_right(session, text, filters)
            unlike_text, of_unlike = self._put_right(session, likes.unlike_text, filters)
            likes = replace(likes, unlike_text=unlike_text)
            spaces, notes = self._spaces(session, filters)
            alike = search_alike(session, text, likes, filters, MOST_FOUND, spaces)
            hits = {hit.adapter_id: hit for hit in alike.hits}
            fitting = [id_ for id_, hit in hits.items() if hit.band != "probably not"]
            # By name, what probably is something else would come anywhere.
            listed = list(hits) if paging.sort == "relevance" else fitting or list(hits)
            page = page_of(session, question, listed, paging)
            results = load_results(session, [hits[id_] for id_ in page.ids])
            found = count_by_base_model(session, fitting)
        if wish.unwanted:
            unwanted = [put_right(one, of_unlike) for one in wish.unwanted]
            notes = (*notes, _understood(text, unwanted))
        notes = (*notes, *_said_corrected({**corrected, **of_unlike}))
        elapsed = (time.perf_counter() - started) * 1000
        return SearchPage(
            asked,
            filters.base_models,
            results,
            (*notes, *(UNKNOWN.format(id_) for id_ in alike.unknown)),
            milliseconds=elapsed,
            found=found,
            ranked=tuple(fitting),
            next=page.next,
            compared_by=alike.compared_by,
            sort=paging.sort,
        )

    def _put_right(
        self, session: Session, text: str, filters: Filters
    ) -> tuple[str, Mapping[str, str]]:
        """Return a text as it was meant, and its misspelt words, each with what was meant."""
        if not text:
            return text, {}
        question = read(session, SearchQuery(text, filters), self._text_encoder)
        return put_right(text, question.corrected), question.corrected

    def _everything(self, filters: Filters, paging: Paging) -> SearchPage:
        """Return a page of all that `filters` let through.

        Nothing is more relevant than another then; the newest come first.
        """

        def list_all(session: Session) -> SearchPage:
            if not base_models_listed(session):
                raise NothingIndexedError
            check_filters(session, filters)
            order = "newest" if paging.sort == "relevance" else paging.sort
            listed = browse(session, filters, order, paging.cursor, paging.limit, seed=paging.seed)
            page = load_browse_page(session, listed)
            return SearchPage(
                "",
                filters.base_models,
                (),
                (),
                next=page.next,
                sort=paging.sort,
                listed=page.cards,
                total=page.total,
            )

        question = "everything", filters, paging
        return self.remembered.again(self._sessions, question, list_all, paging.limit)

    def _spaces(self, session: Session, filters: Filters) -> tuple[Spaces, tuple[str, ...]]:
        """Return where the adapters in question are compared, and what is lacking for that."""
        named = _named_here(session, (*filters.base_models, *filters.families))
        # Most base models have no encoder: that is said of those that are asked for.
        names = named or tuple(encoder.base_model for encoder in active_encoders(session))
        found = [self._encoders.find(session, name) for name in names]
        encoders = {encoder.name: encoder for encoder, _ in found if encoder is not None}
        weights = [WeightSpace(encoder) for encoder in encoders.values()]
        notes = tuple(note for _, note in found if note)
        return Spaces(weights, CaptionSpace(self._text_encoder)), notes

    def choose(self, prompt: str, k: int, filters: Filters) -> list[Choice]:
        """Return up to `k` adapters to draw `prompt` with: one for each thing that it names.

        Of a prompt that calls for adapters, as `<lora:name:0.8>`, they are those, at the strengths
        that it says.

        Raises:
            NothingFoundError: there is none.
            CalledAdapterError: one that the prompt calls for is not here.
        """
        pasted = read_pasted(_checked(prompt))
        with self._snapshot() as session:
            if pasted.called[:k]:
                return self._chooser.called(session, pasted, k, filters)
            return self._chooser.choose(session, pasted, k, filters)

    def named_adapters(self, prompt: str, cards: Sequence[AdapterCard]) -> list[Choice]:
        """Return adapters as if they had been chosen for `prompt`."""
        with self._snapshot() as session:
            return self._chooser.named(session, clean(prompt), cards)

    def similar(self, adapter_id: int, paging: Paging, mature: Maturity = "any") -> Similar:
        """Return a page of the adapters with the most similar weights; see `list_similar`."""
        with self._snapshot() as session:
            return list_similar(session, self._encoders, adapter_id, paging, mature)

    def duplicates(self, adapter_id: int, paging: Paging) -> DuplicatesPage:
        """Return a page of adapters that are this one again, the most certain most relevant."""
        with self._snapshot() as session:
            return list_duplicates(session, adapter_id, paging)

    def default_base_model(self) -> str:
        """Return the base model that is searched when none is named; see NothingIndexedError."""
        with self._snapshot() as session:
            return self._chooser.base_model(session, None)

    def calibrate(self, session: Session, encoder: Encoder) -> dict[str, list[float]]:
        """Return what an encoder's similarities mean in this index, for its row."""
        return calibrate(session, encoder, self._encoders.load(encoder)).to_json()

    @contextmanager
    def _snapshot(self) -> Iterator[Session]:
        """Give a session that sees one state of the database however long it is used.

        The active encoder and the embeddings compared with its queries go together: without
        this, one promoted between two statements would be compared with the other's.
        """
        with one_line_errors(), snapshot(self._sessions) as session:
            begin_snapshot(session)
            yield session

    def _base_models(
        self, session: Session, filters: Filters, known: Sequence[str]
    ) -> Sequence[str]:
        """Return the base models to search: all that are `known`, or those that are meant.

        Raises NothingIndexedError, or SearchError for a filter's value that no adapter has.
        """
        if not known:
            raise NothingIndexedError
        check_filters(session, filters, known)
        if not _names_some(filters):
            return known
        meant = set(known)
        if filters.base_models:
            meant &= set(base_models_named(filters))
        if filters.families:
            meant &= set(base_models_of_families(filters))
        return [name for name in known if name in meant]

    def _encoder_spaces(
        self, filters: Filters, names: Sequence[str], active: Sequence[ActiveEncoder]
    ) -> tuple[list[Space], tuple[str, ...]]:
        """Return what to search, parted by encoders, and why weights take no part where it is so.

        Of many base models most have no encoder; that is said of those that were asked for, and
        where none has.
        """
        found = {name: self._encoders.serving(encoder_among(active, name), name) for name in names}
        spaces = spaces_of(names, lambda name: found[name][0])
        lacking = [name for name in names if encoder_among(active, name) is None]
        told = (note for name, (_, note) in found.items() if note and name not in lacking)
        notes = dict.fromkeys((*told, *([no_encoder(lacking)] if lacking else ())))
        if not _names_some(filters):
            if any(space.encoder for space in spaces):
                notes = {}
            if len(spaces) == 1:
                # It has all there are: not to name them spares every statement a condition.
                spaces = [replace(spaces[0], base_models=())]
        return spaces, tuple(notes)


def _understood(wanted: str, unwanted: Iterable[str]) -> str:
    return UNDERSTOOD.format(wanted, "”, “".join(unwanted))


def _said_corrected(corrected: Mapping[str, str]) -> list[str]:
    return [CORRECTED.format(*pair) for pair in corrected.items()]


def _leave_nothing(session: Session, filters: Filters) -> bool:
    condition, values = filter_sql(filters)
    return not rows(session, f"SELECT FROM listings WHERE {condition} LIMIT 1", values)


def _names_some(filters: Filters) -> bool:
    return bool(filters.base_models or filters.families)


def _named_here(session: Session, words: Sequence[str]) -> tuple[str, ...]:
    """Return the base models that words name; of a word for several, those with adapters here."""
    named: list[str] = []
    for word in words:
        names = known_names(word)
        if len(names) > 1:
            listed = set(base_models_listed(session))
            names = tuple(name for name in base_models_meant(word) if name in listed)
        named += names
    return tuple(dict.fromkeys(named))


def _checked(text: str) -> str:
    check_length(text)
    text = clean(text)
    if not text.strip():
        raise EmptyQueryError
    return text
