import dataclasses
from pathlib import Path

import numpy as np
import pytest

from encoder.sketches.sketch import Sketch
from encoder.text_encoder import normalise
from encoder.training.train import fit_ridge, sketch_files
from encoder.weight_encoders.penalties import ENOUGH_LAYERS, Penalties, free_axes
from tests.encoder.builders import make_factors, write_adapter
from tests.encoder.conftest import SyntheticZoo

RNG = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return RNG.normal(size=shape).astype(np.float32)


def make_penalties() -> tuple[Penalties, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """For predictions in 4 of 12 directions, and captions that crowd around the first."""
    up = np.linalg.qr(random(12, 4))[0].T.copy()
    captions = normalise(random(400, 12) + 3 * up[0])
    return Penalties.fit(up, captions, normalise(random(50, 4))), up


def test_free_axes_meet_no_prediction() -> None:
    up = random(4, 12)
    axes = free_axes(up, 2)

    np.testing.assert_allclose(up @ axes.T, 0, atol=1e-5)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-5)
    with pytest.raises(ValueError, match="leave no 2 axes"):
        free_axes(random(3, 4), 2)


def test_what_lies_near_many_captions_is_found_less() -> None:
    """Two adapters equally near a query: the one that is near everything comes second."""
    penalties, up = make_penalties()
    coordinates = np.eye(4, dtype=np.float32)[:2]
    plain = coordinates @ up
    query = normalise((up[0] + up[1])[None])
    assert plain[0] @ query[0] == pytest.approx(plain[1] @ query[0], abs=1e-5)

    found = penalties.apply(plain, coordinates, *np.ones((2, 2), np.float32))

    hub, other = found @ penalties.of_queries(query)[0]
    assert hub < other - 0.02
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_an_adapter_of_few_layers_is_not_ranked_by_luck() -> None:
    """A single layer predicts noise, of length 1 like all others."""
    penalties, up = make_penalties()
    coordinates = np.eye(4, dtype=np.float32)[1:2].repeat(2, axis=0)
    shares = np.array([ENOUGH_LAYERS, ENOUGH_LAYERS / 16], np.float32)

    whole, part = penalties.apply(coordinates @ up, coordinates, shares, np.ones(2, np.float32))

    query = penalties.of_queries(up[1:2])[0]
    assert part @ query == pytest.approx(whole @ query / 4, abs=1e-3)
    assert np.linalg.norm(part) == pytest.approx(1, abs=1e-5)


def test_adapters_unlike_all_that_were_trained_on_are_trusted_less(
    zoo: SyntheticZoo, tmp_path: Path
) -> None:
    """They seem near some question by chance; their predictions are short."""
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    strangers = [
        write_adapter(tmp_path / f"{seed}.safetensors", make_factors(900 + seed))
        for seed in range(20)
    ]
    unseen = zoo.dataset.indices("validation")
    inside = sketch_files([zoo.dataset.paths[i] for i in unseen])
    outside = sketch_files(strangers)
    believing = dataclasses.replace(encoder, usual_length=0.0)

    def doubt(sketches: list[Sketch]) -> float:
        """How much similarities fall, in the mean."""
        queries = encoder.encode_query(
            zoo.text_encoder.encode([text for said in zoo.dataset.captions for text in said])
        )
        trusted, all_ = (one.encode(sketches) @ queries.T for one in (encoder, believing))
        return float(1 - (trusted / all_).mean())

    assert encoder.usual_length > 0
    assert doubt(inside) < 0.1
    assert doubt(outside) > 2 * doubt(inside) + 0.2


def test_one_layer_is_found_less_than_the_whole_adapter(zoo: SyntheticZoo) -> None:
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    whole = sketch_files(zoo.dataset.paths[:1])[0]
    mask = np.arange(len(whole.mask)) == 0
    queries = encoder.encode_query(zoo.text_encoder.encode(list(zoo.dataset.captions[0])))

    found = encoder.encode([whole, dataclasses.replace(whole, mask=mask)]) @ queries.T

    assert (found[1] < 0.7 * found[0]).all()
