"""Files in one's own folders that are the same adapter by their weights, in groups."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.models import Adapter, File
from registry.db.near_copies import Groups, near_pairs
from registry.retrieval.duplicates import NEAR, judge
from registry.retrieval.terms import DuplicateKind

FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class OwnFile:
    """An adapter's file in a folder of this machine; `sha256` is what was indexed."""

    folder: Path
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Copy:
    """One file of a group, and what it is to the group's first: the one used longest."""

    adapter_id: int
    name: str
    file: OwnFile
    size: int
    kind: DuplicateKind
    similarity: float
    strength: float


def own_files(session: Session, adapter_ids: Collection[int]) -> dict[int, OwnFile]:
    """Return where the files of adapters lie that are in folders of this machine."""
    rows = session.execute(
        select(Adapter.id, Adapter.endpoint, Adapter.file_name, Adapter.file_sha256).where(
            Adapter.id.in_(adapter_ids),
            Adapter.hub == FOLDER,
            Adapter.state.in_(["ready", "listed", "refused"]),
            Adapter.file_sha256.is_not(None),
        )
    )
    files = {}
    for row in rows:
        folder = Path(row.endpoint)
        path = folder / row.file_name
        if ".." not in path.parts and path.is_relative_to(folder):
            files[row.id] = OwnFile(folder, path, row.file_sha256)
    return files


def find_copies(session: Session) -> list[list[Copy]]:
    """Return groups of two files and more that are there, the largest saving first."""
    own = (Adapter.hub == FOLDER, Adapter.state == "ready", Adapter.file_sha256.is_not(None))
    rows = session.execute(
        select(Adapter.id, Adapter.name, Adapter.endpoint, Adapter.file_name, Adapter.file_sha256)
        .where(*own)
        .order_by(Adapter.id)
    ).all()
    # Once each, however many have it: what was read of a file is some kilobytes.
    of_them = File.sha256.in_(select(Adapter.file_sha256).where(*own))
    files = {file.sha256: file for file in session.scalars(select(File).where(of_them))}
    # Before they are judged: what a copy is to a file that is not shown says nothing of the others.
    rows = _named_once([row for row in rows if row.file_sha256 in files])
    groups = _group([files[row.file_sha256] for row in rows])
    found = []
    for members in groups:
        first, copies = files[rows[members[0]].file_sha256], []
        judged = {
            sha256: judge(first, files[sha256])
            for sha256 in {rows[member].file_sha256 for member in members}
        }
        for member in members:
            row = rows[member]
            verdict = judged[row.file_sha256]
            if verdict is None:
                # Like another of the group, and not like the first.
                continue
            file = OwnFile(Path(row.endpoint), _path(row), row.file_sha256)
            size = files[row.file_sha256].size
            copies.append(Copy(row.id, row.name, file, size, *verdict))
        if len(copies) > 1:
            found.append(copies)
    return sorted(found, key=lambda copies: -sum(copy.size for copy in copies[1:]))


def _named_once(rows: Sequence[Any]) -> list[Any]:
    """Leave one name to each file that is there.

    A file is known by two where a link leads to it or to its folder: it is no copy of itself, and
    who threw it away would have none left.
    """
    names: dict[tuple[int, int], list[tuple[bool, Any]]] = defaultdict(list)
    for row in rows:
        path = _path(row)
        try:
            facts, is_link = path.stat(), path.is_symlink()
        except OSError:
            # Not mounted, or gone since it was indexed: nothing to rely on.
            continue
        names[facts.st_dev, facts.st_ino].append((is_link, row))
    kept = (min(known, key=lambda name: name[0])[1] for known in names.values())
    return sorted(kept, key=lambda row: row.id)


def _path(row: Any) -> Path:
    return Path(row.endpoint, row.file_name)


def _group(files: Sequence[File]) -> list[list[int]]:
    """Put files together that have the same bytes or tensors, or nearly the same change."""
    groups = Groups()
    for place, file in enumerate(files):
        for key in filter(None, (file.sha256, file.body_sha256)):
            groups.join(f"file {place}", key)
    known = [place for place, file in enumerate(files) if file.fingerprint is not None]
    for one, other in near_pairs([files[place].fingerprint for place in known], NEAR):
        groups.join(f"file {known[one]}", f"file {known[other]}")
    members: dict[str, list[int]] = defaultdict(list)
    for place in range(len(files)):
        members[groups.name(f"file {place}")].append(place)
    return [group for group in members.values() if len(group) > 1]
