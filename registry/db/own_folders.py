"""One's own folders: which are watched, and what came of their refreshes."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, any_, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.db.adapters import Origin, label, of_origin
from registry.db.hubs import list_hubs
from registry.db.models import Adapter, Base, CrawlCursor, CrawlRun
from registry.db.removals import PERSON
from registry.db.runs import find_last
from registry.errors import FolderNotWatchedError

# Of a folder, that are told.
MOST_REFUSED = 100


class OwnFolder(Base):
    """A folder of this machine that is refreshed whenever something in it changes."""

    __tablename__ = "own_folders"

    path: Mapped[str] = mapped_column(primary_key=True)
    added_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Why the last refresh could not begin.
    problem: Mapped[str | None]


@dataclass(frozen=True)
class FolderFacts:
    """A folder as people see it. `adapters` can be found; `report` is of its last refresh.

    `refused` says of its files why they cannot be, whichever refresh found that out: of the first
    of `refused_count`.
    """

    path: str
    added_at: datetime
    step: str | None
    done: int | None
    total: int | None
    problem: str | None
    adapters: int
    finished_at: datetime | None
    report: dict[str, Any]
    refused: dict[str, str]
    refused_count: int


def add_folder(session: Session, path: str) -> None:
    session.execute(insert(OwnFolder).values(path=path).on_conflict_do_nothing())


def remove_folder(session: Session, path: str) -> None:
    """Watch a folder no more; its adapters stay.

    Raises:
        FolderNotWatchedError: it is not watched.
    """
    query = delete(OwnFolder).where(OwnFolder.path == path).returning(OwnFolder.path)
    if session.scalar(query) is None:
        raise FolderNotWatchedError(path)


def list_paths(session: Session) -> list[str]:
    return list(session.scalars(select(OwnFolder.path).order_by(OwnFolder.added_at)))


def list_folders(session: Session) -> list[FolderFacts]:
    """Return the folders in the order in which they were added."""
    folders = session.scalars(select(OwnFolder).order_by(OwnFolder.added_at, OwnFolder.path))
    return [_facts(session, folder) for folder in folders]


def list_unwatched(session: Session) -> list[str]:
    """Return the folders of which adapters can be found, and that are in none that is watched."""
    # With it come the crawler's sources, which a search need not load.
    from registry.db.nested_folders import is_part_of

    watched = [Path(path) for path in list_paths(session)]
    refreshed = (Path(hub.endpoint) for hub in list_hubs(session) if hub.hub == "folder")
    return [
        str(folder)
        for folder in refreshed
        if not any(folder == one or is_part_of(folder, one) for one in watched)
        and _has_adapters(session, str(folder))
    ]


def _has_adapters(session: Session, path: str) -> bool:
    ready = select(Adapter.id).where(*of_origin(Origin("folder", path)), Adapter.state == "ready")
    return session.scalar(ready.limit(1)) is not None


def is_of_another(session: Session, path: str, other: str, names: Collection[str]) -> bool:
    """Whether nothing was ever listed of a folder, and of another some that are called so."""
    if find_last(session, Origin("folder", path)) is not None:
        return False
    listed = select(Adapter.id).where(
        *of_origin(Origin("folder", other)),
        Adapter.state == "ready",
        Adapter.file_name == any_(literal(list(names), ARRAY(Text))),
    )
    return session.scalar(listed.limit(1)) is not None


def move_folder(session: Session, path: str, other: str) -> None:
    """Say that a folder lies at `path`, and no more at `other`, with all that was listed of it."""
    session.execute(update(OwnFolder).where(OwnFolder.path == other).values(path=path))
    for table in (Adapter, CrawlRun, CrawlCursor):
        listed = table.hub == "folder", table.endpoint == other
        session.execute(update(table).where(*listed).values(endpoint=path))


def tell(session: Session, path: str, problem: str | None) -> None:
    """Say why a refresh could not begin, None if it did."""
    session.execute(update(OwnFolder).where(OwnFolder.path == path).values(problem=problem))


def _facts(session: Session, folder: OwnFolder) -> FolderFacts:
    origin = Origin("folder", folder.path)
    run = find_last(session, origin)
    here = select(func.count()).where(*of_origin(origin), Adapter.state == "ready")
    return FolderFacts(
        adapters=session.scalar(here) or 0,
        path=folder.path,
        added_at=folder.added_at,
        step=None if run is None else run.step,
        done=None if run is None else run.done,
        total=None if run is None else run.total,
        problem=folder.problem or (run.error if run is not None else None),
        finished_at=None if run is None else run.finished_at,
        report={} if run is None else run.counts,
        refused=_refused(session, origin),
        refused_count=session.scalar(select(func.count()).where(*_are_refused(origin))) or 0,
    )


def _refused(session: Session, origin: Origin) -> dict[str, str]:
    """Return why files of an origin are refused, by what their adapters are called in reports."""
    query = select(Adapter.repo, Adapter.version, Adapter.refusal).where(*_are_refused(origin))
    rows = session.execute(query.order_by(Adapter.id).limit(MOST_REFUSED))
    return {label(repo, version): refusal or "" for repo, version, refusal in rows}


def _are_refused(origin: Origin) -> tuple[ColumnElement[bool], ...]:
    """Not those that a person took out, who knows why."""
    return (
        *of_origin(origin),
        Adapter.state == "refused",
        Adapter.refused_by.is_distinct_from(PERSON),
    )
