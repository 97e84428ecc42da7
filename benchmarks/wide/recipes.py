"""Ridges fitted on the wide zoo: each embeds everybody, for questions to be compared with."""

from dataclasses import dataclass

import numpy as np

from benchmarks.recipes.pool import LeaveOneOutRidge, alignments, cautious, weighted
from benchmarks.retrieval.zoo import BASE_MODEL, Space
from benchmarks.wide.zoo import WideZoo, of
from encoder.arrays import Doubles, Floats, Ints
from encoder.text_encoder import normalise
from encoder.training.train import SketchedAdapters, fit_ridge_to_sketches
from encoder.weight_encoders.ridge import choose_penalty, targets_of
from encoder.weight_encoders.text_space import TextSpace


@dataclass(frozen=True)
class Fitted:
    """An encoder, and how sure it is of every adapter."""

    space: Space
    lengths: Doubles  # of predictions before they are scaled to 1
    variances: Doubles  # of predictions, as a Gaussian process has them
    penalty: float


def from_nothing(zoo: WideZoo, train: Ints) -> Space:
    """The recipe of encoder/training/train.py, learned layer scales and four bits included."""
    adapters = SketchedAdapters(
        of(zoo.sketches, train),
        of(zoo.captions, train),
        groups=np.unique(of(zoo.sources, train), return_inverse=True)[1].tolist(),
    )
    encoder = fit_ridge_to_sketches(
        adapters, name="wide", base_model=BASE_MODEL, text_encoder=zoo.text_encoder.name
    )
    return Space(encoder.encode(zoo.sketches), encoder.encode_query)


def plain(zoo: WideZoo, train: Ints, *, exact: bool = False) -> Fitted:
    """Ridge in the kernel: layers weighed by alignment alone, nothing cut or rounded.

    The penalty is chosen with whole sources left out. `exact` is of whole ΔW.
    """
    grams = zoo.exact_grams if exact else zoo.grams
    captions = of(zoo.captions, train)
    space = TextSpace.fit(captions)
    targets = targets_of(captions, space)
    targets -= targets.mean(axis=0)
    kernel = weighted(grams, np.square(alignments(grams, targets, train)))
    kernel /= np.diag(kernel)[train].mean()
    own = kernel[np.ix_(train, train)]
    members = np.unique(of(zoo.sources, train), return_inverse=True)[1].tolist()
    penalty, _ = choose_penalty(own, captions, groups=members)
    ridge = LeaveOneOutRidge(own, targets)
    predicted = ridge.predict(kernel[:, train], penalty)
    said = space.project(np.concatenate(captions))
    return Fitted(
        cautious(normalise(predicted), space.project, said, train),
        np.linalg.norm(predicted, axis=1).astype(np.float64),
        variances(kernel, train, ridge, penalty),
        penalty,
    )


def variances(kernel: Floats, train: Ints, ridge: LeaveOneOutRidge, penalty: float) -> Doubles:
    """Return the variance of every adapter's prediction, in units of a training adapter's own.

    k(x, x) - k(x, X) (K + λ)⁻¹ k(X, x), in the centred kernel.
    """
    cross = ridge.centring.apply(kernel[:, train]).astype(np.float64)
    own = ridge.centring.apply(kernel[np.ix_(train, train)]).astype(np.float64)
    itself = np.diag(kernel) - 2 * kernel[:, train].mean(axis=1) + ridge.centring.mean
    damped = own + penalty * ridge.energy * np.eye(len(own))
    explained = (cross * np.linalg.solve(damped, cross.T).T).sum(axis=1)
    found: Doubles = (itself - explained) / ridge.energy
    return found
