import dataclasses

import numpy as np
import torch

from encoder.sketches.sketch import Sketch
from encoder.training.layer_scales import fit_layer_scales, learn_layer_scales, left_out
from encoder.training.train import sketch_files
from encoder.weight_encoders.ridge import Centring, KernelRidge
from tests.encoder.conftest import SyntheticZoo

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

RNG = np.random.default_rng(0)


def random(*shape: int) -> Floats:
    return RNG.normal(size=shape).astype(np.float32)


def with_layers(sketches: list[Sketch], parts: dict[int, Floats]) -> list[Sketch]:
    """Give layers values that repeat each adapter's row; the others are chance."""
    sizes = sketches[0].layout.sizes
    starts = np.cumsum(sizes) - sizes
    told = []
    for row, own in enumerate(sketches):
        values = random(int(sizes.sum())).astype(np.float16)
        for layer, rows in parts.items():
            values[starts[layer] :][: sizes[layer]] = np.resize(rows[row], sizes[layer])
        told.append(dataclasses.replace(own, values=values))
    return told


def test_layers_that_go_with_the_captions_weigh_more(zoo: SyntheticZoo) -> None:
    """Of two layers, the first is what the captions say and the second is chance."""
    targets = random(20, 5)
    targets -= targets.mean(axis=0)
    told = with_layers(sketch_files(zoo.dataset.paths[:20]), {0: targets})

    scales = fit_layer_scales(told, targets)

    assert scales[0] > 2 * scales[1:].max()


def test_a_layer_that_says_what_others_do_not_gains(zoo: SyntheticZoo) -> None:
    """Alignment counts three layers that say one thing three times; what is found counts."""
    targets = random(40, 16)
    targets -= targets.mean(axis=0)
    same, other = targets + random(40, 16), targets + random(40, 16)
    same[:, 8:], other[:, :8] = 0, 0
    told = with_layers(sketch_files(zoo.dataset.paths[:40]), {0: same, 1: same, 2: same, 3: other})
    aligned = fit_layer_scales(told, targets)

    learned = learn_layer_scales(told, targets, list(targets[:, None]), aligned)

    assert learned[3] / learned[:3].mean() > 1.1 * aligned[3] / aligned[:3].mean()


def test_silent_layers_stay_silent(zoo: SyntheticZoo) -> None:
    targets = random(20, 5)
    sketches = sketch_files(zoo.dataset.paths[:20])
    scales = np.ones(len(sketches[0].mask), np.float32)
    scales[7] = 0

    learned = learn_layer_scales(sketches, targets, list(targets[:, None]), scales)

    assert learned[7] == 0
    assert (np.delete(learned, 7) > 0).all()


def test_those_left_out_are_predicted_as_if_fitted_without_them() -> None:
    """If the closed form leaked, layers would be chosen that know adapters by heart."""
    features, targets = random(12, 30), random(12, 5)
    targets -= targets.mean(axis=0)
    kernel = features @ features.T
    centred = torch.from_numpy(Centring.of(kernel).apply(kernel))

    found = left_out(centred, torch.from_numpy(targets), torch.tensor(3.0)).numpy()

    for left in range(12):
        others = np.delete(np.arange(12), left)
        slow = KernelRidge(
            kernel[np.ix_(others, others)], targets[others] - targets[others].mean(0)
        )
        predicted = slow.predict(kernel[[left]][:, others], 3.0 / slow.energy)[0]
        np.testing.assert_allclose(found[left], predicted, rtol=1e-3, atol=1e-3)
