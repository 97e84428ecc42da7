"""What hubs list, stored: rows that come, change, move, vanish, and the files they share."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Text,
    any_,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crawler.records import AdapterRecord, Remembered
from encoder.base_models.names import name_listed
from registry.db.models import FILE_STEM, Adapter, File, stem_of
from registry.db.records import record_from_json, record_to_json, settle, stamp_from_json
from registry.db.removals import PERSON, is_removed

# Rows looked at together.
PAGE = 500


class Origin(NamedTuple):
    """A hub at one of its addresses, or one folder: what cursors and vanishing go by."""

    hub: str
    endpoint: str


class Key(NamedTuple):
    """What makes an adapter the same one where it is listed."""

    repo: str
    version: str
    file_name: str


def label(repo: str, version: str) -> str:
    """What people are told an adapter is, in progress and errors."""
    return f"{repo}@{version}" if version else repo


def store_listed(
    session: Session, origin: Origin, records: Sequence[AdapterRecord], run_id: int
) -> int:
    """Insert or update what an endpoint lists in a run; return how many are new or changed."""
    by_key = {Key(r.repo, r.version, r.file.name): r for r in records}
    columns = (Adapter.repo, Adapter.version, Adapter.file_name)
    # In one order, so that two crawls at once wait for each other and do not lock up.
    stored = session.scalars(
        select(Adapter)
        .where(*of_origin(origin), tuple_(*columns).in_(list(by_key)))
        .order_by(Adapter.id)
        .with_for_update()
    )
    changed = 0
    for adapter in stored:
        key = Key(adapter.repo, adapter.version, adapter.file_name)
        changed += _update(session, adapter, by_key.pop(key), run_id)
    new = [
        {**origin._asdict(), **key._asdict(), **settle(record, None), "seen_run": run_id}
        for key, record in sorted(by_key.items())
    ]
    if new:
        # Nothing is done where another process has just listed the same.
        session.execute(insert(Adapter).on_conflict_do_nothing(), new)
    session.flush()
    return changed + len(by_key)


def _update(session: Session, adapter: Adapter, record: AdapterRecord, run_id: int) -> bool:
    # A run that was paused may come after one that began later.
    adapter.seen_run = max(adapter.seen_run, run_id)
    adapter.downloads = record.downloads
    old, new = adapter.record, record_to_json(record)
    if adapter.state != "gone" and _facts(old) == _facts(new):
        adapter.record = new
        return False
    has_new_file = _has_new_file(adapter, record)
    if has_new_file:
        adapter.file_sha256 = None
    if is_removed(adapter):
        # It may have been away, and stays out.
        adapter.state = "refused"
    elif has_new_file or adapter.state == "gone" or adapter.refused_by is not None:
        # It was away, and publishing makes it ready again; or its header is looked at again.
        adapter.state, adapter.refusal, adapter.refused_by = "listed", None, None
    if old.get("covers") != new["covers"]:
        adapter.covers_done = False
    file = session.get(File, adapter.file_sha256) if adapter.file_sha256 else None
    if file is not None and _says_otherwise(record_from_json(old), record):
        read_again(session, file.sha256)
    for column, value in settle(record, file, adapter.claimed_base_model).items():
        setattr(adapter, column, value)
    adapter.changed_at = datetime.now(UTC)
    return True


def _says_otherwise(old: AdapterRecord, new: AdapterRecord) -> bool:
    """Whether a listing changes what its file is read as."""
    before, now = (
        (name_listed(record.base_model_words), record.file.peft_config) for record in (old, new)
    )
    return before != now


def _has_new_file(adapter: Adapter, record: AdapterRecord) -> bool:
    if record.file.sha256 is not None and adapter.file_sha256 is not None:
        return record.file.sha256 != adapter.file_sha256
    # Without a hash only the date tells; fetching the same file again is harmless.
    return record.updated_at != adapter.hub_updated_at


def _facts(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what changes daily, or by a touch, and means no change."""
    return {key: value for key, value in record.items() if key not in ("downloads", "stamp")}


