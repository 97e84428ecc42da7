import dataclasses

import numpy as np

from encoder.layer_scales import fit_layer_scales
from encoder.train import sketch_files
from tests.encoder.conftest import SyntheticZoo

RNG = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return RNG.normal(size=shape).astype(np.float32)


def test_layers_that_go_with_the_captions_weigh_more(zoo: SyntheticZoo) -> None:
    """Of two layers, the first is what the captions say and the second is chance."""
    sketches = sketch_files(zoo.dataset.paths[:20])
    targets = random(20, 5)
    targets -= targets.mean(axis=0)
    stops = np.cumsum(sketches[0].layout.sizes)
    told = []
    for own, target in zip(sketches, targets, strict=True):
        values = random(stops[-1]).astype(np.float16)
        values[: stops[0]] = np.resize(target, stops[0])
        told.append(dataclasses.replace(own, values=values))

    scales = fit_layer_scales(told, targets)

    assert scales[0] > 2 * scales[1:].max()
