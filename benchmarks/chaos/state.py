"""All that a registry has come to know, under names that do not depend on the way there."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import inspect, select, text
from sqlalchemy.orm import Session

from crawler.hashed_file import hash_file
from registry.config import Settings
from registry.db.encoder_models import Encoder, Sketch, WeightEmbedding
from registry.db.models import (
    Adapter,
    Base,
    Caption,
    CaptionEmbedding,
    Cover,
    CrawlCursor,
    CrawlRun,
    DescriptionEmbedding,
    File,
)
from registry.db.session import open_database
from registry.db.work_models import JobOutcome

# Numbers given in the order of coming, and moments of this machine's clock.
OF_THE_WAY = {"id", "adapter_id", "cover_id", "encoder_id", "first_seen_at", "changed_at"}
OF_THE_WAY |= {"seen_run", "read_at", "created_at"}
# Embeddings are compared in half precision.
TOLERANCE = 2e-3

# What is compared -> key -> value.
State = dict[str, dict[str, Any]]


def read_state(home: Path) -> State:
    """Return what a home holds; nothing may use it meanwhile."""
    settings = Settings(home=home)
    with open_database(settings) as sessions, sessions() as session:
        state = _rows(session)
        needed = _needed_blobs(session)
    state["blobs"] = {path.name: path.stat().st_size for path in _blobs(settings)}
    state["blobs that nothing needs"] = dict.fromkeys(state["blobs"].keys() - needed, "")
    state["blobs that are missing"] = dict.fromkeys(needed - state["blobs"].keys(), "")
    state["blobs with other bytes"] = {
        path.name: "" for path in _blobs(settings) if hash_file(path) != path.name
    }
    leftovers = (settings.blobs / "tmp", settings.home / "downloads", settings.home / "remote")
    state["partial files"] = {
        str(path.relative_to(home)): "" for folder in leftovers for path in folder.rglob("*")
    }
    return state


def count_problems(home: Path) -> Counter[str]:
    """Return by step how many outcomes were bad in the refreshes that reached their end."""
    problems: Counter[str] = Counter()
    with open_database(Settings(home=home)) as sessions, sessions() as session:
        for counts in session.scalars(select(CrawlRun.counts)):
            for step, outcomes in counts.items():
                if isinstance(outcomes, Mapping) and outcomes["failed"]:
                    problems[step] += outcomes["failed"]
    return problems


def differences(found: State, expected: State) -> Iterator[str]:
    """Yield a sentence for each thing that is not as it should be."""
    for kind in expected.keys() | found.keys():
        have, want = found.get(kind, {}), expected.get(kind, {})
        for key in sorted(have.keys() | want.keys()):
            if key not in have:
                yield f"{kind}: {key} is missing"
            elif key not in want:
                yield f"{kind}: {key} should not be there"
            elif not _equal(have[key], want[key]):
                yield f"{kind}: {key} is {_changed(have[key], want[key])}"


def _rows(session: Session) -> State:
    adapters = {a.id: f"{a.repo}@{a.version}" for a in session.scalars(select(Adapter))}
    covers = {c.id: f"{adapters[c.adapter_id]} #{c.position}" for c in session.scalars(_all(Cover))}
    encoders = {e.id: e.name for e in session.scalars(_all(Encoder))}
    return {
        "adapters": {adapters[a.id]: _facts(a) for a in session.scalars(_all(Adapter))},
        "files": {f.sha256: _facts(f) for f in session.scalars(_all(File))},
        "covers": {covers[c.id]: _facts(c) for c in session.scalars(_all(Cover))},
        "captions": {
            f"{covers[c.cover_id]} {c.text}": _facts(c) for c in session.scalars(_all(Caption))
        },
        "caption embeddings": {
            f"{c.text_md5} {c.text_encoder}": _facts(c)
            for c in session.scalars(_all(CaptionEmbedding))
        },
        "description embeddings": {
            f"{adapters[d.adapter_id]} {d.text_encoder}": _facts(d)
            for d in session.scalars(_all(DescriptionEmbedding))
        },
        "sketches": {
            f"{s.file_sha256} {s.version}": hashlib.sha256(s.data).hexdigest()
            for s in session.scalars(_all(Sketch))
        },
        "weight embeddings": {
            f"{w.file_sha256} {encoders[w.encoder_id]}": _facts(w)
            for w in session.scalars(_all(WeightEmbedding))
        },
        "encoders": {e.name: _facts(e) for e in session.scalars(_all(Encoder))},
        "cursors": {f"{c.hub} {c.endpoint}": _facts(c) for c in session.scalars(_all(CrawlCursor))},
        "refreshes that never ended": {
            str(run.id): "" for run in session.scalars(_all(CrawlRun)) if run.state == "running"
        },
        "jobs that are left": {
            str(id_): "" for id_ in session.scalars(text("SELECT id FROM procrastinate_jobs"))
        },
        "outcomes that nobody counted": {
            str(outcome.id): "" for outcome in session.scalars(_all(JobOutcome))
        },
    }


def _all(table: type[Any]) -> Any:
    return select(table)


def _facts(row: Base) -> dict[str, Any]:
    columns = inspect(row).mapper.column_attrs.keys()
    return {name: getattr(row, name) for name in columns if name not in OF_THE_WAY}


def _needed_blobs(session: Session) -> set[str]:
    return {
        *session.scalars(select(File.sha256)),
        *session.scalars(select(Cover.sha256)),
        *session.scalars(select(Cover.thumbnail_sha256)),
        *session.scalars(select(Encoder.checkpoint_sha256)),
    }


def _blobs(settings: Settings) -> list[Path]:
    return sorted(settings.blobs.glob("[0-9a-f][0-9a-f]/*"))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE
    if hasattr(one, "to_numpy") or isinstance(one, list | tuple | np.ndarray):
        return _equal_lists(one, other)
    return bool(one == other)


def _equal_lists(one: Any, other: Any) -> bool:
    first = list(one.to_list() if hasattr(one, "to_list") else one)
    second = list(other.to_list() if hasattr(other, "to_list") else other)
    return len(first) == len(second) and all(map(_equal, first, second))


def _changed(have: Any, want: Any) -> str:
    if isinstance(have, Mapping) and isinstance(want, Mapping):
        parts = [
            f"{key} {have.get(key)!r:.80}, not {want.get(key)!r:.80}"
            for key in have.keys() | want.keys()
            if not _equal(have.get(key), want.get(key))
        ]
        return "; ".join(parts)
    return f"{have!r:.80}, not {want!r:.80}"