def mark_seen(
    session: Session, origin: Origin, repo: str, run_id: int, *, is_folder: bool = False
) -> None:
    """Note that an endpoint still lists a repository, although it could not be read today.

    Or, where it may be a folder, all repositories in it.
    """
    of_repo = Adapter.repo == repo
    if is_folder:
        of_repo |= Adapter.repo.startswith(f"{repo}/", autoescape=True)
    session.execute(
        update(Adapter)
        .where(*of_origin(origin), of_repo)
        .values(seen_run=func.greatest(Adapter.seen_run, run_id))
    )


def list_longest_unseen(session: Session, origin: Origin, run_id: int, limit: int) -> list[str]:
    """Return repositories of an origin that no run has listed for longest, and not this one."""
    last_seen = func.max(Adapter.seen_run)
    rows = session.scalars(
        select(Adapter.repo)
        .where(*of_origin(origin), Adapter.state != "gone")
        .group_by(Adapter.repo)
        .having(last_seen < run_id)
        .order_by(last_seen, Adapter.repo)
        .limit(limit)
    )
    return list(rows)


def spare_unwanted(
    session: Session, origin: Origin, run_id: int, wants: Callable[[AdapterRecord], bool]
) -> None:
    """Note of what a run did not list, and would not have because of its filters, that it may stay.

    Nothing is known of it.
    """
    after = 0
    while page := session.execute(
        select(Adapter.id, Adapter.record)
        .where(*_missing(origin, run_id), Adapter.id > after)
        .order_by(Adapter.id)
        .limit(PAGE)
    ).all():
        unwanted = [row.id for row in page if not wants(record_from_json(row.record))]
        session.execute(update(Adapter).where(Adapter.id.in_(unwanted)).values(seen_run=run_id))
        after = page[-1].id


def mark_unchanged(
    session: Session, origin: Origin, file_names: Collection[str], run_id: int
) -> None:
    """Note that files are there as they were."""
    session.execute(
        update(Adapter)
        .where(
            *of_origin(origin), Adapter.file_name == any_(literal(list(file_names), ARRAY(Text)))
        )
        .values(seen_run=func.greatest(Adapter.seen_run, run_id))
    )


def load_remembered(session: Session, origin: Origin) -> dict[str, Remembered]:
    """Return what is known of the files that an origin listed, by their names."""
    stamp, listed_sha256 = Adapter.record["stamp"], Adapter.record["file", "sha256"].as_string()
    rows = session.execute(
        select(
            Adapter.file_name,
            Adapter.state,
            # What was listed without a hash was hashed when it was copied.
            func.coalesce(Adapter.file_sha256, listed_sha256).label("sha256"),
            stamp.label("stamp"),
        ).where(*of_origin(origin), Adapter.version == "")
    )
    return {
        row.file_name: Remembered(row.sha256, stamp_from_json(row.stamp), row.state == "gone")
        for row in rows
    }


def load_lately_listed(session: Session, origin: Origin, since: datetime) -> dict[str, Remembered]:
    """Return by name the repositories of an origin that changed since then, and are not gone."""
    changed_at = func.max(Adapter.hub_updated_at)
    rows = session.execute(
        select(Adapter.repo, changed_at.label("updated_at"))
        .where(*of_origin(origin), Adapter.state != "gone", Adapter.hub_updated_at >= since)
        .group_by(Adapter.repo)
    )
    return {row.repo: Remembered(None, None, updated_at=row.updated_at) for row in rows}


