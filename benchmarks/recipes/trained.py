"""Recipes for an encoder that are trained by steps, all from what ridge regression finds.

How long is chosen on a tenth of the training adapters that is left out; then all train.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.recipes.kernels import SKETCHED
from benchmarks.recipes.pool import Linear, Pool, cautious, plain_targets, weighted
from benchmarks.recipes.solved import fitted_sketch, own_texts
from benchmarks.retrieval.zoo import BASE_MODEL, Space
from encoder.arrays import Floats, Ints
from encoder.text_encoder import normalise
from encoder.training.contrastive import START_TEMPERATURE, info_nce
from encoder.weight_encoders.autolora import family_of
from encoder.weight_encoders.layer_batch import kinds_of
from encoder.weight_encoders.metrics import mrr
from encoder.weight_encoders.ridge import Centring

EPOCHS, EVERY, PATIENCE = 100, 5, 5
RANK, HIDDEN, DROPOUT = 128, 128, 0.3
TEXT_RANK = 16
LEFT_OUT = 0.1


class Training(Protocol):
    """A recipe that also takes a seed."""

    def __call__(self, pool: Pool, train: Ints, seed: int) -> Space: ...


class Head(nn.Module):
    """Meets features of adapters and queries in one space; both start as they are."""

    rate, decay = 1e-3, 0.0

    def embed(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=1)

    def ask(self, queries: Tensor) -> Tensor:
        return F.normalize(queries, dim=1)


class Bilinear(Head):
    """A score of low rank between features and queries, from a random start."""

    decay = 0.1

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.adapters = nn.Linear(inputs, RANK, bias=False)
        self.texts = nn.Linear(dim, RANK, bias=False)

    def embed(self, features: Tensor) -> Tensor:
        return F.normalize(self.adapters(features), dim=1)

    def ask(self, queries: Tensor) -> Tensor:
        return F.normalize(self.texts(queries), dim=1)


class RidgeNetwork(Head):
    """Ridge's linear map, and beside it a hidden layer whose answers start at nothing."""

    rate, decay = 3e-4, 0.01

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        inputs, dim = start.shape
        self.linear = nn.Parameter(start.clone())
        out = nn.Linear(HIDDEN, dim)
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)
        self.hidden = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.GELU(), nn.Dropout(DROPOUT), out)

    def embed(self, features: Tensor) -> Tensor:
        return F.normalize(features @ self.linear + self.hidden(features), dim=1)


class TextMap(Head):
    """Turns queries a little, by a matrix of low rank that starts at nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, TEXT_RANK, bias=False)
        self.up = nn.Linear(TEXT_RANK, dim, bias=False)
        nn.init.zeros_(self.up.weight)

    def ask(self, queries: Tensor) -> Tensor:
        return F.normalize(queries + self.up(self.down(queries)), dim=1)


class Mixture(Head):
    """Experts side by side; the query says how far each is listened to."""

    def __init__(self, experts: int, dim: int, gated: bool) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(experts))
        self.gate = nn.Linear(dim, experts, bias=False) if gated else None
        if self.gate:
            nn.init.zeros_(self.gate.weight)

    def ask(self, queries: Tensor) -> Tensor:
        logits = self.weights + (self.gate(queries) if self.gate else 0 * queries[:, :1])
        shares = logits.softmax(dim=1)
        return F.normalize((shares.unsqueeze(2) * queries.unsqueeze(1)).flatten(1), dim=1)


@dataclass(frozen=True)
class Pairs:
    """Training adapters' features (n, inputs) with their captions (n, captions, dim)."""

    features: Tensor
    captions: Tensor

    def select(self, rows: Ints) -> "Pairs":
        return Pairs(self.features[rows], self.captions[rows])


def trained(make: Callable[[Ints], Head], pairs: Pairs, seed: int) -> Head:
    """Train a head for as long as serves adapters that it does not see.

    `make` starts a head from the adapters at some rows.
    """
    order = np.random.default_rng(seed).permutation(len(pairs.features))
    cut = int(LEFT_OUT * len(order))
    judge, rest = pairs.select(order[:cut]), order[cut:]
    _, epochs = train_head(make(rest), pairs.select(rest), EPOCHS, seed, judge)
    return train_head(make(order), pairs, epochs, seed)[0]


