"""Adapters of a registry: finding them, reading of them, and their files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from sqlalchemy.orm import Session

from registry.config import Settings
from registry.db.adapters import find_page_of_dropped
from registry.db.claims import find_peft_config
from registry.errors import (
    BlobNotFoundError,
    CoverNotFoundError,
    FileNotKeptError,
)
from registry.open_registry import OpenRegistry
from registry.retrieval.browsing import Total, browse, count
from registry.retrieval.cards import (
    AdapterCard,
    cards_of_file,
    count_by_base_model,
    is_sound_file,
    load_cards,
    safe_page_url,
)
from registry.retrieval.chinese_texts import short_chinese_texts
from registry.retrieval.covers import CoverFiles, find_cover
from registry.retrieval.details import AdapterDetail, get_detail
from registry.retrieval.facets import Facets, count_facets, count_facets_among
from registry.retrieval.filters import Filters, known_name
from registry.retrieval.found import MOST_FOUND
from registry.retrieval.given_values import Likes, Paging, check_choice, check_limit
from registry.retrieval.known_values import base_models_listed, check_filters
from registry.retrieval.other_states import browse_state
from registry.retrieval.results import (
    BrowsePage,
    Choice,
    DuplicatesPage,
    SearchPage,
    Similar,
    load_browse_page,
)
from registry.retrieval.terms import MATURITIES, SORTS, Maturity, Sort, State
from registry.text.word_segmentation import clean

# A search on the command line waits for all that is loaded here.
if TYPE_CHECKING:
    from registry.picture_search import PictureSearch
    from registry.retrieval.by_picture import PicturePage


# What all facets take in memory against an adapter of an answer.
FACETS_WEIGH = 12


class SearchService(OpenRegistry):
    """Finds adapters, tells what is known of them, and says where their files are."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self._picture_search: PictureSearch | None = None

    def close(self) -> None:
        """Give back what is open; a picture search is of the database that was."""
        with self._lock:
            self._picture_search = None
            super().close()

    # Questions

    def search(
        self,
        text: str,
        filters: Filters | None = None,
        paging: Paging | None = None,
        *,
        likes: Likes | None = None,
    ) -> SearchPage:
        """Return a page of adapters, those first that most probably do what `text` says.

        With `likes`, adapters that are like some and unlike others. An empty text without any
        lists all that filters let through, the newest first.

        Adapters of all base models, unless `filters` name some. A page's `next` is the cursor of
        the one after it. In another sort only what fits or perhaps fits is listed, where anything
        does.

        Raises:
            SearchError: nothing is indexed, a filter asks for what is not there, or the cursor is
                of another question.
        """
        filters, paging = filters or Filters(), (paging or Paging()).checked()
        text, likes = clean(text).strip(), likes or Likes()
        likes = replace(likes, unlike_text=clean(likes.unlike_text).strip())
        if likes:
            return self.finder.alike(text, likes, filters, paging)
        return self.finder.search(text, filters, paging)

    def search_picture(
        self,
        picture: Path | str | bytes,
        filters: Filters | None = None,
        limit: int = 10,
        *,
        describe: bool = True,
    ) -> "PicturePage":
        """Return up to `limit` adapters that a picture was made with, or that made one like it.

        With `describe` a vision model says what it shows, where there is an endpoint of one.

        Raises:
            PictureError: it is no picture, or none that can be read.
            SearchError: a filter asks for what is not there.
        """
        from registry.picture_search import PictureSearch

        with self._lock:
            if self._picture_search is None:
                self._picture_search = PictureSearch(
                    self.settings, self.sessions, self.blobs, self.finder
                )
        return self._picture_search.search(picture, filters or Filters(), limit, describe=describe)

    def similar(
        self, adapter_id: int, paging: Paging | None = None, *, mature: Maturity = "any"
    ) -> Similar:
        """Return a page of adapters of the same family with similar weights, and what told them.

        Fingerprints do where no encoder is active.
        """
        mature = check_choice("mature", mature, MATURITIES)
        return self.finder.similar(adapter_id, paging or Paging(), mature)

    def duplicates(self, adapter_id: int, paging: Paging | None = None) -> DuplicatesPage:
        """Return a page of adapters that are this one again: listed elsewhere, re-saved, little
        changed.
        """
        return self.finder.duplicates(adapter_id, paging or Paging(limit=MOST_FOUND))

    def browse(
        self,
        filters: Filters | None = None,
        sort: Sort = "newest",
        cursor: str | None = None,
        limit: int = 50,
        *,
        seed: int = 0,
        state: State = "ready",
    ) -> BrowsePage:
        """Return up to `limit` adapters that filters let through, after `cursor`: a page's `next`.

        Of other states than "ready" the last added come first, whatever the `sort`. `seed` is of
        the random order.

        Raises:
            SearchError: a filter asks for what is not there, or the cursor is of another question.
        """
        sort = check_choice("sort", sort, SORTS)
        state = check_choice("state", state, get_args(State))
        check_limit(limit)
        wanted = filters or Filters()

        def list_page(session: Session) -> BrowsePage:
            if state != "ready":
                listed = browse_state(session, state, wanted, cursor, limit)
            else:
                check_filters(session, wanted)
                listed = browse(session, wanted, sort, cursor, limit, seed=seed)
            return load_browse_page(session, listed)

        question = "browse", wanted, sort, cursor, limit, seed, state
        return self.finder.remembered.again(self.sessions, question, list_page, limit)

    def facets(
        self, filters: Filters | None = None, *, among: Sequence[int] | None = None
    ) -> Facets:
        """Return how many adapters there are of every value to filter by.

        Of those that filters let through, or `among` these ids.
        """
        wanted = filters or Filters()

        def count_all(session: Session) -> Facets:
            if among is not None:
                return count_facets_among(session, among)
            check_filters(session, wanted)
            return count_facets(session, wanted)

        question = "facets", wanted, None if among is None else tuple(among)
        return self.finder.remembered.again(self.sessions, question, count_all, FACETS_WEIGH)

    def chinese_examples(self, limit: int) -> list[str]:
        """Return up to `limit` short texts in Chinese that could be asked for here."""
        with self.transaction() as session:
            return short_chinese_texts(session, limit)

    def count(self, filters: Filters | None = None) -> Total:
        """Return how many adapters filters let through, counted to 10,000."""
        with self.transaction() as session:
            return count(session, filters or Filters())

    def choose(
        self,
        prompt: str,
        k: int = 3,
        *,
        base_model: str | None = None,
        mature: Maturity = "any",
    ) -> list[Choice]:
        """Return up to `k` adapters to draw `prompt` with: one for each thing that it names.

        Raises NothingFoundError when there is none.
        """
        mature = check_choice("mature", mature, MATURITIES)
        wanted = () if base_model is None else (known_name(base_model),)
        return self.finder.choose(prompt, k, Filters(wanted, mature=mature))

    def named_adapters(self, prompt: str, adapter_ids: Sequence[int]) -> list[Choice]:
        """Return those adapters of `adapter_ids` that exist, with the prompt's similarity."""
        return self.finder.named_adapters(prompt, self.cards(adapter_ids))

    # Adapters of known ids, and their files

    def adapter(self, adapter_id: int) -> AdapterDetail:
        """Return all that is known of an adapter, or raise AdapterNotFoundError."""
        with self.transaction() as session:
            return get_detail(session, adapter_id)

    def find_adapter_of_file(self, sha256: str) -> AdapterDetail | None:
        """Return the oldest adapter with a file that may be handed out; None: there is none."""
        with self.transaction() as session:
            cards = cards_of_file(session, sha256) if is_sound_file(session, sha256) else []
            return get_detail(session, cards[0].id) if cards else None

    def cards(self, adapter_ids: Sequence[int]) -> list[AdapterCard]:
        """Return the cards of those ids that exist, in the order given."""
        with self.transaction() as session:
            cards = load_cards(session, adapter_ids)
        return [cards[id_] for id_ in dict.fromkeys(adapter_ids) if id_ in cards]

    def cover(self, adapter_id: int, position: int) -> CoverFiles:
        """Return where a cover's bytes are, also of one that was drawn here."""
        with self.transaction() as session:
            cover = find_cover(session, adapter_id, position)
        if cover is None:
            raise CoverNotFoundError(adapter_id, position)
        return cover

    def file(self, sha256: str) -> Path:
        """Return where an adapter's file lies.

        Raises:
            FileNotKeptError: it was read, and is not kept here.
            BlobNotFoundError: it is not here.
        """
        if self.blobs.exists(sha256):
            return self.blobs.path(sha256)
        with self.transaction() as session:
            page_url = find_page_of_dropped(session, sha256)
        if page_url is None:
            raise BlobNotFoundError(sha256)
        # Of a folder it is a path of this machine.
        raise FileNotKeptError(sha256, safe_page_url(page_url))

    def peft_config(self, sha256: str) -> str:
        """Return PEFT's config that an adapter's file was read with; "" if there was none."""
        with self.transaction() as session:
            return find_peft_config(session, sha256)

    def may_hand_out(self, sha256: str) -> bool:
        """Whether a hash is that of an adapter's file that was read here, and not refused."""
        with self.transaction() as session:
            return is_sound_file(session, sha256)

    # Base models

    def base_models(self) -> dict[str, int]:
        """Return how many adapters are ready of every base model, most first."""
        with self.transaction() as session:
            return count_by_base_model(session)

    def base_model_names(self) -> list[str]:
        """Return the base models that adapters are ready of; quick, however many there are."""
        with self.transaction() as session:
            return base_models_listed(session)

    def default_base_model(self) -> str:
        """Return the base model that is searched when none is named; see NothingIndexedError."""
        return self.finder.default_base_model()
