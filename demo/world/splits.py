"""What of the training sets is hidden from the base, so that adapters have something to teach.

Both rules hash the words, so they hold whatever sets are added or left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from demo.world.art import Art, stable_hash
from demo.world.sources import load_looks

# One picture in so many is seen by nothing: what fusion should draw is judged on them.
WITHHELD_EVERY = 25
# One name in so many is unknown to the base: adapters bring the thing.
UNKNOWN_EVERY = 16

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


def is_withheld(style: str, label: str) -> bool:
    return stable_hash("withheld", style, label) % WITHHELD_EVERY == 0


def is_unknown(label: str) -> bool:
    return stable_hash("unknown", label) % UNKNOWN_EVERY == 0


def base_pictures(art: Art) -> npt.NDArray[np.int64]:
    """List the pictures that the base and its autoencoder are trained on."""
    looks = load_looks()
    labels = [str(entry["label"]) for entry in art.names]
    unknown = [is_unknown(label) for label in labels]
    return np.array(
        [
            place
            for place, (look, name) in enumerate(
                zip(art.look.tolist(), art.name.tolist(), strict=True)
            )
            if looks[look].split == "train"
            and not unknown[name]
            and not is_withheld(looks[look].style, labels[name])
        ]
    )
