"""What of the wide world nothing is trained on, beside the sets that are kept whole."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.world.art import stable_hash

# One picture in so many is seen by nothing.
WITHHELD_EVERY = 25

# Sets for choices and reports that the shipped base was trained on, and so are no strangers to it.
SHIPPED_SETS = {"emojione", "emojione-monotone"}
# Sets that the shipped zoo knows under another name.
OTHER_STYLES = {"fluent-contrast": "fluent-line"}


@dataclass(frozen=True)
class Unseen:
    """What the shipped zoo's adapters for choices and reports are about: not to be learned from."""

    names: frozenset[str] = frozenset()
    cells: frozenset[tuple[str, str]] = frozenset()  # style, subgroup
    effects: frozenset[tuple[str, str, str]] = frozenset()  # kind, pattern, colour

    @classmethod
    def read(cls, path: Path) -> "Unseen":
        """Read the splits of the zoo's concepts, as demo/export.py wrote them."""
        found: dict[str, dict[str, set[Any]]] = {"train": {}, "other": {}}
        for key, split in json.loads(path.read_text()).items():
            kind, about = key.split("/", 1)
            own = found["train" if split == "train" else "other"]
            if kind == "object":
                own.setdefault("names", set()).add(about)
            elif kind == "style":
                own.setdefault("cells", set()).add(tuple(about.split("/", 1)))
            else:  # whatever they are shown on
                colour, pattern = about.split("/")[0].rsplit(" ", 1)
                own.setdefault("effects", set()).add((kind, pattern, colour))
        return cls(
            **{
                part: frozenset(own - found["train"].get(part, set()))
                for part, own in found["other"].items()
            }
        )

    def has(self, style: str, entry: dict[str, Any]) -> bool:
        """Tell whether a picture shows something of it."""
        cell = (OTHER_STYLES.get(style, style), entry["subgroup"])
        return entry["label"] in self.names or cell in self.cells


def is_stranger(sources: Iterable[str]) -> bool:
    """Tell whether an adapter is of none of the sets that the shipped base was trained on."""
    return SHIPPED_SETS.isdisjoint(sources)


def is_withheld(style: str, label: str) -> bool:
    """Tell whether a picture is seen by nothing, whatever sets are added or left out."""
    return stable_hash("withheld", style, label) % WITHHELD_EVERY == 0
