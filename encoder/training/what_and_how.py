"""Names of things and of looks, and what an encoder makes of adapters -> how it hears questions."""

from collections.abc import Sequence

import numpy as np

from encoder.arrays import Floats
from encoder.text_encoder import TextEncoder
from encoder.weight_encoders.what_and_how import WhatAndHow

# Of the classifier, relative to the mean variance of a text's values.
PENALTY = 0.3
# Where what is said of looks begins, between things at -.5 and looks at .5: what is in doubt is a
# thing. Chosen on validation, where 0 finds hardly less.
THRESHOLD = 0.1
# Directions in which adapters differ that are told apart: 8 find as much as all.
DIRECTIONS = 8


def learn_what_and_how(
    things: Sequence[str], looks: Sequence[str], text_encoder: TextEncoder, embeddings: Floats
) -> WhatAndHow:
    """Learn it from texts of things and of looks, and embeddings (adapters, dim) of an encoder.

    The classifier is least squares, things and looks counting the same however many there are.
    """
    texts = text_encoder.encode([*things, *looks])
    wanted = np.repeat([-0.5, 0.5], [len(things), len(looks)]).astype(np.float32)
    shares = np.repeat([0.5 / len(things), 0.5 / len(looks)], [len(things), len(looks)])
    shares = shares.astype(np.float32)[:, None]
    centre = (shares * texts).sum(axis=0)
    centred = texts - centre
    within = (centred * shares).T @ centred
    damping = PENALTY * np.trace(within) / len(within)
    direction = np.linalg.solve(
        within + damping * np.eye(len(within), dtype=np.float32),
        (centred * shares).T @ wanted,
    )
    values, vectors = np.linalg.eigh(np.cov(embeddings.T))
    floor = float(np.maximum(values[:-DIRECTIONS], 0).mean())
    strongest = np.sqrt(np.maximum(values[-DIRECTIONS:] - floor, 0))
    return WhatAndHow(
        direction.astype(np.float32),
        THRESHOLD + float(centre @ direction),
        (vectors[:, -DIRECTIONS:] * strongest).T.astype(np.float32),
        floor,
    )
