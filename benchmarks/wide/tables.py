"""The table of encoders on art from outside."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.tables import table
from benchmarks.wide.asking import Encoded
from benchmarks.wide.figures import both, chance, summary
from benchmarks.wide.zoo import LANGUAGES, Outside
from demo.world.concepts import KINDS


def describe(outside: Outside, encoded: Encoded) -> dict[str, Any]:
    """Return an encoder's figures, all and by kind."""
    found = outside.found(encoded)
    values = np.mean(list(found.values()), axis=0)
    sources = np.array([row["sources"][0] for row in outside.rows])
    kinds = np.array([row["kind"] for row in outside.rows])
    keys = [row["key"] for row in outside.rows]
    lazy = np.array([row["author"]["lazy"] for row in outside.rows])
    otherwise = outside.otherwise.found(encoded, keys)
    asked = outside.otherwise.members
    parts = {
        **{kind: kinds == kind for kind in KINDS},
        "by careful authors": ~lazy,
        "by lazy authors": lazy,
    }
    return {
        "mrr": summary(values, sources),
        **{language: float(own.mean()) for language, own in found.items()},
        "parts": {
            name: summary(values[rows], sources[rows]) for name, rows in parts.items() if rows.any()
        },
        "otherwise": {
            kind: summary(otherwise[rows], sources[asked][rows])
            for kind in ("style", "effect")
            if (rows := kinds[asked] == kind).any()
        },
    }


def encoders_table(encoders: Sequence[Mapping[str, Any]]) -> str:
    """Write what `describe` tells of each encoder, a column for each."""
    first = encoders[0]
    rows = [["all", str(first["mrr"]["adapters"]), *(both(own["mrr"]) for own in encoders)]]
    rows += [
        [name, str(entry["adapters"]), *(both(own["parts"][name]) for own in encoders)]
        for name, entry in first["parts"].items()
    ]
    rows += [
        [
            f"{kind}, asked by another writer",
            str(entry["adapters"]),
            *(both(own["otherwise"][kind]) for own in encoders),
        ]
        for kind, entry in first["otherwise"].items()
    ]
    rows += [
        [language, "", *(f"{own[language]:.3f}" for own in encoders)] for language in LANGUAGES
    ]
    return table(["of them", "adapters", *(own["name"] for own in encoders)], rows) + (
        f"\nMRR in galleries of 60, chance {chance():.3f}; 95 % intervals by adapter, in round "
        "brackets by source.\n"
    )
