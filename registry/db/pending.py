"""What each step of the pipeline has left to do, and so where an interrupted one goes on.

What there is to do is told by keys, in pages: `after` is the last key of the page before. Who has
taken some of them for his own lists those that are still to do with all that it needs.
"""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import ColumnElement, DateTime, and_, exists, false, func, or_, select
from sqlalchemy.orm import Session

from crawler.records import AdapterRecord
from registry.db.adapters import Origin, label, of_origin
from registry.db.claims import said_of
from registry.db.encoder_models import Encoder, Sketch, WeightEmbedding
from registry.db.models import Adapter, Caption, CaptionEmbedding, Cover, File
from registry.db.reading_facts import NOTHING, Beside
from registry.db.records import record_from_json

ALIVE = Adapter.state.in_(["listed", "ready"])


class PendingFetch(NamedTuple):
    adapter_id: int
    record: AdapterRecord
    needs_file: bool
    needs_covers: bool
    beside: Beside = NOTHING
    # The base model that a person says it is for.
    claimed: str | None = None
    # Its file was read, and is not kept: there is no need to fetch it.
    was_read: bool = False


class PendingFile(NamedTuple):
    """A file to read, named after one of the adapters it belongs to."""

    sha256: str
    adapter: str
    size: int | None = None  # in bytes, where it is known


class PendingPrompt(NamedTuple):
    cover_id: int
    prompt: str


class PendingCaption(NamedTuple):
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


def _needs_file() -> ColumnElement[bool]:
    """What has no file, or none that is kept and is to be, and can have it.

    Its hub does not withhold it, or not any more, or another hub's listing of it was fetched.
    """
    withheld = func.coalesce(Adapter.record["withheld"].as_string(), "") != ""
    until = Adapter.record["withheld_until"].as_string().cast(DateTime(timezone=True))
    is_over = func.coalesce(until <= func.now(), false())
    is_here = exists().where(
        File.sha256 == Adapter.record["file", "sha256"].as_string(), File.state != "wanted"
    )
    is_wanted = Adapter.file_sha256.in_(select(File.sha256).where(File.state == "wanted"))
    is_missing = or_(Adapter.file_sha256.is_(None), is_wanted)
    return and_(is_missing, or_(~withheld, is_over, is_here))


def lacks_files() -> ColumnElement[bool]:
    """What is listed and has not all that can be fetched of it."""
    return and_(ALIVE, or_(_needs_file(), Adapter.covers_done.is_(False)))


def _to_fetch(origin: Origin | None) -> ColumnElement[bool]:
    if origin is None:
        return lacks_files()
    return and_(*of_origin(origin), lacks_files())


def count_to_fetch(session: Session, origin: Origin | None) -> int:
    """Return how many adapters of an origin, or of all, lack their file or covers."""
    return session.scalar(select(func.count()).where(_to_fetch(origin))) or 0


def keys_to_fetch(
    session: Session, origin: Origin, after: int, limit: int
) -> list[tuple[int, str | None]]:
    """Return ids, and the hashes that their files are announced with."""
    announced = Adapter.record["file", "sha256"].as_string()
    query = select(Adapter.id, announced).where(_to_fetch(origin), Adapter.id > after)
    return list(session.execute(query.order_by(Adapter.id).limit(limit)))


def list_to_fetch(
    session: Session, origin: Origin, adapter_ids: Collection[int]
) -> list[PendingFetch]:
    rows = session.execute(
        select(Adapter, _needs_file().label("needs_file"), _was_dropped().label("was_read"))
        .where(_to_fetch(origin), Adapter.id.in_(adapter_ids))
        .order_by(Adapter.id)
    )
    return [_pending_fetch(row.Adapter, row.needs_file, row.was_read) for row in rows]


def _pending_fetch(adapter: Adapter, needs_file: bool, was_read: bool) -> PendingFetch:
    record, claimed = record_from_json(adapter.record), adapter.claimed_base_model
    beside = said_of(record, claimed, adapter.claimed_by)
    needs_covers = not adapter.covers_done
    return PendingFetch(adapter.id, record, needs_file, needs_covers, beside, claimed, was_read)


def _was_dropped() -> ColumnElement[bool]:
    """Whether the file that an adapter is announced with was read here and is not kept."""
    announced = Adapter.record["file", "sha256"].as_string()
    return exists().where(
        File.sha256 == announced, File.state == "dropped", File.read_at.is_not(None)
    )


