"""Files and covers that came into the blob store, noted many at a time."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crawler.records import AdapterRecord
from encoder.base_models.names import UNKNOWN_BASE_MODEL, name_listed
from registry.db.drawn_covers import forget_drawn
from registry.db.models import Adapter, Cover, File
from registry.db.records import record_from_json
from registry.db.removals import is_removed


class StoredCover(NamedTuple):
    """A cover whose image and thumbnail are in the blob store."""

    position: int
    sha256: str
    thumbnail_sha256: str
    width: int
    height: int
    phash: int
    prompt: str | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came for an adapter, or why its file is not wanted."""

    adapter_id: int
    sha256: str | None = None  # of its file, if that came
    size: int = 0
    is_kept: bool = True
    covers: Sequence[StoredCover] = ()
    # Every cover was tried, and none may come with another try.
    covers_done: bool = False
    refusal: str = ""  # for people
    refused_by: str = ""
    withheld: str = ""  # why its hub does not give the file, until it is listed again


def store_arrivals(session: Session, arrivals: Sequence[Arrival]) -> None:
    """Note whose files and covers are in the blob store."""
    adapters = _lock_adapters(session, [arrival.adapter_id for arrival in arrivals])
    files = _add_files(session, arrivals)
    _replace_covers(session, [part for part in arrivals if part.covers or part.covers_done])
    forget_drawn(session, [arrival.adapter_id for arrival in arrivals if arrival.covers])
    for arrival in arrivals:
        adapter = adapters[arrival.adapter_id]
        if arrival.covers or arrival.covers_done:
            adapter.covers_done = arrival.covers_done
        if arrival.refusal and not is_removed(adapter):
            adapter.state = "refused"
            adapter.refusal, adapter.refused_by = arrival.refusal, arrival.refused_by
        if arrival.withheld:
            adapter.record = adapter.record | {"withheld": arrival.withheld}
        if arrival.sha256 is None:
            continue
        adapter.file_sha256, file = arrival.sha256, files[arrival.sha256]
        file.state = "stored" if arrival.is_kept else "dropped"
        if file.read_at is not None and _knows_more(record_from_json(adapter.record), file):
            # It is read again: more is known of it than its bytes.
            file.reader_version = None


def _lock_adapters(session: Session, ids: Collection[int]) -> dict[int, Adapter]:
    rows = session.scalars(
        select(Adapter)
        .where(Adapter.id.in_(ids))
        # In one order, so that two refreshes at once wait for each other and do not lock up.
        .order_by(Adapter.id)
        .with_for_update(key_share=True)
    )
    return {adapter.id: adapter for adapter in rows}


def _add_files(session: Session, arrivals: Sequence[Arrival]) -> dict[str, File]:
    """Return the files that came, those that were not known added."""
    sizes = {arrival.sha256: arrival.size for arrival in arrivals if arrival.sha256 is not None}
    if not sizes:
        return {}
    rows = [{"sha256": sha256, "size": size} for sha256, size in sorted(sizes.items())]
    session.execute(insert(File).on_conflict_do_nothing(), rows)
    files = session.scalars(select(File).where(File.sha256.in_(sizes)))
    return {file.sha256: file for file in files}


def _knows_more(record: AdapterRecord, file: File) -> bool:
    """Whether another listing of a file says what those before did not."""
    named = name_listed(record.base_model_words) != UNKNOWN_BASE_MODEL
    return (named and not (file.verdict or {}).get("said_by")) or (
        bool(record.file.peft_config) and not file.peft_config
    )


def _replace_covers(session: Session, arrivals: Sequence[Arrival]) -> None:
    """Replace adapters' covers; those that stay the same keep their captions."""
    stored: dict[int, list[Cover]] = defaultdict(list)
    ids = [arrival.adapter_id for arrival in arrivals]
    for cover in session.scalars(select(Cover).where(Cover.adapter_id.in_(ids))):
        stored[cover.adapter_id].append(cover)
    old, new = list[int](), list[dict[str, object]]()
    for arrival in arrivals:
        wanted = {cover.position: cover for cover in arrival.covers}
        for cover in stored[arrival.adapter_id]:
            same = wanted.get(cover.position)
            if same is not None and (same.sha256, same.prompt) == (cover.sha256, cover.prompt):
                del wanted[cover.position]
            elif same is not None or arrival.covers_done:
                old.append(cover.id)
        new += ({"adapter_id": arrival.adapter_id, **c._asdict()} for c in wanted.values())
    if old:
        session.execute(delete(Cover).where(Cover.id.in_(old)))
    if new:
        session.execute(insert(Cover).on_conflict_do_nothing(), new)
