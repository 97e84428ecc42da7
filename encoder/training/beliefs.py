"""A ridge encoder, concepts and looks of its base -> one that knows how far to believe each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.text_encoder import normalise
from encoder.training.home import Clearness, fit_home
from encoder.training.train import SketchedAdapters
from encoder.weight_encoders.beliefs import Beliefs, Home, said_together, terms_of
from encoder.weight_encoders.concepts import Concepts
from encoder.weight_encoders.penalties import Penalties
from encoder.weight_encoders.ridge import RidgeEncoder, layer_features, targets_of
from encoder.weight_encoders.voices import Known, Said, say

if TYPE_CHECKING:
    from encoder.sketches.sketch import Sketch

# Of the regression, relative to what is usual for an adapter; 1 and 3 tie on validation.
PENALTY = 1.0
# How much features of the sketch count beside evidence; 3 and 10 tie on validation.
SHARE_OF_FEATURES = 10.0
# The share of unseen adapters that are trusted less than fully: how near they come is told better
# than by a ridge alone, of which a fifth are. Chosen on validation of .05 to .2.
LEAST_TRUSTED = 0.05
# How often each adapter at home counts, beside strangers.
HOME_COUNTED = 20


@dataclass(frozen=True)
class KnownArt:
    """Adapters of the art that a ridge was fitted on, its home, and what they are told from."""

    fitted_on: Sequence["Sketch"]
    others: Sequence["Sketch"]  # of other art, none of them among the strangers
    unseen: SketchedAdapters  # of the same art, none of them fitted on


def learn_whom_to_believe(
    encoder: RidgeEncoder,
    strangers: SketchedAdapters,
    concepts: Concepts,
    looks: Concepts,
    art: KnownArt | None = None,
) -> RidgeEncoder:
    """Return the encoder with concepts and looks beside its ridge.

    `strangers` are adapters of art that neither the ridge was trained on nor the gradients of
    concepts were of: of what they have seen, they are nearer to captions than they will be of
    others. With `art`, adapters like those that the ridge was fitted on are told from strangers,
    and there every voice is believed as is usual there.
    """
    parts = [strangers] if art is None else [strangers, art.unseen]
    sketches = [sketch for part in parts for sketch in part.sketches]
    features = _features(encoder, sketches)
    predictions = encoder.coordinates(sketches) @ encoder.up
    said = say(concepts, looks, predictions, features, sketches, encoder.text)
    captions = [texts for part in parts for texts in part.captions]
    targets = targets_of(captions, encoder.text)
    counts = np.ones(len(sketches), np.float32)
    counts[len(strangers.sketches) :] = HOME_COUNTED
    beliefs = fit_beliefs(said, targets, features, counts)
    if art is not None:
        home = _home_of(encoder, art, features, said, nearness(said, targets))
        beliefs = replace(beliefs, home=home)
    return replace(
        encoder,
        known=Known(concepts, looks, beliefs),
        penalties=Penalties.of_doubt(encoder.up),
    )


def _home_of(
    encoder: RidgeEncoder, art: KnownArt, features: Floats, said: Said, near: Floats
) -> Home:
    """Learn who is at home; rows of the arrays are strangers', and last those of `art.unseen`."""
    count = len(art.unseen.sketches)
    shuffled = np.random.default_rng(0).permuted(features[-count:], axis=1)
    nothing = encoder.down.apply(shuffled) @ encoder.up
    clearness = Clearness(
        unseen=said.evidence[-count:, 0],
        nothing=np.linalg.norm(nothing, axis=1) / np.linalg.norm(shuffled, axis=1),
    )
    fitted_on, others = (
        normalise(_features(encoder, part)) for part in (art.fitted_on, art.others)
    )
    rows = normalise(features)
    usual = near[-count:].mean(axis=0)
    return fit_home(fitted_on, others, rows[-count:], rows[:-count], clearness, usual)


def _features(encoder: RidgeEncoder, sketches: Sequence["Sketch"]) -> Floats:
    layers = layer_features(sketches, encoder.layer_scales, encoder.means)
    return np.concatenate(list(layers), axis=1)


def nearness(said: Said, targets: Floats) -> Floats:
    """Return how near each voice comes to `targets` (n, dim), by cosine: (n, voices)."""
    wanted = normalise(targets)
    return np.stack([(voice * wanted).sum(axis=1) for voice in said.voices.values()], axis=1)


def fit_beliefs(said: Said, targets: Floats, features: Floats, counts: Floats) -> Beliefs:
    """Learn how near voices come to `targets` (n, dim), by evidence and `features` (n, values)."""
    near = nearness(said, targets)
    shares = (counts / counts.sum())[:, None]
    means, usual = ((shares * values).sum(axis=0) for values in (said.evidence, near))
    variances = (shares * np.square(said.evidence - means)).sum(axis=0)
    spreads = np.maximum(np.sqrt(variances), 1e-6)
    # A row of a regression that counts n times is √n times as long.
    longer = np.sqrt(counts)[:, None]
    terms = longer * terms_of(said.evidence, means, spreads)
    rows = longer * normalise(features)
    alike = terms @ terms.T + SHARE_OF_FEATURES * (rows @ rows.T)
    damping = PENALTY * np.trace(alike) / counts.sum()
    damped = alike + damping * np.eye(len(alike), dtype=np.float32)
    duals = np.linalg.solve(damped, longer * (near - usual)).astype(np.float32)
    beliefs = Beliefs(
        means.astype(np.float32),
        spreads.astype(np.float32),
        usual.astype(np.float32),
        terms.T @ duals,
        QuarterMatrix.of(SHARE_OF_FEATURES * (rows.T @ duals)),
        1.0,
    )
    likeness = said_together([*said.voices.values()], beliefs.of(features, said.evidence))[1]
    least = np.quantile(likeness, LEAST_TRUSTED, weights=counts, method="inverted_cdf")
    return replace(beliefs, usual_likeness=float(least))
