"""Covers that look like a picture: by their difference hashes, made sure of by their colours."""

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image
from sqlalchemy import ARRAY, BigInteger, Select, any_, cast, func, literal, select, union
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.orm import Session

from crawler.broken_images import BROKEN_IMAGE
from crawler.pictures.reading import ReadPicture, colour_difference, colours_of
from registry.blobs import BlobStore
from registry.db.models import PART_BITS, PHASH_PARTS, Cover, Listing
from registry.errors import BlobNotFoundError
from registry.retrieval.filters import Filters, conditions

# Bits of 64 that may differ, and how much colours may: measured on the demo's 396 covers
# (docs/pictures.md). With 8 bits, eight times as much would have to be looked at.
MOST_BITS = 7
MOST_COLOUR = 0.1
# Covers whose colours are looked at, for which each thumbnail is decoded: the nearest.
MOST_COVERS = 40
# What one bit of a part may change, or none.
FLIPS = (0, *(1 << bit for bit in range(PART_BITS)))


@dataclass(frozen=True, slots=True)
class NearCover:
    """A cover of a ready adapter; `is_same` where the picture is the very file that we serve."""

    adapter_id: int
    position: int
    bits: int
    is_same: bool

    @property
    def similarity(self) -> float:
        return 1 - self.bits / 64


def find_near_covers(
    session: Session, blobs: BlobStore, picture: ReadPicture, filters: Filters
) -> list[NearCover]:
    """Return covers that look like `picture`, the nearest first; one for each adapter."""
    near = union(*_near_parts(picture.phash)).cte("near").prefix_with("MATERIALIZED")
    rows = session.execute(
        select(Cover, near.c.bits)
        .join(near, near.c.phash == Cover.phash)
        .join(Listing, Listing.adapter_id == Cover.adapter_id)
        .where(*conditions(filters))
        .order_by(near.c.bits, Cover.adapter_id, Cover.position)
        .limit(MOST_COVERS)
    )
    found: dict[int, NearCover] = {}
    for cover, bits in rows:
        same = picture.sha256 in (cover.sha256, cover.thumbnail_sha256)
        if same or _has_its_colours(blobs, cover, picture):
            one = NearCover(cover.adapter_id, cover.position, bits, same)
            if one.adapter_id not in found or same:
                found[one.adapter_id] = one
    return list(found.values())


def _near_parts(phash: int) -> Iterator[Select[int, int]]:
    """Yield a query for each part of a hash, that together find all near hashes.

    Multi-index hashing [1]: if at most 7 bits of 64 differ, then in one of four parts at most one.
    Each query is answered by the part's index alone, which holds the hashes too.

    - [1] Norouzi, Punjani and Fleet, 2012, https://arxiv.org/abs/1307.2982
    """
    bits = func.bit_count(cast(Cover.phash.op("#")(phash), BIT(64)))
    for place, part in enumerate(PHASH_PARTS):
        own = phash >> (PART_BITS * place) & (2**PART_BITS - 1)
        near = [own ^ flipped for flipped in FLIPS]
        yield select(Cover.phash, bits.label("bits")).where(
            part == any_(literal(near, ARRAY(BigInteger))), bits <= MOST_BITS
        )


def _has_its_colours(blobs: BlobStore, cover: Cover, picture: ReadPicture) -> bool:
    """Whether a cover has the colours of a picture; one that is gone or broken is believed."""
    try:
        with blobs.open(cover.thumbnail_sha256) as stream, Image.open(stream) as thumbnail:
            return colour_difference(colours_of(thumbnail), picture.colours) <= MOST_COLOUR
    except (BlobNotFoundError, *BROKEN_IMAGE):
        return True
