"""How much each layer's likeness to a concept tells of what an adapter shows.

The first step of a training, which gradients are, and where a training ends differ more in some
layers than in others. How much each is to count is learned from adapters that show one thing, or
one sort of things: its concept is to score highest (multinomial logistic regression on layers'
scores).
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from encoder.arrays import Floats

EPOCHS, BATCH, RATE = 12, 128, 0.03
# On the mean square of the weights' logarithms, which draws weights to 1.
PENALTY = 0.02


def learn_layer_weights(
    keys: Floats,
    features: Floats,
    right: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    seed: int = 0,
) -> Floats:
    """Return weights (layers,), all above 0, that make the `right` keys (n,) score highest.

    `keys` (concepts, values of a sketch) are compared with `features` (n, values) layer by layer;
    `sizes` tell how many values each layer has.
    """
    scores = _layer_scores(keys, features, sizes)
    scores /= scores.sum(dim=2).std()
    torch.manual_seed(seed)
    logs = torch.zeros(len(sizes), requires_grad=True)
    sharpness = torch.ones((), requires_grad=True)
    optimizer = torch.optim.Adam([logs, sharpness], lr=RATE)
    wanted = torch.from_numpy(right)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(scores)).split(BATCH):
            logits = sharpness * (scores[rows] @ logs.exp())
            loss = F.cross_entropy(logits, wanted[rows]) + PENALTY * logs.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    weights: Floats = logs.detach().exp().numpy()
    return weights


def _layer_scores(keys: Floats, features: Floats, sizes: npt.NDArray[np.int64]) -> Tensor:
    """Return what every layer says of every concept, (n, concepts, layers)."""
    scores = torch.empty(len(features), len(keys), len(sizes))
    for layer, (stop, size) in enumerate(zip(np.cumsum(sizes), sizes, strict=True)):
        own = slice(stop - size, stop)
        scores[..., layer] = torch.from_numpy(features[:, own] @ keys[:, own].T)
    return scores
