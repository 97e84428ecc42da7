"""The space in which weights and texts are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.arrays import Floats
from encoder.text_encoder import normalise

# How far the captions' spread within adapters is shrunk, relative to its mean variance: .1 to
# .5 tie in cross-validation on the zoo, 1 and more find less.
SHRINKAGE = 0.5


@dataclass(frozen=True, eq=False)
class TextSpace:
    """The space in which weights and texts meet: text embeddings centred and whitened.

    Whitened by how much captions of one adapter differ: in length, manner and language,
    none of which an adapter's weights know.
    """

    centre: Floats  # (dim,)
    whiten: Floats | None = None  # (dim, dim), symmetric; None where there is one way to say it

    @classmethod
    def fit(cls, captions: Sequence[Floats]) -> "TextSpace":
        """Learn it from every training adapter's caption embeddings (captions, dim)."""
        means = np.stack([part.mean(axis=0) for part in captions])
        spread = np.concatenate([part - m for part, m in zip(captions, means, strict=True)])
        covariance = spread.T @ spread / len(spread)
        mean_variance = np.trace(covariance) / len(covariance)
        centre: Floats = np.asarray(means.mean(axis=0), np.float32)
        if mean_variance == 0:
            return cls(centre)
        values, vectors = np.linalg.eigh(covariance)
        shrunk = np.maximum(values, 0) / mean_variance + SHRINKAGE
        # What half precision keeps is what is used from the start.
        whiten = ((vectors / np.sqrt(shrunk)) @ vectors.T).astype(np.float16)
        return cls(centre, whiten.astype(np.float32))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        arrays: dict[str, npt.NDArray[Any]] = {"text_centre": self.centre}
        if self.whiten is not None:
            arrays["text_whiten"] = self.whiten.astype(np.float16)
        return arrays

    @classmethod
    def restore(cls, arrays: Mapping[str, Any]) -> "TextSpace":
        """Build it from what `arrays` gave."""
        whiten = arrays.get("text_whiten")
        return cls(
            np.asarray(arrays["text_centre"], np.float32),
            None if whiten is None else np.asarray(whiten, np.float32),
        )

    def project(self, embeddings: Floats) -> Floats:
        """Map text embeddings (n, dim) to unit rows (n, dim)."""
        centred: Floats = embeddings.astype(np.float32) - self.centre
        if self.whiten is not None:
            centred = centred @ self.whiten
        return normalise(centred)

    def aim(self, embeddings: Floats) -> Floats:
        """Return unit rows (n, dim) that compare with *plain* text embeddings as this space does.

        In the space of `project` texts a and b have the product (a - c) W Wᵀ (b - c): but for b's
        length and what is the same for every b, that of b with (a - c) W Wᵀ. So texts can be
        stored as they are, and compared in the space of any encoder.
        """
        centred: Floats = embeddings.astype(np.float32) - self.centre
        if self._aiming is not None:
            centred = centred @ self._aiming
        return normalise(centred)

    @cached_property
    def _aiming(self) -> Floats | None:
        """W Wᵀ, which takes longer than the rest of a question's embedding."""
        return None if self.whiten is None else self.whiten @ self.whiten
