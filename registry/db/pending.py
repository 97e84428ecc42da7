"""What each step of the pipeline has left to do, and so where an interrupted one goes on.

Every list is read in pages: `after` is the last key of the page before.
"""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from crawler.records import AdapterRecord
from registry.db.adapters import Origin, label
from registry.db.models import (
    Adapter,
    Caption,
    CaptionEmbedding,
    Cover,
    Encoder,
    File,
    Sketch,
    WeightEmbedding,
)
from registry.db.records import record_from_json

ALIVE = Adapter.state.in_(["listed", "ready"])


class PendingFetch(NamedTuple):
    adapter_id: int
    record: AdapterRecord
    needs_file: bool
    needs_covers: bool


class PendingFile(NamedTuple):
    """A file to read, named after one of the adapters it belongs to."""

    sha256: str
    adapter: str


class PendingPrompt(NamedTuple):
    cover_id: int
    prompt: str


class PendingCaption(NamedTuple):
    caption_id: int
    text: str
    text_md5: str
    adapter: str


class PendingSketch(NamedTuple):
    sha256: str
    data: bytes
    adapter: str


class PendingPublish(NamedTuple):
    adapter_id: int
    adapter: str


def _to_fetch(origin: Origin) -> ColumnElement[bool]:
    return and_(
        Adapter.hub == origin.hub,
        Adapter.endpoint == origin.endpoint,
        ALIVE,
        or_(Adapter.file_sha256.is_(None), Adapter.covers_done.is_(False)),
    )


def count_to_fetch(session: Session, origin: Origin) -> int:
    return session.scalar(select(func.count()).where(_to_fetch(origin))) or 0


def list_to_fetch(session: Session, origin: Origin, after: int, limit: int) -> list[PendingFetch]:
    rows = session.execute(
        select(Adapter.id, Adapter.record, Adapter.file_sha256, Adapter.covers_done)
        .where(_to_fetch(origin), Adapter.id > after)
        .order_by(Adapter.id)
        .limit(limit)
    )
    return [
        PendingFetch(
            row.id, record_from_json(row.record), row.file_sha256 is None, not row.covers_done
        )
        for row in rows
    ]


def _was_read(reader_version: str) -> ColumnElement[bool]:
    """Read by this version, and a sketch made or found impossible."""
    return and_(File.read_at.is_not(None), File.reader_version == reader_version)


def _to_read(reader_version: str) -> ColumnElement[bool]:
    """What this version has neither read nor refused; what another refused comes again."""
    return and_(
        exists().where(Adapter.file_sha256 == File.sha256, Adapter.state != "gone"),
        File.reader_version.is_distinct_from(reader_version),
    )


def count_to_read(session: Session, reader_version: str) -> int:
    return session.scalar(select(func.count(File.sha256)).where(_to_read(reader_version))) or 0


def list_to_read(
    session: Session, reader_version: str, after: str, limit: int
) -> list[PendingFile]:
    hashes = session.scalars(
        select(File.sha256)
        .where(_to_read(reader_version), File.sha256 > after)
        .order_by(File.sha256)
        .limit(limit)
    ).all()
    labels = _labels(session, hashes)
    return [PendingFile(sha256, labels[sha256]) for sha256 in hashes]


def _to_encode(text_encoder: str) -> ColumnElement[bool]:
    return ~exists().where(
        CaptionEmbedding.text_md5 == Caption.text_md5,
        CaptionEmbedding.text_encoder == text_encoder,
    )


def list_prompts(
    session: Session, cleaning_version: str, after: int, limit: int
) -> list[PendingPrompt]:
    """Return covers' prompts that are no caption yet, cleaned by this version."""
    taken = exists().where(
        Caption.cover_id == Cover.id,
        Caption.source == "hub",
        Caption.prompt_version == cleaning_version,
    )
    rows = session.execute(
        select(Cover.id, Cover.prompt)
        .where(Cover.prompt != "", ~taken, Cover.id > after)
        .order_by(Cover.id)
        .limit(limit)
    )
    return [PendingPrompt(row.id, row.prompt) for row in rows]


