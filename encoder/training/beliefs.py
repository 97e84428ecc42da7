"""A ridge encoder, concepts and looks of its base -> one that knows how far to believe each."""

from dataclasses import replace

import numpy as np

from encoder.arrays import Floats
from encoder.text_encoder import normalise
from encoder.training.train import SketchedAdapters
from encoder.weight_encoders.beliefs import Beliefs, said_together, terms_of
from encoder.weight_encoders.concepts import Concepts
from encoder.weight_encoders.penalties import Penalties
from encoder.weight_encoders.ridge import (
    LEAST_TRUSTED,
    RidgeEncoder,
    layer_features,
    targets_of,
)
from encoder.weight_encoders.voices import Known, Said, say

# Of the regression, relative to what is usual for an adapter; 1 and 3 tie on validation.
PENALTY = 1.0
# How much features of the sketch count beside evidence; 3 and 10 tie on validation.
SHARE_OF_FEATURES = 10.0


def learn_whom_to_believe(
    encoder: RidgeEncoder, unseen: SketchedAdapters, concepts: Concepts, looks: Concepts
) -> RidgeEncoder:
    """Return the encoder with concepts and looks beside its ridge.

    `unseen` are adapters of art that neither the ridge was trained on nor the gradients of concepts
    were of: of what they have seen, they are nearer to captions than they will be of others.
    """
    features = np.concatenate(
        list(layer_features(unseen.sketches, encoder.layer_scales, encoder.means)), axis=1
    )
    predictions = encoder.coordinates(unseen.sketches) @ encoder.up
    said = say(concepts, looks, predictions, features, unseen.sketches, encoder.text)
    beliefs = fit_beliefs(said, targets_of(unseen.captions, encoder.text), features)
    return replace(
        encoder,
        known=Known(concepts, looks, beliefs),
        penalties=Penalties.of_doubt(encoder.up),
    )


def fit_beliefs(said: Said, targets: Floats, features: Floats) -> Beliefs:
    """Learn how near voices come to `targets` (n, dim), by evidence and `features` (n, values)."""
    wanted = normalise(targets)
    near = np.stack([(voice * wanted).sum(axis=1) for voice in said.voices], axis=1)
    means, spreads = said.evidence.mean(axis=0), np.maximum(said.evidence.std(axis=0), 1e-6)
    usual, terms = near.mean(axis=0), terms_of(said.evidence, means, spreads)
    rows = normalise(features)
    alike = terms @ terms.T + SHARE_OF_FEATURES * (rows @ rows.T)
    damped = alike + PENALTY * np.trace(alike) / len(alike) * np.eye(len(alike), dtype=np.float32)
    duals = np.linalg.solve(damped, near - usual).astype(np.float32)
    beliefs = Beliefs(
        means.astype(np.float32),
        spreads.astype(np.float32),
        usual.astype(np.float32),
        terms.T @ duals,
        SHARE_OF_FEATURES * (rows.T @ duals),
        1.0,
    )
    likeness = said_together(said.voices, beliefs.of(features, said.evidence))[1]
    return replace(beliefs, usual_likeness=float(np.quantile(likeness, LEAST_TRUSTED)))
