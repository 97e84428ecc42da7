"""What happened in a bad night, and what was wrong afterwards."""

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.tables import table
from registry.refresh.pipeline import STEPS

# Where a refresh can be when something is killed.
MOMENTS = ("starting", *(step.name for step in STEPS), "ending", "none runs")
VICTIMS = ("refresh", "server", "PostgreSQL", "worker")
# Differences that are shown in full.
MOST_SHOWN = 40


@dataclass
class Counts:
    """Counts of events; `differences` are sentences, and none is wanted."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)  # victim, moment
    endings: Counter[str] = field(default_factory=Counter)
    # By step: adapters, files or listings that were refused, or failed for the time being.
    problems: Counter[str] = field(default_factory=Counter)
    searches: Counter[str] = field(default_factory=Counter)
    disk: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def differ(self, what: str) -> None:
        with self._lock:
            self.differences.append(what)

    def to_json(self, served: Counter[Any], answers: int) -> dict[str, Any]:
        kills = {f"{victim}, {moment}": n for (victim, moment), n in self.kills.items()}
        return {
            "kills": kills,
            "endings": self.endings,
            "problems": self.problems,
            "searches": self.searches,
            "disk": self.disk,
            "compared": self.compared,
            "answers": answers,
            "served": served,
            "differences": self.differences,
        }

    def to_markdown(self, served: Counter[Any], answers: int) -> str:
        rows = [
            [victim, *(str(self.kills[victim, moment]) for moment in MOMENTS), str(total)]
            for victim in VICTIMS
            for total in [sum(n for (who, _), n in self.kills.items() if who == victim)]
        ]
        parts = [
            table(["killed while a refresh was at", *MOMENTS, "all"], rows),
            _list("what the hub did wrong", served, f"of {answers} answers"),
            _list("how refreshes ended", self.endings),
            _list("refused or failed for now, at", self.problems),
            _list("searches meanwhile", self.searches),
            _list("the disk", self.disk),
            _list("compared with an undisturbed run", self.compared),
            f"{sum(self.kills.values())} kills, {len(self.differences)} differences.\n",
        ]
        parts += [f"- {json.dumps(text)[1:-1]}\n" for text in self.differences[:MOST_SHOWN]]
        return "\n".join(parts)


def _list(title: str, counts: Counter[Any], note: str = "") -> str:
    total = f"{sum(counts.values())} {note}".strip()
    rows = [(str(name), str(n)) for name, n in counts.most_common()]
    return table([title, total], rows)
