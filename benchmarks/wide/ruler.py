"""What an encoder is measured by: adapters from outside, asked for in its space."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.retrieval.zoo import Space
from benchmarks.wide.asking import Encoded, in_one
from benchmarks.wide.tables import describe
from benchmarks.wide.zoo import Outside
from encoder.arrays import Ints


@dataclass(frozen=True)
class Ruler:
    """Asks encoders of everybody for the adapters from outside."""

    outside: Outside
    members: Ints

    def own(self, space: Space) -> Encoded:
        return in_one(replace(space, embeddings=space.embeddings[self.members]))

    def describe(self, space: Space) -> dict[str, Any]:
        return describe(self.outside, self.own(space))

    def mrr(self, space: Space) -> float:
        """Return the mean over adapters and languages."""
        return float(np.mean(list(self.outside.found(self.own(space)).values())))