def train_head(
    head: Head, pairs: Pairs, epochs: int, seed: int, judge: Pairs | None = None
) -> tuple[Head, int]:
    """Return the head after `epochs`, and after how many the judges were found best."""
    torch.manual_seed(seed)
    log_scale = nn.Parameter(torch.tensor(-math.log(START_TEMPERATURE)))
    groups: list[dict[str, Any]] = [
        {"params": head.parameters(), "weight_decay": head.decay},
        {"params": [log_scale]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=head.rate, weight_decay=0.0)
    best = (judged(head, judge), 0) if judge else (0.0, epochs)
    for epoch in range(1, epochs + 1):
        head.train()
        chosen = torch.randint(pairs.captions.shape[1], (len(pairs.captions),))
        queries = pairs.captions[torch.arange(len(chosen)), chosen]
        loss = info_nce(head.embed(pairs.features), head.ask(queries), log_scale.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if judge and epoch % EVERY == 0:
            best = max(best, (judged(head, judge), epoch), key=lambda pair: pair[0])
            if epoch - best[1] >= PATIENCE * EVERY:
                break
    return head.eval(), best[1]


@torch.no_grad()
def judged(head: Head, pairs: Pairs) -> float:
    """Return the MRR of the pairs' captions among their adapters."""
    head.eval()
    similarity = head.ask(pairs.captions.flatten(0, 1)) @ head.embed(pairs.features).T
    targets = np.arange(len(pairs.features)).repeat(pairs.captions.shape[1])
    return mrr(similarity.numpy(), targets)


@torch.no_grad()
def space_of(head: Head, features: Tensor, pool: Pool, train: Ints, texts: Linear) -> Space:
    """Embed everybody with a trained head, with penalties."""

    def project(queries: Floats) -> Floats:
        with torch.no_grad():
            asked: Floats = head.ask(torch.from_numpy(texts.space.project(queries))).numpy()
        return asked

    said = project(np.concatenate([pool.captions[i] for i in train]))
    return cautious(head.embed(features).numpy(), project, said, train)


def captions_of(pool: Pool, train: Ints, fitted: Linear) -> Tensor:
    return torch.from_numpy(np.stack([fitted.space.project(pool.captions[i]) for i in train]))


def coordinates(kernel: Floats, train: Ints) -> Floats:
    """Return features whose products are the centred kernel, (n, train), largest first."""
    own = kernel[np.ix_(train, train)]
    centring = Centring.of(own)
    values, vectors = np.linalg.eigh(centring.apply(own))
    kept = values > 1e-6 * values[-1]
    found = centring.apply(kernel[:, train]) @ (vectors[:, kept] / np.sqrt(values[kept]))
    scaled: Floats = found[:, ::-1] / np.float32(np.sqrt(values[kept].mean()))
    return scaled


def of_sketches(pool: Pool, train: Ints) -> tuple[Linear, Tensor, Pairs]:
    """Return the ridge, everybody's coordinates in its kernel, and what there is to train on."""
    fitted = fitted_sketch(pool, train)
    kernel = SKETCHED(pool, train, fitted.ridge.targets)
    features = torch.from_numpy(coordinates(kernel, train).copy())
    return fitted, features, Pairs(features[train], captions_of(pool, train, fitted))


def bilinear(pool: Pool, train: Ints, seed: int) -> Space:
    fitted, features, pairs = of_sketches(pool, train)

    def make(_: Ints) -> Head:
        torch.manual_seed(seed)
        return Bilinear(features.shape[1], pairs.captions.shape[2])

    return space_of(trained(make, pairs, seed), features, pool, train, fitted)


def ridge_network(pool: Pool, train: Ints, seed: int) -> Space:
    fitted, features, pairs = of_sketches(pool, train)

    def make(rows: Ints) -> Head:
        # Those who judge are not among those that the start is fitted to.
        own, goals = pairs.features[rows], torch.from_numpy(fitted.ridge.targets[rows])
        damped = own.T @ own
        damped += fitted.penalty * own.square().sum() / len(own) * torch.eye(len(damped))
        torch.manual_seed(seed)
        return RidgeNetwork(torch.linalg.solve(damped, own.T @ goals))

    return space_of(trained(make, pairs, seed), features, pool, train, fitted)


def text_map(pool: Pool, train: Ints, seed: int) -> Space:
    """Adapt texts to predictions, learned on those of adapters left out."""
    fitted = fitted_sketch(pool, train)
    left_out = torch.from_numpy(fitted.ridge.left_out(fitted.penalty))
    pairs = Pairs(left_out, captions_of(pool, train, fitted))

    def make(_: Ints) -> Head:
        torch.manual_seed(seed)
        return TextMap(left_out.shape[1])

    head = trained(make, pairs, seed)
    return space_of(head, torch.from_numpy(fitted.predicted), pool, train, fitted)


def mixture(gated: bool) -> Training:
    """A ridge for each layer type, weighed by a contrast of adapters left out."""

    def recipe(pool: Pool, train: Ints, seed: int) -> Space:
        space = own_texts(pool, train)
        targets = plain_targets(pool, train, space)
        weights = pool.layer_weights("grams", train)
        left_out, predicted = [], []
        for kind in kinds_of(family_of(BASE_MODEL)):
            places = list(kind.places)
            kernel = weighted(pool.grams[places], weights[places])
            fitted = Linear.fit(pool, train, kernel, space, targets)
            left_out.append(normalise(fitted.ridge.left_out(fitted.penalty)))
            predicted.append(normalise(fitted.predicted))
        captions = captions_of(pool, train, fitted)
        pairs = Pairs(torch.from_numpy(np.concatenate(left_out, axis=1)), captions)
        head = trained(lambda _: Mixture(len(left_out), targets.shape[1], gated), pairs, seed)
        features = torch.from_numpy(np.concatenate(predicted, axis=1))
        return space_of(head, features, pool, train, fitted)

    return recipe


TRAINED: dict[str, dict[str, Training]] = {
    "layers": {
        "a ridge for each layer type, mixed": mixture(gated=False),
        "a ridge for each layer type, mixed by the query": mixture(gated=True),
    },
    "texts": {"queries turned, learned on adapters left out": text_map},
    "networks": {
        "low-rank bilinear score, random start": bilinear,
        "network started as the ridge": ridge_network,
    },
}
