"""A picture -> the adapters that it was made with, or that have made one like it.

Each adapter that is found says by which ways: the surest first, as in WAYS.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from sqlalchemy.orm import Session

from crawler.errors import CoverError
from crawler.pictures.adapters import NamedAdapter
from crawler.pictures.reading import ReadPicture, Told, read_picture
from crawler.pictures.settings import DrawnWith
from encoder.errors import ImageEncoderError
from encoder.image_encoder import ImageEncoder
from registry.blobs import BlobStore
from registry.retrieval.cards import AdapterCard, load_cards
from registry.retrieval.cover_vectors import find_alike_covers
from registry.retrieval.errors import PictureError
from registry.retrieval.filters import Filters
from registry.retrieval.known_values import check_filters
from registry.retrieval.named import NamedBy, NamedMatch, find_named
from registry.retrieval.near_covers import find_near_covers
from registry.retrieval.terms import WAYS, Way

logger = logging.getLogger(__name__)

NOT_COMPARED = "The image encoder cannot be used, so covers were not compared by it; see the log."

# Of the ways, those that a picture names itself.
NAMED_BY = get_args(NamedBy)


@dataclass(frozen=True, slots=True)
class FoundBy:
    """One way by which a picture led to an adapter.

    `similarity` is 1 for what is named, the share of equal bits of a cover's hash, the cosine of
    two pictures, or the probability that an adapter does what the description says. `strength` is
    the one that the picture was made with, `cover` the position of the cover that resembles it.
    """

    way: Way
    similarity: float = 1.0
    strength: float | None = None
    cover: int | None = None


@dataclass(frozen=True, slots=True)
class PictureResult:
    card: AdapterCard
    found_by: tuple[FoundBy, ...]


@dataclass(frozen=True, slots=True)
class PicturePage:
    """The answer to a picture. `missing` are adapters that it names and that are not here.

    `prompt` and `drawn_with` are what it was made with, `description` what a vision model says of
    it.
    """

    results: tuple[PictureResult, ...]
    missing: tuple[NamedAdapter, ...]
    prompt: str
    notes: tuple[str, ...]
    milliseconds: float
    drawn_with: DrawnWith
    description: str = ""

    def named(self) -> list[tuple[AdapterCard, FoundBy]]:
        """Return the adapters that it names itself, each file once, and how."""
        firsts = [(result.card, result.found_by[0]) for result in self.results]
        files = {card.file_sha256: (card, by) for card, by in reversed(firsts)}
        return [one for one in firsts if one[1].way in NAMED_BY and one in files.values()]


Found = dict[int, list[FoundBy]]
# One way of finding: adapters' ids, each with why.
Finds = Iterator[tuple[int, FoundBy]]


def read_for_search(picture: bytes) -> ReadPicture:
    """Read a picture.

    Raises:
        PictureError: it is no picture, or none that can be read.
    """
    try:
        return read_picture(picture)
    except CoverError as error:
        raise PictureError(str(error)) from error


def search_by_picture(
    session: Session,
    blobs: BlobStore,
    picture: ReadPicture,
    filters: Filters,
    limit: int,
    more: Sequence[Finds] = (),
) -> PicturePage:
    """Return up to `limit` adapters that a picture leads to, by the surest way first.

    `more` are further ways, asked after those that need nothing but the database.

    Raises:
        SearchError: a filter asks for what is not there.
    """
    covers = _by_cover(session, blobs, picture, filters)
    return search_by_told(session, picture.told, filters, limit, [covers, *more])


def search_by_told(
    session: Session, told: Told, filters: Filters, limit: int, more: Sequence[Finds] = ()
) -> PicturePage:
    """Return up to `limit` adapters that a picture or a recipe names, then those of further ways.

    Raises:
        SearchError: a filter asks for what is not there.
    """
    started = time.perf_counter()
    check_filters(session, filters)
    matches = find_named(session, told.named, filters)
    found: Found = {}
    ways = [_by_name(matches), *more]
    notes = []
    for way in ways:
        try:
            for adapter_id, by in way:
                found.setdefault(adapter_id, []).append(by)
        except ImageEncoderError as error:
            # The others still tell; why names folders of this machine, which is for its log.
            logger.warning("%s", error)
            notes.append(NOT_COMPARED)
    ranked = sorted(found, key=lambda id_: _place(found[id_]))[:limit]
    cards = load_cards(session, ranked)
    others = [named for named in told.named if named not in {one.named for one in matches}]
    # What the filters leave out is not missing.
    left_out = find_named(session, others, Filters()) if filters.asked else ()
    here = {match.named for match in left_out}
    return PicturePage(
        results=tuple(
            PictureResult(cards[id_], tuple(sorted(found[id_], key=_sureness)))
            for id_ in ranked
            if id_ in cards
        ),
        missing=tuple(named for named in others if named not in here),
        prompt=told.prompt,
        notes=tuple(notes),
        milliseconds=(time.perf_counter() - started) * 1000,
        drawn_with=told.drawn_with,
    )


def _by_name(matches: Sequence[NamedMatch]) -> Finds:
    for match in matches:
        yield match.adapter_id, FoundBy(match.by, strength=match.named.strength)


def _by_cover(session: Session, blobs: BlobStore, picture: ReadPicture, filters: Filters) -> Finds:
    for cover in find_near_covers(session, blobs, picture, filters):
        way: Way = "cover" if cover.is_same else "near cover"
        yield cover.adapter_id, FoundBy(way, cover.similarity, cover=cover.position)


def by_image(
    session: Session,
    open_encoder: Callable[[], ImageEncoder],
    picture: ReadPicture,
    filters: Filters,
    limit: int,
) -> Finds:
    """Find covers that the image encoder takes for alike.

    Raises:
        ImageEncoderError: it cannot be loaded.
    """
    encoder = open_encoder()
    (embedding,) = encoder.encode([picture.image])
    for cover in find_alike_covers(session, embedding, encoder.name, filters, limit):
        yield cover.adapter_id, FoundBy("image", cover.similarity, cover=cover.position)


def _sureness(by: FoundBy) -> tuple[int, float]:
    return WAYS.index(by.way), -by.similarity


def _place(ways: Sequence[FoundBy]) -> tuple[int, float, int]:
    """Order by the surest way; of equals, by how near, and by how many ways lead there."""
    way, similarity = min(map(_sureness, ways))
    return way, similarity, -len(ways)
