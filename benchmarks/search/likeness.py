"""Whether `like` and `unlike` do what they say, on the demo's adapters.

    python -m benchmarks.search.likeness [HOME]

HOME is the home of a registry with the demo's index; `make demo` makes one. An adapter of a style,
a pattern, a background or an effect has its likes there: those that do the same to other things.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from sqlalchemy import select

from benchmarks.tables import table
from demo.paths import DATA
from demo.run import OUT, demo_settings
from registry.db.models import Adapter
from registry.retrieval.given_values import Likes, Paging
from registry.service import Registry

# Of these, two or three can be given and some are left to be found.
LEAST_ALIKE = 4
DRAWS = 10
SEED = 0
SHOWN = 5


def manner_of(key: str) -> str | None:
    """Return what an adapter's likes share with it: `texture/blue dots/objects` is dots."""
    kind, *words = key.split("/")
    if kind == "object":
        return None
    return f"{kind} {words[0]}" if kind == "style" else f"{kind} {words[0].split()[-1]}"


@dataclass(frozen=True)
class Demo:
    """The index, and what its adapters have in common; one that two hubs list counts once."""

    registry: Registry
    by_id: Mapping[int, str]  # manners of those that have enough likes
    first: Mapping[int, int]  # by id that of the first adapter with the same file

    @classmethod
    def load(cls, registry: Registry) -> "Demo":
        listing = json.loads((DATA / "zoo" / "listing.json").read_text(encoding="utf-8"))
        manners = {Path(entry["file"]).name: manner_of(entry["_key"]) for entry in listing}
        with registry.sessions() as session:
            listed = select(Adapter.id, Adapter.file_name).order_by(Adapter.id)
            rows = session.execute(listed).all()
        ids: dict[str, int] = {}
        for row in rows:
            ids.setdefault(row.file_name, row.id)
        found = {id_: manners[name] for name, id_ in ids.items()}
        counts = Counter(found.values())
        alike = {id_: own for id_, own in found.items() if own and counts[own] >= LEAST_ALIKE}
        return cls(registry, alike, {row.id: ids[row.file_name] for row in rows})

    @property
    def groups(self) -> dict[str, list[int]]:
        """The adapters of every manner."""
        return {
            manner: [id_ for id_, own in self.by_id.items() if own == manner]
            for manner in sorted(set(self.by_id.values()))
        }

    def find(self, likes: Likes) -> list[int]:
        found = self.registry.search("", paging=Paging(limit=SHOWN), likes=likes).results
        return [self.first[result.card.id] for result in found]


def share(ids: Sequence[int], by_id: Mapping[int, str], manner: str, most: int = SHOWN) -> float:
    """Return how many of the places that could have the manner have it."""
    places = min(SHOWN, most)
    return sum(by_id.get(id_) == manner for id_ in ids[:places]) / places


def measure_like(demo: Demo) -> Iterator[list[str]]:
    numbers = np.random.default_rng(SEED)
    by_id, groups = demo.by_id, demo.groups
    for given in (1, 2, 3):
        first, top = [], []
        for manner, members in groups.items():
            for _ in range(DRAWS):
                like = numbers.choice(members, given, replace=False).tolist()
                ids = demo.find(Likes(like=tuple(like)))
                first.append(by_id.get(ids[0]) == manner)
                top.append(share(ids, by_id, manner, len(members) - given))
        yield [f"like {given} of a manner", f"{mean(first):.0%}", f"{mean(top):.0%}", ""]


def measure_unlike(demo: Demo) -> Iterator[list[str]]:
    """One of each of two manners is liked; then another one of the second is not."""
    numbers = np.random.default_rng(SEED)
    by_id, groups = demo.by_id, demo.groups
    rows: dict[str, list[tuple[bool, float, float]]] = {"without": [], "with": []}
    for _ in range(DRAWS * len(groups)):
        wanted, unwanted = numbers.choice(list(groups), 2, replace=False).tolist()
        (one,) = numbers.choice(groups[wanted], 1).tolist()
        two, against = numbers.choice(groups[unwanted], 2, replace=False).tolist()
        for name, unlike in (("without", ()), ("with", (against,))):
            ids = demo.find(Likes((one, two), unlike))
            rows[name].append(
                (
                    by_id.get(ids[0]) == wanted,
                    share(ids, by_id, wanted),
                    share(ids, by_id, unwanted),
                )
            )
    for name, figures in rows.items():
        first, top, other = (mean(column) for column in zip(*figures, strict=True))
        yield [
            f"like one of A and one of B, {name} unlike another of B",
            f"{first:.0%}", f"{top:.0%}", f"{other:.0%}",
        ]  # fmt: skip


def main() -> None:
    home = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT / "home"
    with Registry(demo_settings(home, 0)) as registry:
        demo = Demo.load(registry)
        rows = [*measure_like(demo), *measure_unlike(demo)]
    head = (
        "question",
        "the first is of it (A)",
        f"of the first {SHOWN}",
        f"of the first {SHOWN}, B",
    )
    sys.stdout.write(f"{len(demo.by_id)} adapters of {len(demo.groups)} manners\n\n")
    sys.stdout.write(table(head, rows))


if __name__ == "__main__":
    main()
