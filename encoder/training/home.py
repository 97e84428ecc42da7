"""Features of adapters -> what tells those like a ridge was fitted on, at home, from strangers."""

import math
from dataclasses import dataclass

import numpy as np

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.weight_encoders.beliefs import Home

# Strangers are taken to be so many times as likely: hubs have little of what a ridge was fitted on.
# Of 10 to 300 the least with which strangers are found as well as if nobody were at home; who is
# at home is found as well with all of them (validation, and strangers left out by author).
ODDS = 30.0
# Of the direction: with .3 to 3 strangers are told best, .999 of pairs; with 30 lazy authors' .957.
DAMPING = 1.0


@dataclass(frozen=True)
class Clearness:
    """How clearly a ridge speaks, (adapters,) each: see `Home.share`."""

    unseen: Floats  # of adapters at home
    nothing: Floats  # of the same whose features are shuffled, so that they are like nothing


def fit_home(
    fitted_on: Floats,
    others: Floats,
    unseen: Floats,
    strangers: Floats,
    clearness: Clearness,
    usual: Floats,
) -> Home:
    """Learn it from unit rows of features, (adapters, values) each.

    In which direction the two kinds differ is learned from adapters that the ridge was fitted on,
    and others; how sure a step along it makes, from the `unseen` at home and `strangers`, which
    neither has learned from. That alone would take for one at home who is like nothing, as noise
    is. `usual` (voices,) is how near each voice comes to captions at home.
    """
    direction = _direction(fitted_on, others)
    slope, offset = _discriminant(unseen @ direction, strangers @ direction, ODDS)
    return Home(
        QuarterMatrix.of((slope * direction)[:, None]),
        offset,
        *_discriminant(clearness.unseen, clearness.nothing, 1.0),
        usual,
    )


def _discriminant(own: Floats, other: Floats, odds: float) -> tuple[float, float]:
    """Return slope and offset of the logit that one is of its `own` kind, not the `other`.

    By the linear discriminant of two normal distributions alike in variance [1]; the other kind is
    `odds` times as likely.

    - [1] Hastie et al., The Elements of Statistical Learning, 2009, section 4.3
    """
    slope = float((own.mean() - other.mean()) / ((own.var() + other.var()) / 2))
    offset = -slope * float(own.mean() + other.mean()) / 2 - math.log(odds)
    return slope, offset


def _direction(own: Floats, other: Floats) -> Floats:
    """Return (values,): by ridge regression on who is who, where both kinds count alike."""
    rows = np.concatenate([own, other])
    sizes = np.array([len(own), len(other)])
    wanted = np.repeat([0.5, -0.5], sizes)
    # A row of a regression that counts n times is √n times as long.
    longer = np.repeat(np.sqrt(len(rows) / (2 * sizes)), sizes).astype(np.float32)
    kernel = longer[:, None] * (rows @ rows.T) * longer
    kernel[np.diag_indices_from(kernel)] += DAMPING
    duals = longer * np.linalg.solve(kernel, longer * wanted)
    found: Floats = rows.T @ duals.astype(np.float32)
    return found
