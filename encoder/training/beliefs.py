"""A ridge encoder, concepts and looks of its base -> one that knows how far to believe each."""

from dataclasses import replace

import numpy as np

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.text_encoder import normalise
from encoder.training.train import SketchedAdapters
from encoder.weight_encoders.beliefs import Beliefs, said_together, terms_of
from encoder.weight_encoders.concepts import Concepts
from encoder.weight_encoders.penalties import Penalties
from encoder.weight_encoders.ridge import RidgeEncoder, layer_features, targets_of
from encoder.weight_encoders.voices import Known, Said, say

# Of the regression, relative to what is usual for an adapter; 1 and 3 tie on validation.
PENALTY = 1.0
# How much features of the sketch count beside evidence; 3 and 10 tie on validation.
SHARE_OF_FEATURES = 10.0
# The share of unseen adapters that are trusted less than fully: how near they come is told better
# than by a ridge alone, of which a fifth are. Chosen on validation of .05 to .2.
LEAST_TRUSTED = 0.05


def learn_whom_to_believe(
    encoder: RidgeEncoder,
    unseen: SketchedAdapters,
    concepts: Concepts,
    looks: Concepts,
    counts: Floats | None = None,
) -> RidgeEncoder:
    """Return the encoder with concepts and looks beside its ridge.

    `unseen` are adapters of art that neither the ridge was trained on nor the gradients of concepts
    were of: of what they have seen, they are nearer to captions than they will be of others.
    `counts` (n,) say how much each of them counts, all the same by default.
    """
    features = np.concatenate(
        list(layer_features(unseen.sketches, encoder.layer_scales, encoder.means)), axis=1
    )
    predictions = encoder.coordinates(unseen.sketches) @ encoder.up
    said = say(concepts, looks, predictions, features, unseen.sketches, encoder.text)
    targets = targets_of(unseen.captions, encoder.text)
    if counts is None:
        counts = np.ones(len(targets), np.float32)
    beliefs = fit_beliefs(said, targets, features, counts)
    return replace(
        encoder,
        known=Known(concepts, looks, beliefs),
        penalties=Penalties.of_doubt(encoder.up),
    )


def fit_beliefs(said: Said, targets: Floats, features: Floats, counts: Floats) -> Beliefs:
    """Learn how near voices come to `targets` (n, dim), by evidence and `features` (n, values)."""
    wanted = normalise(targets)
    voices = [*said.voices.values()]
    near = np.stack([(voice * wanted).sum(axis=1) for voice in voices], axis=1)
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
    likeness = said_together(voices, beliefs.of(features, said.evidence))[1]
    least = np.quantile(likeness, LEAST_TRUSTED, weights=counts, method="inverted_cdf")
    return replace(beliefs, usual_likeness=float(least))
