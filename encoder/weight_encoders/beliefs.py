"""How far each of several that say something of an adapter is believed.

Concepts tell what is drawn, looks how it is drawn, and the ridge what it was trained on; which of
them is right differs from adapter to adapter. How near each will come to what captions say is
itself predicted, from the sketch and from how clearly each speaks (encoder/training/beliefs.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.text_encoder import normalise

# Nobody is left out: what is believed least still tells two adapters of the same rest apart.
LEAST = 0.01
# How much likeness each voice has to itself alone, beside the 1 that it has: the more, the less is
# made of how alike others are to it. Chosen on validation, of .1 to 3.
DOUBT = 1.0
# Evidence further from the usual than that, in standard deviations, says no more.
MOST_UNUSUAL = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Home:
    """How adapters like those that a ridge was fitted on are told, and how far voices are believed.

    By two linear discriminants, of which each gives a logit: an adapter is no stranger by its
    features, and is not like nothing by how clearly the ridge speaks.
    """

    by_features: QuarterMatrix  # (values of a sketch, 1)
    offset: float
    by_clearness: float
    clearness_offset: float
    usual: Floats  # (voices,): how near each comes to captions in the mean

    def share(self, rows: Floats, clearness: Floats) -> Floats:
        """Return how likely adapters are at home, (n, 1).

        `rows` are features of length 1, (n, values); `clearness` (n,) is how long the ridge's
        prediction is beside the features, as `say` has it.
        """
        known = self.by_features.apply(rows)[:, 0] + np.float32(self.offset)
        clear = np.float32(self.by_clearness) * clearness + np.float32(self.clearness_offset)
        share: Floats = (_sigmoid(known) * _sigmoid(clear))[:, None]
        return share

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {
            **self.by_features.arrays("belief_home"),
            "belief_home_offset": np.array([self.offset], np.float32),
            "belief_home_clearness": np.array(
                [self.by_clearness, self.clearness_offset], np.float32
            ),
            "belief_home_usual": self.usual,
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], values: int) -> "Home | None":
        """Build it from what `arrays` gave, of so many `values` of a sketch.

        Beliefs need not know of any.
        """
        if "belief_home_usual" not in arrays:
            return None
        by_features = QuarterMatrix.restore(arrays, "belief_home", values)
        offset = float(arrays["belief_home_offset"][0])
        by_clearness, clearness_offset = map(float, arrays["belief_home_clearness"])
        usual = np.asarray(arrays["belief_home_usual"], np.float32)
        return cls(by_features, offset, by_clearness, clearness_offset, usual)


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """Linear regression on features of a sketch and on evidence: its values, and their products."""

    means: Floats  # (evidence,)
    spreads: Floats  # (evidence,)
    usual: Floats  # (voices,): how near each comes to captions in the mean
    by_evidence: Floats  # (terms of evidence, voices)
    by_features: QuarterMatrix  # (values of a sketch, voices)
    # The likeness to its captions that all but the worst twentieth of unseen adapters have.
    usual_likeness: float
    home: Home | None = None  # none: all are strangers

    def of(self, features: Floats, evidence: Floats) -> Floats:
        """Return how near voices come to captions, by cosine: (n, voices), none below `LEAST`.

        `features` (n, values of a sketch) are the ridge's; `evidence` (n, evidence).
        """
        terms = terms_of(evidence, self.means, self.spreads)
        # How much an adapter changes says nothing of whom to believe.
        rows = normalise(features)
        near = self.usual + terms @ self.by_evidence + self.by_features.apply(rows)
        if self.home is not None:
            # Evidence begins with how clearly the ridge speaks.
            near += self.home.share(rows, evidence[:, 0]) * (self.home.usual - near)
        return self.bounded(near)

    @staticmethod
    def bounded(likeness: Floats) -> Floats:
        return np.maximum(likeness, np.float32(LEAST))

    def trust(self, likeness: Floats) -> Floats:
        """Return how far embeddings of such a likeness to captions are trusted, (n,), 0..1."""
        trusted: Floats = np.minimum(1, likeness / self.usual_likeness).astype(np.float32)
        return trusted

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {
            "belief_means": self.means,
            "belief_spreads": self.spreads,
            "belief_usual": self.usual,
            "belief_by_evidence": self.by_evidence,
            **self.by_features.arrays("belief_by_features"),
            "belief_usual_likeness": np.array([self.usual_likeness], np.float32),
            **({} if self.home is None else self.home.arrays()),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], values: int) -> "Beliefs | None":
        """Build it from what `arrays` gave, of so many `values` of a sketch.

        An encoder with one voice has none.
        """
        if "belief_usual" not in arrays:
            return None
        means, spreads, usual, by_evidence = (
            np.asarray(arrays[f"belief_{name}"], np.float32)
            for name in ("means", "spreads", "usual", "by_evidence")
        )
        by_features = QuarterMatrix.restore(arrays, "belief_by_features", values)
        usual_likeness = float(arrays["belief_usual_likeness"][0])
        home = Home.restore(arrays, values)
        return cls(means, spreads, usual, by_evidence, by_features, usual_likeness, home)


def _sigmoid(logit: Floats) -> Floats:
    """1 / (1 + exp(-logit)), which would overflow."""
    found: Floats = np.exp(-np.logaddexp(np.float32(0), -logit))
    return found


def terms_of(evidence: Floats, means: Floats, spreads: Floats) -> Floats:
    """Return evidence (n, k) in standard deviations, and the products of every two: (n, terms)."""
    scaled = ((evidence - means) / spreads).clip(-MOST_UNUSUAL, MOST_UNUSUAL)
    first, second = np.triu_indices(scaled.shape[1])
    terms = np.concatenate([scaled, scaled[:, first] * scaled[:, second]], axis=1)
    found: Floats = (terms / np.sqrt(terms.shape[1])).astype(np.float32)
    return found


def said_together(voices: Sequence[Floats], believed: Floats) -> tuple[Floats, Floats]:
    """Add what voices say, each by how far it is believed, (n, voices), beside the others.

    Of voices whose likeness b to what is true is known, and C to each other, those weighed by
    C⁻¹ b come nearest to it: who says what others have said adds little. As b is only guessed, C is
    damped by `DOUBT`, and no voice counts against what it says.

    Returns unit rows (n, dim), and how near each should be to its captions, (n,).
    """
    said = np.stack(voices, axis=1)
    damped = said @ said.transpose(0, 2, 1) + DOUBT * np.eye(len(voices), dtype=np.float32)
    weights = np.maximum(np.linalg.solve(damped, believed[..., None])[..., 0], 0)
    added = (weights[..., None] * said).sum(axis=1)
    lengths = np.maximum(np.linalg.norm(added, axis=1), 1e-12)
    likeness: Floats = (weights * believed).sum(axis=1) / lengths
    return added / lengths[:, None], likeness
