"""Adapters that are the same thing again: listed elsewhere, re-saved, cast, or little changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    TableValuedAlias,
    Text,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.orm import Session

from registry.db.models import Adapter, File
from registry.retrieval.statements import among
from registry.retrieval.terms import KINDS, DuplicateKind

if TYPE_CHECKING:
    from encoder.sketches.fingerprint import Fingerprint

# Cosine of two changes from which they are near duplicates. On the miniature world's held-out
# adapters no two of different making reach .5; docs/benchmarks.md has what is found and missed.
NEAR = 0.8
# Fingerprints that a scan of the index compares; further copies are found by their hashes.
MOST = 100
# Cosine distance of fingerprints, by PostgreSQL's rounding, under which every copy lies.
WORTH_JUDGING = 1 - NEAR + 0.01
# Columns that tell what a file holds: see `contents`.
CONTENTS = (File.sha256, File.body_sha256, File.log_norm)
# What a file is to another, how similar, and how much stronger.
Verdict = tuple[DuplicateKind, float, float]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """`similarity` -1..1 is the cosine of both changes, `strength` how much stronger it is."""

    adapter_id: int
    kind: DuplicateKind
    similarity: float
    strength: float


def find_duplicates(session: Session, adapter_id: int) -> list[Duplicate]:
    """Return ready adapters that are the same as this one, the most certain first.

    Of one that is refused, those that are refused as well. Approximate but for `file` and
    `tensors`: fingerprints estimate, and HNSW may miss one.
    """
    found = session.execute(
        select(File, Adapter.state)
        .join(Adapter, Adapter.file_sha256 == File.sha256)
        .where(Adapter.id == adapter_id)
    ).one_or_none()
    if found is None:
        return []
    file, state = found
    states = ["ready", "refused"] if state == "refused" else ["ready"]
    same: ColumnElement[bool] = File.sha256 == file.sha256
    if file.body_sha256 is not None:
        same = or_(same, File.body_sha256 == file.body_sha256)
    files = {row.sha256: row for row in session.scalars(select(File).where(same).limit(MOST))}
    if file.fingerprint is not None:
        session.execute(text(f"SET LOCAL hnsw.ef_search = {MOST}"))
        distance = File.fingerprint.cosine_distance(file.fingerprint).label("distance")
        nearest = (
            select(File.sha256, distance)
            .where(File.fingerprint.is_not(None))
            .order_by(distance)
            .limit(MOST)
            .subquery()
        )
        # Most of the nearest are strangers, whose rows cost far more to load than the scan did.
        close = (
            select(File)
            .join(nearest, nearest.c.sha256 == File.sha256)
            .where(nearest.c.distance < WORTH_JUDGING)
        )
        files |= {row.sha256: row for row in session.scalars(close)}
    judged = {sha256: judge(file, other) for sha256, other in files.items()}
    verdicts = {sha256: verdict for sha256, verdict in judged.items() if verdict}
    certain = _by_certainty(verdicts)
    # PostgreSQL leaves the first of them: thousands of adapters may have one file.
    rows = session.execute(
        select(Adapter.id, Adapter.file_sha256)
        .join(certain, certain.c.sha256 == Adapter.file_sha256)
        .where(Adapter.state.in_(states), Adapter.id != adapter_id)
        .order_by(certain.c.place, Adapter.id)
        .limit(MOST)
    )
    return [Duplicate(row.id, *verdicts[row.file_sha256]) for row in rows]


def _by_certainty(verdicts: Mapping[str, Verdict]) -> TableValuedAlias:
    """Return files with their places: the most certain copies first, equal ones at one place."""
    keys = {
        sha256: (KINDS.index(kind), -similarity)
        for sha256, (kind, similarity, _) in verdicts.items()
    }
    order = sorted(set(keys.values()))
    places = [order.index(key) for key in keys.values()]
    return (
        func.unnest(literal(list(keys), ARRAY(Text)), literal(places, ARRAY(Integer)))
        .table_valued("sha256", "place")
        .render_derived()
    )


def judge(file: File, other: File) -> Verdict | None:
    """Return what `other` is to `file`, how similar and how much stronger; None if unrelated."""
    if file.sha256 == other.sha256:
        return "file", 1.0, 1.0
    same_tensors = file.body_sha256 is not None and file.body_sha256 == other.body_sha256
    if file.fingerprint is None or other.fingerprint is None:
        return ("tensors", 1.0, 1.0) if same_tensors else None
    from encoder.sketches.fingerprint import (
        is_same,
        is_same_direction,
        similarity,
        strength_ratio,
    )

    ours, theirs = _fingerprint(file), _fingerprint(other)
    alike, ratio = similarity(ours, theirs), strength_ratio(ours, theirs)
    if is_same(ours, theirs):
        return ("tensors", 1.0, 1.0) if same_tensors else ("change", alike, ratio)
    # The same tensors under a header with another alpha come here, too.
    if is_same_direction(ours, theirs):
        return "strength", alike, ratio
    return ("near", alike, ratio) if alike >= NEAR else None


def _fingerprint(file: File) -> "Fingerprint":
    from encoder.sketches.fingerprint import Fingerprint

    assert file.log_norm is not None
    return Fingerprint(np.asarray(file.fingerprint, np.float16), file.log_norm)


def contents(session: Session, adapter_ids: Sequence[int]) -> dict[int, str]:
    """Return for each adapter what equals another's if both hold the same tensors.

    And change the base as much: another alpha in the header is another adapter.
    """
    rows = session.execute(
        select(Adapter.id, *CONTENTS)
        .join(File, File.sha256 == Adapter.file_sha256)
        .where(among(Adapter.id, adapter_ids))
    )
    return {row.id: content_of(row) for row in rows}


def content_of(row: Any) -> str:
    """Return the same from a row that has CONTENTS."""
    if not row.body_sha256:
        return str(row.sha256)
    # How strong the change is, without what another order of its layers makes of it.
    strength = "" if row.log_norm is None else f"{row.log_norm:.4f}"
    return f"{row.body_sha256} {strength}"
