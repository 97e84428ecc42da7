"""Stored sketches -> weight embeddings by one encoder, active or not."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from encoder.errors import EncoderError
from registry.blobs import BlobStore
from registry.db import pending
from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.encoders import base_models_of
from registry.errors import EncoderRejectedError
from registry.refresh.problems import reported
from registry.refresh.step import StepOutcome

if TYPE_CHECKING:
    from encoder.weight_encoders.checkpoint import WeightEncoder

# Sketches encoded at once.
BATCH = 64
# Files taken from the list at once.
PAGE = 8 * BATCH


def backfill(
    sessions: sessionmaker[Session], blobs: BlobStore, encoder: Encoder
) -> Iterator[StepOutcome]:
    """Embed what `encoder` has not embedded yet; one outcome a file."""
    try:
        loaded = load_registered(blobs, encoder)
    except EncoderRejectedError as error:
        yield StepOutcome(encoder.name, False, str(error))
        return
    for hashes in list_hashes(sessions, encoder, PAGE):
        yield from embed_files(sessions, encoder, loaded, hashes)


def list_hashes(
    sessions: sessionmaker[Session], encoder: Encoder, size: int
) -> Iterator[list[str]]:
    """Yield the files that `encoder` has not embedded yet, up to `size` at a time."""
    after = ""
    while True:
        with sessions() as session:
            names = base_models_of(session, encoder)
            hashes = pending.keys_to_embed(session, encoder, names, after, size)
        if not hashes:
            return
        yield hashes
        after = hashes[-1]


def embed_files(
    sessions: sessionmaker[Session],
    encoder: Encoder,
    loaded: "WeightEncoder",
    hashes: Sequence[str],
) -> Iterator[StepOutcome]:
    """Embed those of the files `hashes` that `encoder`, loaded, has not embedded yet."""
    with sessions() as session:
        names = base_models_of(session, encoder)

    def embed(part: Sequence[str]) -> tuple[list[StepOutcome], list[dict[str, Any]]]:
        with sessions() as session:
            page = pending.list_to_embed(session, encoder, names, part)
        return _embed(encoder.id, loaded, page)

    # The next ones are encoded while those before are stored.
    with ThreadPoolExecutor(1, thread_name_prefix="embed") as ahead:
        parts = [hashes[start : start + BATCH] for start in range(0, len(hashes), BATCH)]
        for outcomes, rows in ahead.map(embed, parts):
            if rows and not _store(sessions, encoder, rows):
                yield StepOutcome(encoder.name, False, "it was removed meanwhile")
                return
            yield from outcomes


def _store(
    sessions: sessionmaker[Session], encoder: Encoder, rows: Sequence[dict[str, Any]]
) -> bool:
    """Store embeddings; return whether their encoder is still there."""
    still = select(Encoder.id).where(Encoder.id == encoder.id)
    with sessions.begin() as session:
        # A removal waits for this, or this for a removal.
        if session.scalar(still.with_for_update(read=True, key_share=True)) is None:
            return False
        session.execute(insert(WeightEmbedding).on_conflict_do_nothing(), rows)
    return True


def _embed(
    encoder_id: int, loaded: "WeightEncoder", page: Sequence[pending.PendingSketch]
) -> tuple[list[StepOutcome], list[dict[str, Any]]]:
    outcomes, rows = list[StepOutcome](), list[dict[str, Any]]()
    for sketch, embedding in _encode(loaded, page):
        if isinstance(embedding, str):
            outcomes.append(StepOutcome(sketch.adapter, False, embedding))
            continue
        outcomes.append(StepOutcome(sketch.adapter))
        key = {"file_sha256": sketch.sha256, "encoder_id": encoder_id}
        rows.append({**key, "embedding": embedding.tolist()})
    return outcomes, rows


def load_registered(blobs: BlobStore, encoder: Encoder) -> "WeightEncoder":
    """Load an encoder from its blob.

    Raises:
        EncoderRejectedError: it is not there, or is damaged.
    """
    from encoder.weight_encoders.checkpoint import load_encoder

    path = blobs.path(encoder.checkpoint_sha256)
    if not path.is_file():
        raise EncoderRejectedError(
            f"the checkpoint of encoder {encoder.name!r} is not in the blob store. "
            "Register it again: `autolora encoders add FILE`."
        )
    try:
        return load_encoder(path)
    except EncoderError as error:
        raise EncoderRejectedError(
            f"{reported(error)}. Register it again: `autolora encoders add FILE`."
        ) from error


def _encode(
    encoder: "WeightEncoder", page: Sequence[pending.PendingSketch]
) -> Iterator[tuple[pending.PendingSketch, npt.NDArray[np.float32] | str]]:
    """Yield each sketch's embedding, or in words why it has none."""
    from encoder.sketches.sketch import Sketch

    if not page:
        return
    try:
        embeddings = encoder.encode([Sketch.from_bytes(sketch.data) for sketch in page])
    except EncoderError as error:
        if len(page) == 1:
            yield page[0], reported(error)
            return
        # One of them is at fault; the others are encoded without it.
        for sketch in page:
            yield from _encode(encoder, [sketch])
        return
    for sketch, embedding in zip(page, embeddings, strict=True):
        finite = bool(np.isfinite(embedding).all())
        yield sketch, embedding if finite else f"encoder {encoder.name!r} gave no finite embedding"
