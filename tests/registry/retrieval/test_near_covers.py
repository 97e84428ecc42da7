"""Covers found by a picture that was scaled, encoded again, or brightened."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from crawler.covers import difference_hash, read_cover
from crawler.pictures.reading import read_picture
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.models import Adapter, Cover
from registry.retrieval.filters import Filters
from registry.retrieval.near_covers import FLIPS, MOST_BITS, NearCover, find_near_covers
from tests.builders import add_adapter
from tests.crawler.builders import image_bytes
from tests.crawler.pictures.builders import encoded, opened


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blobs)


def add_cover(
    session: Session, blobs: BlobStore, picture: bytes, position: int = 0,
    adapter: Adapter | None = None,
) -> Adapter:  # fmt: skip
    """Store a picture as a refresh does, as a cover of an adapter."""
    adapter = adapter or add_adapter(session)
    read = read_cover(picture)
    session.add(
        Cover(
            adapter_id=adapter.id,
            position=position,
            sha256=blobs.put_bytes(read.image),
            thumbnail_sha256=blobs.put_bytes(read.thumbnail),
            width=read.width,
            height=read.height,
            phash=read.phash,
        )
    )
    session.flush()
    return adapter


def near(session: Session, blobs: BlobStore, picture: bytes) -> list[NearCover]:
    return find_near_covers(session, blobs, read_picture(picture), Filters())


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "a bad JPEG": lambda image: encoded(image, "JPEG", quality=40),
    "twice as large": lambda image: encoded(image.resize((512, 512)), "WEBP"),
    "darker": lambda image: encoded(ImageEnhance.Brightness(image).enhance(0.7), "PNG"),
    "more contrast": lambda image: encoded(ImageEnhance.Contrast(image).enhance(1.3), "PNG"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_cover_is_found_again(session: Session, blobs: BlobStore, change: str) -> None:
    picture = image_bytes(1, (256, 256), "PNG")
    adapter = add_cover(session, blobs, picture)
    for seed in range(2, 12):
        add_cover(session, blobs, image_bytes(seed, (256, 256), "PNG"))

    found = near(session, blobs, CHANGES[change](opened(picture)))

    assert [cover.adapter_id for cover in found] == [adapter.id]
    assert not found[0].is_same


def test_the_file_that_we_serve_is_the_cover_itself(session: Session, blobs: BlobStore) -> None:
    picture = image_bytes(1, (256, 256), "PNG")
    adapter = add_cover(session, blobs, picture)

    (found,) = near(session, blobs, read_cover(picture).thumbnail)

    assert (found.adapter_id, found.is_same) == (adapter.id, True)


def test_the_same_shapes_in_other_colours_are_another_picture(
    session: Session, blobs: BlobStore
) -> None:
    """A difference hash sees no colours: a red heart and a blue one are the same to it."""
    picture = image_bytes(1, (256, 256), "PNG")
    red, green, blue = opened(picture).split()
    add_cover(session, blobs, picture)
    # Colours turned round, at the same brightness.
    grey = np.asarray(opened(picture).convert("L"), np.float32)
    turned = np.stack([np.asarray(band, np.float32) for band in (blue, red, green)], axis=2)
    turned *= (
        grey / np.maximum(np.asarray(Image.merge("RGB", (blue, red, green)).convert("L")), 1)
    )[..., None]
    other = encoded(Image.fromarray(turned.clip(0, 255).astype(np.uint8)), "PNG")

    bits = difference_hash(opened(picture)) ^ difference_hash(opened(other))

    assert (bits & (2**64 - 1)).bit_count() <= MOST_BITS
    assert near(session, blobs, other) == []


def test_all_hashes_within_reach_are_found(session: Session, blobs: BlobStore) -> None:
    """As one that compares every hash finds: no part of the index may hide any."""
    picture = read_picture(image_bytes(1))
    numbers = np.random.default_rng(0)
    expected = set()
    for _ in range(50):
        bits = int(numbers.integers(0, 12))
        flipped = sum(1 << int(bit) for bit in numbers.permutation(64)[:bits])
        other = (picture.phash ^ flipped) & (2**64 - 1)
        adapter = add_adapter(session)
        session.add(
            Cover(
                adapter_id=adapter.id, position=0, sha256="0" * 64, thumbnail_sha256="0" * 64,
                width=8, height=8, phash=other - (other >> 63 << 64),
            )
        )  # fmt: skip
        if bits <= MOST_BITS:
            expected.add((adapter.id, bits))
    session.flush()

    found = find_near_covers(session, blobs, picture, Filters())

    # Nothing lies in the blob store: then hashes alone count.
    assert {(cover.adapter_id, cover.bits) for cover in found} == expected
    assert len(expected) < 40  # MOST_COVERS hides none of them
    assert len(FLIPS) == 1 + 16


def test_a_cover_that_a_broken_disk_cut_is_known_by_its_hash(
    session: Session, blobs: BlobStore
) -> None:
    picture = image_bytes(1, (256, 256), "PNG")
    adapter = add_cover(session, blobs, picture)
    kept = session.scalars(select(Cover).where(Cover.adapter_id == adapter.id)).one()
    path = blobs.path(kept.thumbnail_sha256)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:100])

    (found,) = near(session, blobs, CHANGES["a bad JPEG"](opened(picture)))

    assert found.adapter_id == adapter.id


def test_the_nearest_cover_of_an_adapter_stands_for_it(session: Session, blobs: BlobStore) -> None:
    picture = image_bytes(1, (256, 256), "PNG")
    adapter = add_cover(session, blobs, picture)
    first = session.scalars(select(Cover).where(Cover.adapter_id == adapter.id)).one()
    first.phash ^= 0b111
    add_cover(session, blobs, picture, 1, adapter)

    (found,) = near(session, blobs, picture)

    assert (found.position, found.bits) == (1, 0)


def test_a_plain_picture_is_near_to_nothing_but_its_like(
    session: Session, blobs: BlobStore
) -> None:
    """All plain pictures have one hash; their colours tell them apart."""
    red = add_cover(session, blobs, encoded(Image.new("RGB", (64, 64), "red"), "PNG"))
    add_cover(session, blobs, encoded(Image.new("RGB", (64, 64), "blue"), "PNG"))

    found = near(session, blobs, encoded(Image.new("RGB", (64, 64), "red"), "PNG"))

    assert [cover.adapter_id for cover in found] == [red.id]


def test_near_hashes_are_found_by_their_index(session: Session) -> None:
    session.execute(text("SET LOCAL enable_seqscan = off"))
    statement = select(Cover.id).where(
        text("((phash >> 48) & 65535) = ANY (ARRAY[1, 2]::bigint[])")
    )

    plan = session.scalars(text(f"EXPLAIN {statement}")).all()

    assert "ix_covers_phash_3" in "\n".join(plan)