def _was_read(reader_version: str) -> ColumnElement[bool]:
    """Taken by this version, and a sketch made or found impossible.

    Or by any, if it is not here to be read again.
    """
    is_current = or_(File.reader_version == reader_version, File.state != "stored")
    return and_(File.read_at.is_not(None), File.refusal.is_(None), is_current)


def _to_read(reader_version: str) -> ColumnElement[bool]:
    """What this version has neither read nor refused; what another refused comes again."""
    return and_(
        exists().where(Adapter.file_sha256 == File.sha256, Adapter.state != "gone"),
        File.reader_version.is_distinct_from(reader_version),
        # What was read and not kept stays as it was read.
        or_(File.state == "stored", File.read_at.is_(None)),
    )


def count_to_read(session: Session, reader_version: str) -> int:
    return session.scalar(select(func.count(File.sha256)).where(_to_read(reader_version))) or 0


def count_unread(session: Session) -> int:
    """Return how many files no reader has read yet, or are to be read again."""
    listed = exists().where(Adapter.file_sha256 == File.sha256, Adapter.state != "gone")
    query = select(func.count(File.sha256)).where(listed, File.reader_version.is_(None))
    return session.scalar(query) or 0


def keys_to_read(session: Session, reader_version: str, after: str, limit: int) -> list[str]:
    query = select(File.sha256).where(_to_read(reader_version), File.sha256 > after)
    return list(session.scalars(query.order_by(File.sha256).limit(limit)))


def list_to_read(
    session: Session, reader_version: str, sha256s: Collection[str]
) -> list[PendingFile]:
    rows = session.execute(
        select(File.sha256, File.size)
        .where(_to_read(reader_version), File.sha256.in_(sha256s))
        .order_by(File.sha256)
    ).all()
    labels = _labels(session, [row.sha256 for row in rows])
    return [PendingFile(row.sha256, labels[row.sha256], row.size) for row in rows]


def _to_encode(text_encoder: str) -> ColumnElement[bool]:
    return ~exists().where(
        CaptionEmbedding.text_md5 == Caption.text_md5,
        CaptionEmbedding.text_encoder == text_encoder,
    )


def list_prompts(
    session: Session, cleaning_version: str, after: int, limit: int
) -> list[PendingPrompt]:
    """Return covers' prompts that are no caption yet, cleaned by this version.

    The covers stay until the transaction ends, whatever a fetch replaces.
    """
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
        .with_for_update(read=True, key_share=True)
    )
    return [PendingPrompt(row.id, row.prompt) for row in rows]


def count_to_encode(session: Session, text_encoder: str) -> int:
    """Return how many captions have no embedding."""
    query = select(func.count(Caption.id)).where(_to_encode(text_encoder))
    return session.scalar(query) or 0


def keys_to_encode(session: Session, text_encoder: str, after: int, limit: int) -> list[int]:
    query = select(Caption.id).where(_to_encode(text_encoder), Caption.id > after)
    return list(session.scalars(query.order_by(Caption.id).limit(limit)))


def list_to_encode(
    session: Session, text_encoder: str, caption_ids: Collection[int]
) -> list[PendingCaption]:
    rows = session.execute(
        select(Caption.text, Caption.text_md5, Adapter.repo, Adapter.version)
        .join(Cover, Cover.id == Caption.cover_id)
        .join(Adapter, Adapter.id == Cover.adapter_id)
        .where(_to_encode(text_encoder), Caption.id.in_(caption_ids))
        .order_by(Caption.id)
    )
    return [PendingCaption(row.text, row.text_md5, label(row.repo, row.version)) for row in rows]


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


def keys_to_embed(
    session: Session, encoder: Encoder, base_models: Collection[str], after: str, limit: int
) -> list[str]:
    query = select(Sketch.file_sha256).where(
        _to_embed(encoder, base_models), Sketch.file_sha256 > after
    )
    return list(session.scalars(query.order_by(Sketch.file_sha256).limit(limit)))


def list_to_embed(
    session: Session, encoder: Encoder, base_models: Collection[str], sha256s: Collection[str]
) -> list[PendingSketch]:
    rows = session.execute(
        select(Sketch.file_sha256, Sketch.data)
        .where(_to_embed(encoder, base_models), Sketch.file_sha256.in_(sha256s))
        .order_by(Sketch.file_sha256)
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
