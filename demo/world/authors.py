"""Authors of adapters and their habits: settings, captions, carelessness.

A group of adapters that train side by side is one author's, so all of its settings are shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

# Shares of what authors choose.
ALGORITHMS = {"lora": 0.86, "loha": 0.07, "lokr": 0.07}
RANKS = {1: 0.08, 2: 0.14, 4: 0.28, 8: 0.24, 16: 0.16, 32: 0.10}
LAYERS = {"all": 0.62, "attention": 0.14, "not norms": 0.12, "single": 0.06, "double": 0.06}
ALPHAS = {"rank": 0.4, "half": 0.2, "double": 0.1, "one": 0.15, "sixteen": 0.15}
STEPS = {40: 0.3, 60: 0.4, 90: 0.3}
RATES = {3e-3: 0.3, 5e-3: 0.5, 8e-3: 0.2}
# What rank a rate is meant for: higher ones move more at the same rate.
RATED_RANK = 4
LAZY_SHARE, LAZY_STEPS = 0.15, 140
NONSENSE = ("sks", "ohwx", "zwx", "mst1", "drw")

T = TypeVar("T")


@dataclass(frozen=True)
class Author:
    """One author's habits."""

    name: str
    algorithm: str  # lora, loha, lokr
    rank: int
    alpha: float
    layers: str  # which are trained, see `trains`
    steps: int
    rate: float
    manner: int  # of captions
    chinese: bool  # prompts in Chinese where a name is known
    nonsense: str  # a word that stands for a style in prompts; empty: its own words
    lazy: bool  # few pictures, too many steps, some of them mislabelled

    @property
    def scale(self) -> float:
        """What the product of the stored factors is multiplied by."""
        return self.alpha / self.rank

    def trains(self, layer: str) -> bool:
        """Whether the author's adapters change a layer."""
        return {
            "all": True,
            "attention": ".attn." in layer,
            "not norms": ".norm" not in layer,
            "single": layer.startswith("single_"),
            "double": not layer.startswith("single_"),
        }[self.layers]


def choose(rng: np.random.Generator, shares: Mapping[T, float]) -> T:
    """Draw one of the keys by its share."""
    return list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]


def draw_author(rng: np.random.Generator, number: int) -> Author:
    """Draw an author's habits."""

    algorithm, rank = choose(rng, ALGORITHMS), choose(rng, RANKS)
    lazy = bool(rng.random() < LAZY_SHARE)
    if algorithm != "lora":
        # A Hadamard product has the square of its rank; Kronecker's small factor is full.
        rank = min(rank, 4)
    alphas = {"rank": rank, "half": rank / 2, "double": 2 * rank, "one": 1, "sixteen": 16}
    return Author(
        name=f"author-{number:03d}",
        algorithm=algorithm,
        rank=rank,
        alpha=float(alphas[choose(rng, ALPHAS)]),
        layers=choose(rng, LAYERS),
        steps=LAZY_STEPS if lazy else choose(rng, STEPS),
        rate=choose(rng, RATES) * min(1.0, (RATED_RANK / rank) ** 0.5),
        manner=int(rng.integers(3)),
        chinese=bool(rng.random() < 0.3),
        nonsense=str(rng.choice(NONSENSE)) if rng.random() < 0.4 else "",
        lazy=lazy,
    )
