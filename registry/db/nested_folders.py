"""Folders that lie in one another: a file is listed once, by the one that looked last."""

from pathlib import Path
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Text,
    any_,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from crawler.sources.folder import HUB, is_hidden, repo_of
from registry.db.models import Adapter


def take_over(session: Session, folder: Path) -> None:
    """Make adapters of a folder those that others list and that lie in it.

    They keep their ids, and with them all that is known and was said of them. What lies beside
    them is read again: a folder may see what is above another.
    """
    taken, listed_twice = _lying_in(session, folder)
    if taken:
        session.execute(update(Adapter), taken)
    session.execute(
        update(Adapter)
        .where(_is_among([row["id"] for row in taken]))
        .values(
            record=func.jsonb_set(
                Adapter.record, literal(["stamp", "beside"], ARRAY(Text)), literal("", JSONB)
            )
        )
    )
    session.execute(
        update(Adapter).where(_is_among(listed_twice)).values(state="gone", changed_at=func.now())
    )


def _is_among(ids: list[int]) -> ColumnElement[bool]:
    # One value, however many they are: a statement has 65,535 at most.
    return Adapter.id == any_(literal(ids, ARRAY(BigInteger)))


def is_part_of(folder: Path, other: Path) -> bool:
    """Whether a folder lies in another whose refreshes look into it."""
    return other in folder.parents and not _is_left_out(folder.relative_to(other))


def _lying_in(session: Session, folder: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Return other folders' rows with their place in this one, and the ids of those too many."""
    prefix = f"{str(folder).rstrip('/')}/"
    path = func.rtrim(Adapter.endpoint, "/") + "/" + Adapter.file_name
    in_folders = (Adapter.hub == HUB, Adapter.version == "")
    rows = session.execute(
        select(Adapter.id, path.label("path"))
        .where(*in_folders, Adapter.endpoint != str(folder), func.starts_with(path, prefix))
        # Of two that list the same file, the one that is there counts, then the older one.
        .order_by(Adapter.state == "gone", Adapter.id)
        .with_for_update()
    )
    own = select(Adapter.file_name).where(*in_folders, Adapter.endpoint == str(folder))
    known = set(session.scalars(own))
    taken, listed_twice = list[dict[str, Any]](), list[int]()
    for row in rows:
        name = row.path.removeprefix(prefix)
        if _is_left_out(Path(name)):
            continue
        if name in known:
            listed_twice.append(row.id)
            continue
        known.add(name)
        place = {"endpoint": str(folder), "file_name": name, "repo": repo_of(name, folder)}
        taken.append({"id": row.id, **place})
    return taken, listed_twice


def _is_left_out(path: Path) -> bool:
    return any(map(is_hidden, path.parts))
