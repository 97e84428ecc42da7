"""A ranked answer in pages that neither skip nor repeat while the index changes.

The first page ranks what the signals offer, some hundreds of adapters. The others go on in that
order: their cursor carries the ids that are still to come. Behind the ranked follow, by id, all
other adapters that have every word of the question, so that nothing that literally matches is
withheld, however many there are. In another order than by relevance, what fits or perhaps fits of
the ranked is sorted: by name or downloads, what probably is something else would come anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.retrieval.cursors import read_cursor, write_cursor
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.errors import CursorError
from registry.retrieval.found import Paging, page_of
from registry.retrieval.hybrid import Question, rank_all
from registry.retrieval.ranking import SearchHit
from registry.retrieval.words import literal_adapters

# So many ids fit into an address, with those that were shown.
MOST_RANKED = 400


@dataclass(frozen=True, slots=True)
class Paged:
    """A page's hits; what fits or perhaps fits, with its base model; and the cursor to go on."""

    hits: list[SearchHit]
    found: Mapping[int, str]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the next page begins: ranked ids to come, those shown, the last one by its words."""

    to_come: list[int]
    shown: list[int]
    last_literal: int = 0


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
    place = None if cursor is None else _read(read_cursor(asked, cursor))
    literal: list[int] = []
    if place is not None and not place.to_come:
        literal = _literal(session, question, place, query.limit)
    wanted = literal if place is None else [*place.to_come[: query.limit], *literal]
    ranked = rank_all(session, question, text_encoder, spaces, known=wanted, literal=literal)
    if place is None:
        ranked = ranked[:MOST_RANKED]
        # Copies stand beside their first: they are not to follow as matches of their own.
        copies = [id_ for hit in ranked for id_ in hit.also]
        place = _Place([hit.adapter_id for hit in ranked], copies)
        wanted = place.to_come[: query.limit]
    # Copies are folded under whichever of them comes first, which may have changed.
    by_id = {id_: hit for hit in ranked for id_ in (hit.adapter_id, *hit.also)}
    hits = [by_id[id_] for id_ in wanted if id_ in by_id]
    hits = list({hit.adapter_id: hit for hit in hits}.values())
    following = _Place(
        place.to_come[query.limit :],
        [*place.shown, *place.to_come[: query.limit]],
        max([place.last_literal, *literal]),
    )
    return Paged(hits, _found(ranked), _next(session, question, asked, following))


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
            session, question.text, filters=query.filters, after=0, without=(), limit=MOST_RANKED
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
    if not place.to_come and not _literal(session, question, place, 1):
        return None
    return write_cursor(asked, (place.to_come, place.shown, place.last_literal))


def _literal(session: Session, question: Question, place: _Place, limit: int) -> list[int]:
    if "words" not in question.query.signals:
        return []
    return literal_adapters(
        session,
        question.text,
        filters=question.query.filters,
        after=place.last_literal,
        without=place.shown,
        limit=limit,
    )


def _found(ranked: Sequence[SearchHit]) -> dict[int, str]:
    """Return what is not probably something else, with its base model."""
    return {hit.adapter_id: hit.base_model for hit in ranked if hit.band != "probably not"}


def _read(position: list[object]) -> _Place:
    match position:
        case [list(to_come), list(shown), int(last)] if all(
            isinstance(id_, int) for id_ in (*to_come, *shown)
        ):
            return _Place(to_come, shown, last)
    raise CursorError
