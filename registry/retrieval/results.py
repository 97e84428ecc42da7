"""The answers of a search: adapters as cards, and why they were found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from registry.retrieval.browsing import ListedIds, Total
from registry.retrieval.cards import AdapterCard, ask_cards, load_cards
from registry.retrieval.duplicates import Duplicate
from registry.retrieval.ranking import SearchHit
from registry.retrieval.statements import Answer
from registry.retrieval.terms import Compared, ComparedBy, FoundSort


@dataclass(frozen=True, slots=True)
class SearchResult:
    """`also` are listings of the same tensors elsewhere, or under another name.

    `card` is that of the hit, or where that has no picture, of a copy that has one.
    """

    card: AdapterCard
    hit: SearchHit
    also: tuple[AdapterCard, ...] = ()


@dataclass(frozen=True, slots=True)
class Similar:
    """A page of adapters by the similarity of their weights, and what told it.

    `next` is the cursor of the page after, None on the last; `total` is of all pages.
    """

    compared_by: ComparedBy
    results: tuple[SearchResult, ...] = ()
    total: int = 0
    next: str | None = None


@dataclass(frozen=True, slots=True)
class DuplicateResult:
    """An adapter that is another one again, and in what way."""

    card: AdapterCard
    duplicate: Duplicate


@dataclass(frozen=True, slots=True)
class DuplicatesPage:
    """A page of adapters that are another one again; `next` and `total` as in `Similar`."""

    results: tuple[DuplicateResult, ...]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A part of the answer to a question. `notes` say what it lacks, for people.

    `base_models` are those that were asked for, none where all were. `found` counts what fits or
    perhaps fits by its base model, as far as the list is ranked, and `ranked` are its ids.
    `next` is the cursor of the part that follows, None on the last. To find it took `milliseconds`.
    """

    text: str
    base_models: tuple[str, ...]
    results: tuple[SearchResult, ...]
    notes: tuple[str, ...]
    milliseconds: float = 0.0
    found: Mapping[str, int] = field(default_factory=dict)
    ranked: tuple[int, ...] = ()
    next: str | None = None
    # What told likeness, where adapters were given: weights, captions or fingerprints.
    compared_by: tuple[Compared, ...] = ()
    sort: FoundSort = "relevance"
    # What an empty question lists, and how many of all pages: nothing was asked of these.
    listed: tuple[AdapterCard, ...] = ()
    total: Total | None = None

    @property
    def fits(self) -> bool:
        """Whether any of these results does what was asked for, as far as can be told."""
        return any(result.hit.band == "fits" for result in self.results)


@dataclass(frozen=True, slots=True)
class BrowsePage:
    """Adapters in the order asked for, how many there are of them, and the cursor to go on with.

    `next` is None on the last page.
    """

    cards: tuple[AdapterCard, ...]
    total: Total
    next: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """An adapter chosen to draw a prompt with."""

    card: AdapterCard
    # How similar the prompt and its parts are to the adapter's weights, -1..1; None where no
    # active encoder knows them.
    similarities: tuple[float, ...] | None
    # Where that encoder puts its weights, of length 1.
    embedding: tuple[float, ...] | None = None
    # The words of the prompt that it was found for.
    part: str = ""


def load_results(session: Session, hits: Sequence[SearchHit]) -> tuple[SearchResult, ...]:
    return ask_results(session, hits)()


def ask_results(session: Session, hits: Sequence[SearchHit]) -> Answer[tuple[SearchResult, ...]]:
    """Ask for the cards of what was found, and return what gives the results."""
    asked = ask_cards(session, [id_ for hit in hits for id_ in (hit.adapter_id, *hit.also)])

    def answer() -> tuple[SearchResult, ...]:
        cards = asked()
        # One may have been retired since the search.
        return tuple(
            _result(hit, [cards[i] for i in hit.also if i in cards], cards[hit.adapter_id])
            for hit in hits
            if hit.adapter_id in cards
        )

    return answer


def _result(hit: SearchHit, copies: Sequence[AdapterCard], own: AdapterCard) -> SearchResult:
    """Show the copy that has a picture: what lies beside a file is told by its name alone.

    Such a name may be the very words of a question. One that is typed in full stays.
    """
    pictured = next((card for card in (own, *copies) if card.covers), own)
    shown = own if hit.exact else pictured
    return SearchResult(shown, hit, tuple(card for card in (own, *copies) if card is not shown))


def load_duplicates(
    session: Session, duplicates: Sequence[Duplicate]
) -> tuple[DuplicateResult, ...]:
    cards = load_cards(session, [duplicate.adapter_id for duplicate in duplicates])
    return tuple(
        DuplicateResult(cards[duplicate.adapter_id], duplicate)
        for duplicate in duplicates
        if duplicate.adapter_id in cards
    )


def load_browse_page(session: Session, listed: ListedIds) -> BrowsePage:
    cards = load_cards(session, listed.ids)
    # One may have been deleted since it was found.
    found = tuple(cards[id_] for id_ in listed.ids if id_ in cards)
    return BrowsePage(found, listed.total, listed.next)
