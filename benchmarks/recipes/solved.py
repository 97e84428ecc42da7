"""Recipes for an encoder that are solved rather than trained: kernels, texts, galleries.

Each takes the pool and the training adapters' places and embeds everybody.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.recipes.kernels import (
    POLYNOMIAL,
    SKETCHED,
    Kernel,
    aligned,
    arc_cosine,
    by_part,
    by_strength,
    curved,
    curved_layers,
    flattened,
    given,
    learned,
    of_length_one,
    roots,
    summed,
)
from benchmarks.recipes.pool import Linear, Pool, cautious, plain_targets, weighted, whitened
from benchmarks.retrieval.zoo import BASE_MODEL, Space
from encoder.arrays import Floats, Ints
from encoder.text_encoder import normalise
from encoder.training.train import SketchedAdapters, fit_ridge_to_sketches
from encoder.weight_encoders.autolora import family_of
from encoder.weight_encoders.layer_batch import kinds_of
from encoder.weight_encoders.penalties import STRENGTH
from encoder.weight_encoders.ridge import RIDGE_PENALTIES, targets_of
from encoder.weight_encoders.text_space import TextSpace

Recipe = Callable[[Pool, Ints], Space]
# Learns where texts live from the training adapters.
Texts = Callable[[Pool, Ints], TextSpace]


def shipped(pool: Pool, train: Ints) -> Space:
    """The recipe of encoder/training/train.py as it is stored: low rank, four bits."""
    encoder = fit_ridge_to_sketches(
        SketchedAdapters([pool.sketches[i] for i in train], [pool.captions[i] for i in train]),
        name="recipe",
        base_model=BASE_MODEL,
        text_encoder=pool.zoo.text_encoder.name,
    )
    return Space(encoder.encode(pool.sketches), encoder.encode_query)


def spread_of(pool: Pool, train: Ints) -> tuple[Floats, Floats]:
    """Return the captions' mean and how captions differ from their adapter's mean."""
    captions = [pool.captions[i] for i in train]
    means = np.stack([own.mean(axis=0) for own in captions])
    rows = np.concatenate([own - mean for own, mean in zip(captions, means, strict=True)])
    return means.mean(axis=0), rows


def own_texts(pool: Pool, train: Ints) -> TextSpace:
    return TextSpace.fit([pool.captions[i] for i in train])


def unwhitened(pool: Pool, train: Ints) -> TextSpace:
    return replace(own_texts(pool, train), whiten=None)


def whitened_by(shrinkage: float) -> Texts:
    return lambda pool, train: whitened(*spread_of(pool, train), shrinkage)


def whitened_by_residuals(shrinkage: float) -> Texts:
    """Whitened by how captions differ from what left-out adapters are taken to be.

    Directions that weights do not tell count less; linear discriminant analysis would do so.
    """

    def texts(pool: Pool, train: Ints) -> TextSpace:
        first = own_texts(pool, train)
        plain = replace(first, whiten=None)
        targets = np.stack([pool.captions[i].mean(axis=0) for i in train]) - plain.centre
        kernel = SKETCHED(pool, train, plain_targets(pool, train, first))
        fitted = Linear.fit(pool, train, kernel, plain, targets)
        said = np.stack([pool.captions[i] for i in train]) - plain.centre
        residuals = said - fitted.ridge.left_out(fitted.penalty)[:, None]
        return whitened(plain.centre, residuals.reshape(-1, residuals.shape[2]), shrinkage)

    return texts


def by_caption(weights: tuple[float, float, float]) -> Callable[..., Floats]:
    """Targets of short, medium and long captions weighted, in both languages."""

    def targets(pool: Pool, train: Ints, space: TextSpace) -> Floats:
        shares = np.array([*weights, *weights], np.float32) / (2 * sum(weights))
        return np.stack([shares @ space.project(pool.captions[i]) for i in train])

    return targets


def linear(
    kernel: Kernel = SKETCHED,
    texts: Texts = own_texts,
    targets: Callable[..., Floats] = plain_targets,
    strength: float = STRENGTH,
) -> Recipe:
    """Ridge on a kernel in a text space."""

    def recipe(pool: Pool, train: Ints) -> Space:
        space = texts(pool, train)
        goals = targets(pool, train, space)
        fitted = Linear.fit(pool, train, kernel(pool, train, centred(goals)), space, goals)
        return fitted.embed(train, strength)

    return recipe


def centred(targets: Floats) -> Floats:
    found: Floats = targets - targets.mean(axis=0)
    return found


def fitted_sketch(pool: Pool, train: Ints) -> Linear:
    """The shipped recipe in the kernel, to be built upon."""
    space = own_texts(pool, train)
    targets = plain_targets(pool, train, space)
    return Linear.fit(pool, train, SKETCHED(pool, train, centred(targets)), space, targets)


def english_only(pool: Pool, train: Ints) -> Space:
    space = TextSpace.fit([pool.zoo.english[i] for i in train])
    targets = targets_of([pool.zoo.english[i] for i in train], space)
    kernel = SKETCHED(pool, train, centred(targets))
    return Linear.fit(pool, train, kernel, space, targets).embed(train)


def rephrased(pool: Pool, train: Ints) -> Space:
    """Captions with half of their words left out are captions too."""
    captions = [np.concatenate([pool.captions[i], pool.rephrased[i]]) for i in train]
    space = TextSpace.fit(captions)
    targets = targets_of(captions, space)
    kernel = SKETCHED(pool, train, centred(targets))
    return Linear.fit(pool, train, kernel, space, targets).embed(train)


def a_penalty_each(pool: Pool, train: Ints) -> Space:
    """Another penalty for every direction of the targets: the one that leaves least out."""
    fitted = fitted_sketch(pool, train)
    ridge, targets = fitted.ridge, fitted.ridge.targets
    _, _, axes = np.linalg.svd(targets, full_matrices=False)
    turned = targets @ axes.T
    errors = np.stack(
        [np.square(ridge.left_out(p) @ axes.T - turned).mean(axis=0) for p in RIDGE_PENALTIES]
    )
    kernel = SKETCHED(pool, train, targets)[:, train]
    every = np.stack([ridge.predict(kernel, p) @ axes.T for p in RIDGE_PENALTIES])
    best = np.take_along_axis(every, errors.argmin(axis=0)[None, None], axis=0)[0]
    return replace(fitted, predicted=best @ axes).embed(train)


def shrunk_directions(pool: Pool, train: Ints) -> Space:
    """Each predicted direction scaled by how far left-out adapters bear it out [1].

    - [1] Breiman and Friedman, 1997, https://doi.org/10.1111/1467-9868.00054
    """
    fitted = fitted_sketch(pool, train)
    left_out = fitted.ridge.left_out(fitted.penalty)
    _, _, axes = np.linalg.svd(left_out, full_matrices=False)
    predicted, wanted = left_out @ axes.T, fitted.ridge.targets @ axes.T
    slopes = np.clip((predicted * wanted).sum(axis=0) / np.square(predicted).sum(axis=0), 0, 2)
    return replace(fitted, predicted=fitted.predicted @ axes.T * slopes @ axes).embed(train)


def by_length(power: float) -> Recipe:
    """Surer predictions are longer: similarities multiplied by a power of their length."""

    def recipe(pool: Pool, train: Ints) -> Space:
        fitted = fitted_sketch(pool, train)
        space = fitted.embed(train)
        lengths = np.linalg.norm(fitted.predicted, axis=1, keepdims=True) ** power
        return Space(space.embeddings * lengths / lengths.mean(), space.project)

    return recipe


def each_kind_alone(pool: Pool, train: Ints) -> Space:
    """A ridge for every type of layer; the mean of their predictions."""
    space = own_texts(pool, train)
    targets = plain_targets(pool, train, space)
    weights = pool.layer_weights("grams", train)
    parts = []
    for kind in kinds_of(family_of(BASE_MODEL)):
        places = list(kind.places)
        kernel = weighted(pool.grams[places], weights[places])
        fitted = Linear.fit(pool, train, kernel, space, targets)
        parts.append(normalise(fitted.predicted) * weights[places].mean())
    mean = normalise(np.sum(parts, axis=0))
    return cautious(mean, space.project, fitted.said, train)


def together(*recipes: Recipe) -> Recipe:
    """The mean of the recipes' similarities: their embeddings side by side."""

    def recipe(pool: Pool, train: Ints) -> Space:
        spaces = [own(pool, train) for own in recipes]
        embeddings = np.concatenate([space.embeddings for space in spaces], axis=1)

        def project(queries: Floats) -> Floats:
            return np.concatenate([space.project(queries) for space in spaces], axis=1)

        return Space(embeddings, project)

    return recipe