def move(session: Session, origin: Origin, from_name: str, record: AdapterRecord) -> None:
    """Give an adapter the name under which its file lies now; what else is new is stored later.

    What was listed under that name before is there no more: it is retired, and its row makes
    room by a version of its own.
    """
    adapter_id = session.scalars(
        select(Adapter.id).where(
            *of_origin(origin),
            Adapter.file_name == from_name,
            Adapter.version == "",
            # Has an index. That of an origin's adapters begins with their repositories, and would
            # be read through for each file of a folder that was renamed.
            stem_of(from_name) == FILE_STEM,
        )
    ).one_or_none()
    if adapter_id is None:
        return
    session.execute(
        update(Adapter)
        .where(
            *of_origin(origin),
            Adapter.repo == record.repo,
            Adapter.version == record.version,
            Adapter.file_name == record.file.name,
            Adapter.id != adapter_id,
        )
        .values(state="gone", version=func.concat("until ", Adapter.id), changed_at=func.now())
    )
    session.execute(
        update(Adapter)
        .where(Adapter.id == adapter_id)
        .values(repo=record.repo, file_name=record.file.name)
    )


def count_present(session: Session, origin: Origin) -> int:
    """Return how many adapters of an origin are not gone."""
    query = select(func.count()).where(*of_origin(origin), Adapter.state != "gone")
    return session.scalars(query).one()


def count_missing(session: Session, origin: Origin, run_id: int) -> int:
    """Return how many of them neither a run nor a later one has listed."""
    query = select(func.count()).where(*_missing(origin, run_id))
    return session.scalars(query).one()


def mark_gone(session: Session, origin: Origin, run_id: int) -> list[str]:
    """Retire what neither a run nor a later one has listed; return their labels. Facts stay."""
    rows = session.execute(
        update(Adapter)
        .where(*_missing(origin, run_id))
        .values(state="gone", changed_at=func.now())
        .returning(Adapter.repo, Adapter.version)
    )
    return [label(row.repo, row.version) for row in rows]


def _missing(origin: Origin, run_id: int) -> tuple[ColumnElement[bool], ...]:
    return *of_origin(origin), Adapter.seen_run < run_id, Adapter.state != "gone"


def of_origin(origin: Origin) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Conditions on the adapters of an origin."""
    return Adapter.hub == origin.hub, Adapter.endpoint == origin.endpoint


def read_again(session: Session, file_sha256: str) -> None:
    """Let the next refresh read a file again: more is known of it than its bytes."""
    session.execute(update(File).where(File.sha256 == file_sha256).values(reader_version=None))


def forget_judgements(session: Session, origin: Origin, judges: Collection[str]) -> None:
    """Have the headers looked at again that others than `judges` refused adapters for."""
    session.execute(
        update(Adapter)
        .where(
            *of_origin(origin),
            Adapter.state == "refused",
            Adapter.refused_by.is_not(None),
            Adapter.refused_by.not_in([*judges, PERSON]),
        )
        .values(state="listed", refusal=None, refused_by=None)
    )


def is_read_and_dropped(session: Session, file_sha256: str) -> bool:
    """Whether a file was read here and is not kept: there is no need to fetch it."""
    query = select(File.read_at).where(File.sha256 == file_sha256, File.state == "dropped")
    return session.scalar(query) is not None


def find_page_of_dropped(session: Session, file_sha256: str) -> str | None:
    """Return where people find a file that is not kept; None if it is not such a one."""
    query = select(Adapter.page_url).join(File).order_by(Adapter.state, Adapter.id).limit(1)
    return session.scalar(query.where(File.sha256 == file_sha256, File.state != "stored"))


def want_back(session: Session, base_models: Collection[str] | None) -> None:
    """Have files fetched again that were not kept, of some base models or of all (None)."""
    wanted = update(File).where(File.state == "dropped")
    if base_models is not None:
        of_them = select(Adapter.file_sha256).where(Adapter.base_model.in_(base_models))
        wanted = wanted.where(File.sha256.in_(of_them))
    session.execute(wanted.values(state="wanted"))


def forget_file(session: Session, file_sha256: str) -> None:
    """Let the next fetch get a file again that the blob store has lost.

    What a person took out stays out.
    """
    lost = update(Adapter).where(Adapter.file_sha256 == file_sha256, Adapter.state != "gone")
    kept_out = Adapter.refused_by.is_not_distinct_from(PERSON)
    session.execute(lost.where(kept_out).values(file_sha256=None))
    session.execute(lost.where(~kept_out).values(file_sha256=None, state="listed", refusal=None))
