"""A ranked answer in pages that neither skip nor repeat while the index changes.

The first page ranks what the signals offer, some hundreds of adapters. The others go on in that
order: their cursor carries the ids that are still to come. Behind what fits or perhaps fits of them
follow all other adapters that have every word of the question, so that nothing that literally
matches is withheld, however many there are; last comes what probably is something else. In another
order than by relevance, what fits or perhaps fits of the ranked is sorted: by name or downloads,
what probably is something else would come anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.retrieval.cursors import is_bigint, read_cursor, write_cursor
from registry.retrieval.duplicates import content_of, contents
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.errors import CursorError
from registry.retrieval.every_word import literal_adapters, literal_contents
from registry.retrieval.found import page_of
from registry.retrieval.given_values import Paging
from registry.retrieval.hybrid import Question, rank_all
from registry.retrieval.ranking import SearchHit

# So many ids fit into an address.
MOST_RANKED = 400
# So many that have every word are ranked at once, and then the next, by their ids.
LITERAL_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Paged:
    """A page's hits; what fits or perhaps fits, with its base model; and the cursor to go on."""

    hits: list[SearchHit]
    found: Mapping[int, str]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the next page begins: ids `to_come`, and `behind`, what probably is something else.

    To the former are joined those that have every word and are not among the `shown`, by their
    ids: first of all, and whenever they run short, those after `last_literal`; None where there
    are no more.
    """

    to_come: list[int]
    behind: list[int]
    shown: list[int]
    last_literal: int | None = 0

    def wants_literal(self, limit: int) -> bool:
        if self.last_literal is None:
            return False
        return self.last_literal == 0 or len(self.to_come) < limit

    def page(self, limit: int) -> tuple[list[int], "_Place"]:
        """Return the ids of a page, and where the next one begins."""
        wanted = [*self.to_come, *self.behind][:limit]
        behind = self.behind[max(0, limit - len(self.to_come)) :]
        return wanted, replace(
            self, to_come=self.to_come[limit:], behind=behind, shown=[*self.shown, *wanted]
        )


def ranked_page(
    session: Session,
    question: Question,
    text_encoder: TextEncoder,
    spaces: Sequence[Space],
    cursor: str | None,
) -> Paged:
    """Return the page that `cursor` asks for, the first without one.

    Raises CursorError where it is none of ours, or of another question.
    """
    query = question.query
    asked = (query.text, query.called, query.filters)
    if cursor is None:
        # Words offer what has all of them first: more than a page of it, if there is.
        ranked = rank_all(session, question, text_encoder, spaces)[:MOST_RANKED]
        place = _first(ranked)
    else:
        place = _read(read_cursor(asked, cursor))
        wants_literal = place.wants_literal(query.limit)
        literal = _literal(session, question, place) if wants_literal else []
        known = [*place.to_come, *place.behind[: query.limit], *literal]
        ranked = rank_all(session, question, text_encoder, spaces, known=known, literal=literal)
        if wants_literal:
            place = _joined(session, question, place, literal, ranked)
    wanted, following = place.page(query.limit)
    # Copies are folded under whichever of them comes first, which may have changed.
    by_id = {id_: hit for hit in ranked for id_ in (hit.adapter_id, *hit.also)}
    hits = [by_id[id_] for id_ in wanted if id_ in by_id]
    hits = list({hit.adapter_id: hit for hit in hits}.values())
    return Paged(hits, _found(ranked), _next(session, question, asked, following))


def _first(ranked: Sequence[SearchHit]) -> _Place:
    """Return where the first page begins; copies stand beside their first, and never follow it."""
    behind = [hit.adapter_id for hit in ranked if hit.band == "probably not"]
    to_come = [hit.adapter_id for hit in ranked if hit.band != "probably not"]
    return _Place(to_come, behind, [id_ for hit in ranked for id_ in hit.also])


def _joined(
    session: Session,
    question: Question,
    place: _Place,
    literal: Sequence[int],
    ranked: Sequence[SearchHit],
) -> _Place:
    """Sort what is `literal` in, but for copies of what came or comes.

    What comes may be folded under a copy that has every word, and what was behind comes with one.
    """
    last = max(literal) if len(literal) == LITERAL_AT_ONCE else None
    others = [*place.shown, *place.to_come]
    content = contents(session, [*others, *place.behind, *literal])
    known = {content.get(id_) for id_ in others}
    held = [content[id_] for id_ in literal if id_ in content]
    known |= _came_before(session, question, place, held)
    own = {id_ for id_ in literal if content.get(id_) not in known}.union(place.to_come)
    come = [hit for hit in ranked if not own.isdisjoint((hit.adapter_id, *hit.also))]
    brought = {content.get(id_) for id_ in own}
    copies = [id_ for hit in come for id_ in hit.also]
    return replace(
        place,
        to_come=[hit.adapter_id for hit in come],
        behind=[id_ for id_ in place.behind if content.get(id_) not in brought],
        # Only what comes after the last could come again.
        shown=[id_ for id_ in (*place.shown, *copies) if last is not None and id_ > last],
        last_literal=last,
    )


def _came_before(
    session: Session, question: Question, place: _Place, held: Sequence[str]
) -> set[str]:
    """Return which of some contents came already with adapters that a cursor need not remember."""
    if not held or not place.last_literal:
        return set()
    hashes = {content.partition(" ")[0] for content in held}
    return {
        content_of(row)
        for row in literal_contents(
            session,
            question.text,
            hashes,
            filters=question.query.filters,
            until=place.last_literal,
            unwanted=[other.text for other in question.unwanted],
        )
    }


def sorted_page(
    session: Session,
    question: Question,
    text_encoder: TextEncoder,
    spaces: Sequence[Space],
    paging: Paging,
) -> Paged:
    """Return a page of what fits or perhaps fits, in another order than by relevance.

    Of all that is ranked, where nothing does: there is always a list. What has every word is in
    it, but for what is more than MOST_RANKED.

    Raises:
        CursorError: the cursor is of another question, or none.
    """
    query = question.query
    literal: list[int] = []
    if "words" in query.signals:
        literal = literal_adapters(
            session,
            question.text,
            filters=query.filters,
            after=0,
            without=(),
            limit=MOST_RANKED,
            unwanted=[other.text for other in question.unwanted],
        )
    ranked = rank_all(session, question, text_encoder, spaces, known=literal, literal=literal)
    ranked = ranked[:MOST_RANKED]
    fitting = [hit for hit in ranked if hit.band != "probably not"] or ranked
    hits = {hit.adapter_id: hit for hit in fitting}
    page = page_of(session, ("search", query.text, query.called, query.filters), list(hits), paging)
    return Paged([hits[id_] for id_ in page.ids], _found(ranked), page.next)


def _next(
    session: Session, question: Question, asked: tuple[object, ...], place: _Place
) -> str | None:
    if not place.to_come and not place.behind and not _literal(session, question, place, 1):
        return None
    return write_cursor(asked, (place.to_come, place.behind, place.shown, place.last_literal))


def _literal(
    session: Session, question: Question, place: _Place, limit: int = LITERAL_AT_ONCE
) -> list[int]:
    """Return the next adapters, by id, that have every word and did not come yet."""
    if "words" not in question.query.signals or place.last_literal is None:
        return []
    return literal_adapters(
        session,
        question.text,
        filters=question.query.filters,
        after=place.last_literal,
        without=[*place.shown, *place.to_come, *place.behind],
        limit=limit,
        unwanted=[other.text for other in question.unwanted],
    )


def _found(ranked: Sequence[SearchHit]) -> dict[int, str]:
    """Return what is not probably something else, with its base model."""
    return {hit.adapter_id: hit.base_model for hit in ranked if hit.band != "probably not"}


def _read(position: list[object]) -> _Place:
    match position:
        case [list(to_come), list(behind), list(shown), int() | None as last] if all(
            map(is_bigint, (*to_come, *behind, *shown, 0 if last is None else last))
        ):
            return _Place(to_come, behind, shown, last)
    raise CursorError