def count_to_encode(session: Session, text_encoder: str) -> int:
    """Return how many captions have no embedding."""
    query = select(func.count(Caption.id)).where(_to_encode(text_encoder))
    return session.scalar(query) or 0


def list_to_encode(
    session: Session, text_encoder: str, after: int, limit: int
) -> list[PendingCaption]:
    rows = session.execute(
        select(Caption.id, Caption.text, Caption.text_md5, Adapter.repo, Adapter.version)
        .join(Cover, Cover.id == Caption.cover_id)
        .join(Adapter, Adapter.id == Cover.adapter_id)
        .where(_to_encode(text_encoder), Caption.id > after)
        .order_by(Caption.id)
        .limit(limit)
    )
    return [
        PendingCaption(row.id, row.text, row.text_md5, label(row.repo, row.version)) for row in rows
    ]


def _to_embed(encoder: Encoder, base_models: Collection[str]) -> ColumnElement[bool]:
    return and_(
        Sketch.version == encoder.sketch_version,
        Sketch.file_sha256 == File.sha256,
        File.base_model.in_(base_models),
        ~exists().where(
            WeightEmbedding.file_sha256 == Sketch.file_sha256,
            WeightEmbedding.encoder_id == encoder.id,
        ),
    )


def count_to_embed(session: Session, encoder: Encoder, base_models: Collection[str]) -> int:
    query = select(func.count(Sketch.file_sha256)).where(_to_embed(encoder, base_models))
    return session.scalar(query) or 0


def list_to_embed(
    session: Session, encoder: Encoder, base_models: Collection[str], after: str, limit: int
) -> list[PendingSketch]:
    rows = session.execute(
        select(Sketch.file_sha256, Sketch.data)
        .where(_to_embed(encoder, base_models), Sketch.file_sha256 > after)
        .order_by(Sketch.file_sha256)
        .limit(limit)
    ).all()
    labels = _labels(session, [row.file_sha256 for row in rows])
    return [
        PendingSketch(row.file_sha256, row.data, labels.get(row.file_sha256, row.file_sha256))
        for row in rows
    ]


def base_models_of_files(session: Session) -> list[str]:
    rows = session.scalars(select(File.base_model).where(File.base_model.is_not(None)).distinct())
    return [name for name in rows if name is not None]


def _to_publish(reader_version: str, text_encoder: str) -> ColumnElement[bool]:
    """Listed, its file read, and its covers' captions embedded."""
    waits_for_caption = exists().where(
        Cover.adapter_id == Adapter.id, Caption.cover_id == Cover.id, _to_encode(text_encoder)
    )
    return and_(
        Adapter.state == "listed",
        Adapter.file_sha256 == File.sha256,
        _was_read(reader_version),
        ~waits_for_caption,
    )


def count_to_publish(session: Session, reader_version: str, text_encoder: str) -> int:
    query = select(func.count(Adapter.id)).where(_to_publish(reader_version, text_encoder))
    return session.scalar(query) or 0


def list_to_publish(
    session: Session, reader_version: str, text_encoder: str, after: int, limit: int
) -> list[PendingPublish]:
    rows = session.execute(
        select(Adapter.id, Adapter.repo, Adapter.version)
        .where(_to_publish(reader_version, text_encoder), Adapter.id > after)
        .order_by(Adapter.id)
        .limit(limit)
    )
    return [PendingPublish(row.id, label(row.repo, row.version)) for row in rows]


def waiting_for_embedding(
    session: Session, encoder: Encoder, base_models: Collection[str], adapter_ids: Collection[int]
) -> set[int]:
    """Those of `adapter_ids` that have a sketch for this encoder but no embedding yet."""
    query = select(Adapter.id).where(
        Adapter.id.in_(adapter_ids),
        Adapter.file_sha256 == File.sha256,
        _to_embed(encoder, base_models),
    )
    return set(session.scalars(query))


def _labels(session: Session, hashes: Collection[str]) -> dict[str, str]:
    """One adapter's label for every file."""
    rows = session.execute(
        select(Adapter.file_sha256, Adapter.repo, Adapter.version)
        .where(Adapter.file_sha256.in_(hashes))
        .order_by(Adapter.id.desc())
    )
    return {row.file_sha256: label(row.repo, row.version) for row in rows}
