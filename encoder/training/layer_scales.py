"""How much each layer says of an adapter's subject: learned, so that those left out are found.

Alignment judges every layer by itself, and layers that say the same count twice. From there
on the weights descend a contrast: every training adapter is predicted from all others, which
ridge regression does in closed form, and should be found by its own captions.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder.arrays import Floats
from encoder.errors import TrainingDataError
from encoder.sketches.sketch import Sketch
from encoder.training.contrastive import START_TEMPERATURE
from encoder.weight_encoders.ridge import Centring

STEPS, RATE = 40, 0.1
# How far a weight's logarithm lies from its start, as if known beforehand: with few adapters
# the contrast says little, and weights stay where they are.
SPREAD = 0.5
START_PENALTY = 0.05
# What the Gram matrices of all layers may take; where more adapters are there, some are drawn.
MOST_BYTES = 1_000_000_000


def fit_layer_scales(sketches: Sequence[Sketch], targets: Floats) -> Floats:
    """Return a scale for every layer, by how far adapters alike in it have like captions.

    The alignment [1] of the layer's Gram matrix with that of the targets (n, dim), the
    diagonals left out: a layer weighs its square, so its features the alignment itself.

    - [1] Cortes et al., 2012, https://jmlr.org/papers/v13/cortes12a.html
    """
    layout = sketches[0].layout
    stops = np.cumsum(layout.sizes)
    wanted = without_diagonal(targets @ targets.T)
    scales = np.zeros(len(stops), np.float32)
    for layer, (stop, size) in enumerate(zip(stops, layout.sizes, strict=True)):
        values = np.stack([s.values[stop - size : stop] for s in sketches]).astype(np.float32)
        gram = values @ values.T
        centred = without_diagonal(Centring.of(gram).apply(gram))
        # A layer that no adapter has stays silent.
        length = np.linalg.norm(centred)
        scales[layer] = max(0.0, (centred * wanted).sum() / length) if length > 0 else 0.0
    if not scales.any():
        raise TrainingDataError("no layer has anything to do with the captions")
    return scales / np.float32(np.sqrt(np.square(scales).mean()))


def without_diagonal(square: Floats) -> Floats:
    """Return a copy whose diagonal is zero."""
    copied: Floats = square - np.diag(np.diag(square))
    return copied


def learn_layer_scales(
    sketches: Sequence[Sketch], targets: Floats, captions: Sequence[Floats], scales: Floats
) -> Floats:
    """Return layer scales by which left-out adapters are found better than by `scales`.

    `targets` (n, dim) is what adapters should be embedded as, `captions` each adapter's
    (captions, dim), projected. Layers of scale 0 stay silent.
    """
    speaking = np.flatnonzero(scales > 0)
    most = int(math.sqrt(MOST_BYTES / (4 * len(speaking))))
    chosen = np.sort(np.random.default_rng(0).permutation(len(sketches))[:most])
    queries = torch.from_numpy(np.concatenate([captions[i] for i in chosen]))
    owners = torch.arange(len(chosen)).repeat_interleave(
        torch.tensor([len(captions[i]) for i in chosen])
    )
    goals = torch.from_numpy(targets[chosen] - targets[chosen].mean(axis=0))
    grams = centred_grams([sketches[i] for i in chosen], speaking)
    start = torch.from_numpy(scales[speaking]).square().log()
    learned = np.zeros_like(scales)
    learned[speaking] = descend(grams, goals, queries, owners, start).exp().sqrt().numpy()
    return learned / np.float32(np.sqrt(np.square(learned).mean()))


def centred_grams(sketches: Sequence[Sketch], layers: npt.NDArray[np.int64]) -> Tensor:
    """Return the Gram matrices of some layers, (layers, n · n), the mean adapter at zero."""
    layout = sketches[0].layout
    stops = np.cumsum(layout.sizes)
    grams = torch.empty(len(layers), len(sketches) ** 2)
    for row, layer in enumerate(layers):
        part = slice(stops[layer] - layout.sizes[layer], stops[layer])
        values = np.stack([sketch.values[part] for sketch in sketches]).astype(np.float32)
        gram = values @ values.T
        grams[row] = torch.from_numpy(Centring.of(gram).apply(gram)).flatten()
    return grams


def descend(
    grams: Tensor, targets: Tensor, queries: Tensor, owners: Tensor, start: Tensor
) -> Tensor:
    """Return the logarithms of the weights of `grams` (layers, n · n), from `start` on.

    `targets` (n, dim) centred; `queries` (captions, dim) are about the adapters `owners`.
    """
    count = len(targets)
    log_weights = nn.Parameter(start.clone())
    log_penalty = nn.Parameter(torch.tensor(math.log(START_PENALTY)))
    log_scale = nn.Parameter(torch.tensor(-math.log(START_TEMPERATURE)))
    optimizer = torch.optim.Adam([log_weights, log_penalty, log_scale], RATE, (0.9, 0.95))
    for _ in range(STEPS):
        weights = log_weights.detach().exp()
        kernel = (weights @ grams).view(count, count).requires_grad_()
        penalty = log_penalty.exp() * kernel.detach().diagonal().mean()
        predicted = left_out(kernel, targets, penalty)
        logits = log_scale.exp() * queries @ F.normalize(predicted, dim=1).T
        optimizer.zero_grad()
        F.cross_entropy(logits, owners).backward()
        assert kernel.grad is not None
        # The gradient is written by hand: autograd would keep a copy of every Gram matrix.
        by_contrast = grams @ kernel.grad.flatten() * weights
        by_prior = (log_weights.detach() - start) / (SPREAD**2 * count)
        log_weights.grad = by_contrast + by_prior
        optimizer.step()
    return log_weights.detach()


def left_out(kernel: Tensor, targets: Tensor, penalty: Tensor) -> Tensor:
    """Predict every adapter from the others by ridge regression, (n, dim), exactly.

    `kernel` (n, n) and `targets` (n, dim) are centred; predictions are relative to the mean
    of the others. Without either correction by 1 / n an adapter would know of itself.
    """
    count = len(targets)
    inverse = torch.linalg.inv(kernel + penalty * torch.eye(count))
    spare = penalty * inverse.diagonal()[:, None] - 1 / count
    predicted: Tensor = targets - penalty * inverse @ targets / spare + targets / (count - 1)
    return predicted
