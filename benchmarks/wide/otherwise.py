"""Looks and effects asked for by a writer who knew neither captions' nor questions' wording.

`asked_otherwise.json` has three questions a language for each: how a casual person, a designer and
somebody who tells what is seen would ask. The writer was given what captions call a look or an
effect, was to avoid its words, and saw nothing else of the project.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.wide.asking import Encoded
from benchmarks.wide.figures import gallery_places, reciprocal
from demo.effects import COLOURS, PATTERNS
from demo.world.manners import words_of_effect
from encoder.arrays import Doubles, Ints

ASKED = Path(__file__).parent / "asked_otherwise.json"


@dataclass(frozen=True)
class Otherwise:
    """Which adapters are asked for so, and how."""

    members: Ints  # (m,): places in the gallery
    questions: list[list[str]]  # of each member as many

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> "Otherwise":
        """Return the questions of those `rows` (kind, key) that are of looks and effects."""
        asked = {k: own for k, row in enumerate(rows) if (own := questions_of(row))}
        return cls(np.array(list(asked), np.int64), list(asked.values()))

    def found(self, encoded: Encoded, keys: Sequence[str]) -> Doubles:
        """Return the mean reciprocal position of every member among all, in galleries of 60."""
        every = []
        for texts in zip(*self.questions, strict=True):
            # Adapters that are not asked for so are in the gallery, and are not looked at.
            queries = np.zeros((len(keys), encoded.embeddings.shape[1]), np.float32)
            queries[self.members] = encoded.ask(texts)
            places = gallery_places(queries, encoded.embeddings, keys)
            every.append(reciprocal(places)[self.members])
        found: Doubles = np.mean(every, axis=0)
        return found


def questions_of(row: Mapping[str, Any]) -> list[str]:
    """Return how another writer asks for an adapter, English and then Chinese; nothing if not."""
    looks, effects = _asked()
    if row["kind"] == "style":
        return looks.get(row["key"], [])
    return effects.get(row["key"], []) if row["kind"] == "effect" else []


@cache
def _asked() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    asked = json.loads(ASKED.read_text())
    looks = {look: [*own["en"], *own["zh"]] for look, own in asked["looks"].items()}
    effects = {}
    for kind, patterns in PATTERNS.items():
        for pattern in patterns:
            own = asked["effects"][f"{kind} {pattern}"]
            for colour, (colour_zh, _) in COLOURS.items():
                key = words_of_effect(kind, pattern, colour).seen[0]
                effects[key] = [text.replace("{}", colour) for text in own["en"]]
                effects[key] += [text.replace("{}", colour_zh) for text in own["zh"]]
    return looks, effects
