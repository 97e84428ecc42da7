"""What a question asks for, and how it is to be drawn: both count, however long each is said.

In one embedding of `a stopwatch, just dark filled shapes` the look outweighs the thing: adapters of
the look and of anything come first, since adapters differ most in their looks. So a question that
says both is compared by each, in units of how much adapters differ by it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.arrays import Bools, Floats
from encoder.text_encoder import normalise


@dataclass(frozen=True, slots=True, eq=False)
class WhatAndHow:
    """Tells texts of looks from those of things, and how much adapters differ by any text."""

    direction: Floats  # (dim,): what texts of looks have more of
    threshold: float  # from which on a text says how
    spread: Floats  # (directions, dim): those in which adapters differ most, by their deviation
    floor: float  # the variance in all other directions

    def says_how(self, texts: Floats) -> Bools:
        """Tell which text embeddings (n, dim) say how something is drawn, (n,)."""
        says: Bools = texts @ self.direction > self.threshold
        return says

    def deviations(self, queries: Floats) -> Floats:
        """Return how much adapters' similarities to queries (n, dim) differ, (n,)."""
        within = np.square(queries @ self.spread.T).sum(axis=1)
        found: Floats = np.sqrt(within + self.floor * np.square(queries).sum(axis=1))
        return found

    def join(
        self, queries: Floats, texts: Floats, hear: Callable[[Floats], Floats] | None = None
    ) -> Floats:
        """Return the query (dim,) that a whole question and its parts make, of length 1.

        `queries` (1 + parts, dim) lie in the index's space and `texts` (parts, dim) where texts
        are embedded. A question that says only what or only how stays whole. With `hear` what and
        how, (2, dim), are taken for what it makes of them.
        """
        how = self.says_how(texts)
        if not how.any() or how.all():
            return np.asarray(queries[0])
        parts = queries[1:]
        aspects = normalise(np.stack([queries[0], parts[~how].mean(0), parts[how].mean(0)]))
        if hear is not None:
            aspects[1:] = hear(aspects[1:])
        joined: Floats = (aspects / self.deviations(aspects)[:, None]).sum(axis=0)
        return np.asarray(normalise(joined[None])[0])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {
            "how_direction": self.direction.astype(np.float32),
            "how_spread": self.spread.astype(np.float16),
            "how_numbers": np.array([self.threshold, self.floor], np.float32),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, Any]) -> "WhatAndHow | None":
        """Build it from what `arrays` gave; an encoder need not have it."""
        if "how_direction" not in arrays:
            return None
        threshold, floor = np.asarray(arrays["how_numbers"], np.float32).tolist()
        direction, spread = (
            np.asarray(arrays[f"how_{part}"], np.float32) for part in ("direction", "spread")
        )
        return cls(direction, threshold, spread, floor)
