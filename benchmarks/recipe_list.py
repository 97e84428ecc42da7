"""Recipes for an encoder that are solved rather than trained: kernels, texts, galleries.

Each takes the pool and the training adapters' places and embeds everybody.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.recipe_pool import (
    Ints,
    Linear,
    Pool,
    alignments,
    cautious,
    layer_grams,
    plain_targets,
    weighted,
    whitened,
)
from benchmarks.retrieval_zoo import BASE_MODEL, Floats, Space
from encoder.text_encoder import normalise
from encoder.training.train import fit_ridge_to_sketches
from encoder.weight_encoders.autolora import family_of
from encoder.weight_encoders.layer_batch import kinds_of
from encoder.weight_encoders.penalties import STRENGTH
from encoder.weight_encoders.ridge import PENALTIES, TextSpace, targets_of

Recipe = Callable[[Pool, Ints], Space]
# Gives the kernel between all adapters; it may look at the training adapters' targets.
Kernel = Callable[[Pool, Ints, Floats], Floats]
# Learns where texts live from the training adapters.
Texts = Callable[[Pool, Ints], TextSpace]

# Outputs of a layer that share a weight, where weights are finer than layers.
PART = 32


def shipped(pool: Pool, train: Ints) -> Space:
    """The recipe of encoder/training/train.py as it is stored: low rank, four bits."""
    encoder = fit_ridge_to_sketches(
        [pool.sketches[i] for i in train],
        [pool.captions[i] for i in train],
        ["train"] * len(train),
        name="recipe",
        base_model=BASE_MODEL,
        text_encoder=pool.zoo.text_encoder.name,
    )
    return Space(encoder.encode(pool.sketches), encoder.encode_query)


def aligned(grams: str, power: float = 1.0) -> Kernel:
    """Layers by their alignment with captions; power 0: all alike, each with what it has."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        own: Floats = getattr(pool, grams)
        return weighted(own, np.square(alignments(own, targets, train)) ** power)

    return kernel


def learned(grams: str) -> Kernel:
    """Layers by weights with which left-out adapters are found: what is shipped."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        return weighted(getattr(pool, grams), pool.layer_weights(grams, train))

    return kernel


def by_strength(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """Layers as strong as they are in each adapter, relative to the layer's mean."""
    logs = np.stack([own.log_magnitudes for own in pool.sketches])
    strengths = np.exp(logs - logs[train].mean(axis=0))
    grams = pool.grams * (strengths.T[:, :, None] * strengths.T[:, None, :])
    return weighted(grams, np.square(alignments(grams, targets, train)))


def of_length_one(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """Every layer's sketch of length 1: how much of ΔW the learned inputs catch is left out."""
    lengths = np.sqrt(np.maximum(pool.grams.diagonal(axis1=1, axis2=2), 1e-12))
    grams = pool.grams / lengths[:, :, None] / lengths[:, None, :]
    return weighted(grams, np.square(alignments(grams, targets, train)))


def by_part(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """A weight for every 32 outputs and each input, instead of one a layer."""
    total = np.zeros((len(pool.features),) * 2, np.float32)
    start = 0
    for rows, inputs in pool.sketches[0].layout.shapes:
        layer = pool.features[:, start : start + rows * inputs].reshape(-1, rows, inputs)
        parts = layer.reshape(len(layer), rows // PART, PART, inputs).swapaxes(2, 3)
        grams = layer_grams(
            np.ascontiguousarray(parts).reshape(len(layer), -1),
            np.full(rows // PART * inputs, PART),
        )
        total += weighted(grams, np.square(alignments(grams, targets, train)))
        start += rows * inputs
    return total


def roots(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """Square roots of the sketch's values: large ones count less."""
    values = np.sign(pool.features) * np.sqrt(np.abs(pool.features))
    grams = layer_grams(values, pool.sketches[0].layout.sizes)
    return weighted(grams, np.square(alignments(grams, targets, train)))


def flattened(pool: Pool, train: Ints, targets: Floats) -> Floats:
    """Every layer's directions partly whitened over the training adapters."""
    grams = np.empty_like(pool.grams)
    for place, gram in enumerate(pool.grams):
        values, vectors = np.linalg.eigh(gram[np.ix_(train, train)])
        strong = values > 1e-5 * values[-1]
        mixed = gram[:, train] @ (vectors[:, strong] / values[strong] ** 0.75)
        grams[place] = mixed @ mixed.T
    return weighted(grams, np.square(alignments(grams, targets, train)))


def curved(shape: Callable[[Floats], Floats], inner: Kernel) -> Kernel:
    """A function of the cosine between whole adapters."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        return shape(cosine(inner(pool, train, targets)))

    return kernel


def curved_layers(shape: Callable[[Floats], Floats]) -> Kernel:
    """The same function of the cosine in each layer, then summed."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        grams = np.stack([shape(cosine(gram)) for gram in pool.grams])
        return weighted(grams, np.square(alignments(grams, targets, train)))

    return kernel


def cosine(kernel: Floats) -> Floats:
    lengths = np.sqrt(np.maximum(kernel.diagonal(), 1e-12))
    found: Floats = kernel / lengths[:, None] / lengths
    return found


def arc_cosine(cosines: Floats) -> Floats:
    """What an infinitely wide layer of ReLUs compares (Cho and Saul, 2009)."""
    angle = np.arccos(np.clip(cosines, -1, 1))
    found: Floats = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    return found


def summed(*kernels: Kernel) -> Kernel:
    """Kernels of equal energy, summed: one ridge on all their features."""

    def kernel(pool: Pool, train: Ints, targets: Floats) -> Floats:
        parts = [own(pool, train, targets) for own in kernels]
        total: Floats = sum(part / part.diagonal()[train].mean() for part in parts)
        return total

    return kernel


def given(name: str) -> Kernel:
    """A kernel of the pool's as it is."""
    return lambda pool, train, targets: getattr(pool, name)


SKETCHED = learned("grams")


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
        [np.square(ridge.left_out(p) @ axes.T - turned).mean(axis=0) for p in PENALTIES]
    )
    kernel = SKETCHED(pool, train, targets)[:, train]
    every = np.stack([ridge.predict(kernel, p) @ axes.T for p in PENALTIES])
    best = np.take_along_axis(every, errors.argmin(axis=0)[None, None], axis=0)[0]
    return replace(fitted, predicted=best @ axes).embed(train)


def shrunk_directions(pool: Pool, train: Ints) -> Space:
    """Each predicted direction scaled by how far left-out adapters bear it out [1].

    - [1] Breiman and Friedman, 1997, https://doi.org/10.1111/1467-9868.00054
    """
    fitted = fitted_sketch(pool, train)
    left_out = fitted.ridge.left_out(fitted.penalty)
    _, _, axes = np.linalg.svd(left_out, full_matrices=False)
    told, wanted = left_out @ axes.T, fitted.ridge.targets @ axes.T
    slopes = np.clip((told * wanted).sum(axis=0) / np.square(told).sum(axis=0), 0, 2)
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
POLYNOMIAL: dict[str, Callable[[Floats], Floats]] = {
    "(1 + cosine)²": lambda cosines: np.square(1 + cosines),
    "exp(cosine)": np.exp,
    "exp(3 cosine)": lambda cosines: np.exp(3 * cosines),
    "arc-cosine": arc_cosine,
}

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
        "no caution": linear(strength=0.0),
        "twice the caution": linear(strength=2 * STRENGTH),
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
