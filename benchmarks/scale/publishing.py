"""A thousand changed adapters into the index, as a refresh would bring them."""

import time

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.orm import Session

from benchmarks.scale.filling import ENCODER_ID, TEXT_ENCODER
from benchmarks.scale.gallery import BATCH, Batch, Gallery
from registry.db.encoder_models import WeightEmbedding
from registry.db.models import Adapter, Caption, CaptionEmbedding

CHANGED = 1000
# Adapters in one transaction; a refresh stores what a hub lists by pages.
PAGE = 50


def publish(engine: Engine, gallery: Gallery, adapters: int) -> float:
    """Change adapters; return the seconds that it took."""
    batch = gallery.batch(-(-adapters // BATCH), CHANGED)
    started = time.perf_counter()
    for first in range(0, CHANGED, PAGE):
        _publish_page(engine, batch, first)
    return time.perf_counter() - started


def _publish_page(engine: Engine, batch: Batch, first: int) -> None:
    """Give some adapters the words and vectors of ones that are not there yet."""
    with Session(engine) as session, session.begin():
        changed = session.scalars(
            select(Adapter).where(Adapter.id > first, Adapter.id <= first + PAGE)
        )
        for place, adapter in enumerate(changed, start=first):
            said = f"{batch.names[place]} {batch.descriptions[place]}"
            adapter.name, adapter.words = batch.names[place], said
            adapter.downloads += 1
            session.execute(
                delete(WeightEmbedding).where(WeightEmbedding.file_sha256 == adapter.file_sha256)
            )
            session.execute(
                insert(WeightEmbedding).values(
                    file_sha256=adapter.file_sha256,
                    encoder_id=ENCODER_ID,
                    embedding=batch.weights[place].tolist(),
                )
            )
            # Another text each time that the same index is asked.
            caption = Caption(cover_id=adapter.id, text=f"{said} {adapter.downloads}", source="hub")
            session.add(caption)
            session.flush()
            session.execute(
                insert(CaptionEmbedding).values(
                    text_md5=caption.text_md5,
                    text_encoder=TEXT_ENCODER,
                    embedding=batch.captions[place].tolist(),
                )
            )
