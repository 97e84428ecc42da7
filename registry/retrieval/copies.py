"""Files in one's own folders that are the same adapter by their weights, in groups."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.models import Adapter, File
from registry.retrieval.duplicates import NEAR, judge
from registry.retrieval.terms import DuplicateKind

FOLDER = "folder"
# Fingerprints compared at once.
PAGE = 512


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
    """Return groups of two files and more, the largest saving first."""
    rows = session.execute(
        select(Adapter.id, Adapter.name, Adapter.endpoint, Adapter.file_name, File)
        .join(File, File.sha256 == Adapter.file_sha256)
        .where(Adapter.hub == FOLDER, Adapter.state == "ready")
        .order_by(Adapter.id)
    ).all()
    groups = _group([row.File for row in rows])
    found = []
    for members in groups:
        first, copies = rows[members[0]].File, []
        for member in members:
            row = rows[member]
            verdict = judge(first, row.File)
            if verdict is None:
                # Like another of the group, and not like the first.
                continue
            folder = Path(row.endpoint)
            file = OwnFile(folder, folder / row.file_name, row.File.sha256)
            copies.append(Copy(row.id, row.name, file, row.File.size, *verdict))
        if len(copies) > 1:
            found.append(copies)
    return sorted(found, key=lambda copies: -sum(copy.size for copy in copies[1:]))


def _group(files: Sequence[File]) -> list[list[int]]:
    """Put files together that have the same bytes or tensors, or nearly the same change."""
    parent = list(range(len(files)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for one, other in _pairs(files):
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    members: dict[int, list[int]] = defaultdict(list)
    for place in range(len(files)):
        members[root(place)].append(place)
    return [group for group in members.values() if len(group) > 1]


def _pairs(files: Sequence[File]) -> Iterator[tuple[int, int]]:
    seen: dict[str, int] = {}
    for place, file in enumerate(files):
        for key in filter(None, (file.sha256, file.body_sha256)):
            yield seen.setdefault(key, place), place
    known = [place for place, file in enumerate(files) if file.fingerprint is not None]
    if not known:
        return
    matrix = np.stack([_unit(files[place].fingerprint) for place in known])
    for start in range(0, len(known), PAGE):
        near = matrix[start : start + PAGE] @ matrix[start:].T >= NEAR
        for one, other in zip(*np.nonzero(near), strict=True):
            if one < other:
                yield known[start + one], known[start + other]


def _unit(fingerprint: object) -> npt.NDArray[np.float32]:
    values = np.asarray(fingerprint, np.float32)
    return values / max(float(np.linalg.norm(values)), 1e-12)