def distilled(pool: Pool, train: Ints) -> Space:
    """Half of the target is what behaviour and weights together say of the adapter left out."""
    fitted = fitted_sketch(pool, train)
    both = summed(SKETCHED, given("behaviour"))(pool, train, fitted.ridge.targets)
    teacher = Linear.fit(pool, train, both, fitted.space, fitted.ridge.targets)
    taught = normalise(fitted.ridge.targets) + normalise(teacher.ridge.left_out(teacher.penalty))
    kernel = SKETCHED(pool, train, fitted.ridge.targets)
    return Linear.fit(pool, train, kernel, fitted.space, taught).embed(train)


EXACT = linear(learned("exact_grams"))
PROBES = linear(given("probes"))

# Family, then what is changed of the shipped recipe.
SOLVED: dict[str, dict[str, Recipe]] = {
    "shipped": {"as shipped": shipped, "the same, neither cut nor rounded": linear()},
    "layers": {
        "all layers alike": linear(aligned("grams", 0)),
        "weights: alignment alone": linear(aligned("grams")),
        "weights: alignment squared": linear(aligned("grams", 2)),
        "a weight for every 32 outputs and input": linear(by_part),
        "a ridge for each layer type, averaged": each_kind_alone,
        "strengths kept": linear(by_strength),
        "each layer of length 1": linear(of_length_one),
        "square roots of values": linear(roots),
        "layers half whitened": linear(flattened),
    },
    "inputs": {
        "8 learned inputs": linear(learned("wide_grams")),
        "whole ΔW": EXACT,
        "base activations": PROBES,
        "output subspaces": linear(learned("output_grams")),
    },
    "kernels": {
        **{
            f"{name} of adapters": linear(curved(shape, SKETCHED))
            for name, shape in POLYNOMIAL.items()
        },
        "(1 + cosine)² of layers": linear(curved_layers(POLYNOMIAL["(1 + cosine)²"])),
        "arc-cosine of layers": linear(curved_layers(arc_cosine)),
        "(1 + cosine)² of whole ΔW": linear(
            curved(POLYNOMIAL["(1 + cosine)²"], learned("exact_grams"))
        ),
    },
    "texts": {
        "not whitened": linear(texts=unwhitened),
        **{f"whitened, shrinkage {s}": linear(texts=whitened_by(s)) for s in (0.1, 2.0)},
        **{
            f"whitened by residuals, shrinkage {s}": linear(texts=whitened_by_residuals(s))
            for s in (0.1, 0.5)
        },
        "English captions only": english_only,
        "captions with half of their words added": rephrased,
        "short captions count more": linear(targets=by_caption((2, 1, 1))),
        "long captions count more": linear(targets=by_caption((1, 1, 2))),
        "a penalty for each direction": a_penalty_each,
        "directions shrunk by their errors": shrunk_directions,
    },
    "gallery": {
        "no penalties": linear(strength=0.0),
        "twice the penalties": linear(strength=2 * STRENGTH),
        "times length^.5": by_length(0.5),
    },
    "behaviour": {
        "behaviour alone (runs the base)": linear(given("behaviour")),
        "sketches and behaviour (runs the base)": linear(summed(SKETCHED, given("behaviour"))),
        "sketches, distilled from both": distilled,
    },
    "ensembles": {
        "kernels: sketches + ΔW + activations": linear(
            summed(SKETCHED, learned("exact_grams"), given("probes"))
        ),
        "similarities: sketches, ΔW, activations": together(linear(), EXACT, PROBES),
        "similarities: sketches, their (1 + cosine)²": together(
            linear(), linear(curved(POLYNOMIAL["(1 + cosine)²"], SKETCHED))
        ),
    },
}
