import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.errors import SketchError, TrainingDataError
from encoder.sketches.sketch import Sketch
from encoder.training.train import encode_captions, fit_ridge, measure_retrieval, sketch_files
from encoder.weight_encoders import ridge
from encoder.weight_encoders.ridge import (
    KernelRidge,
    choose_penalty,
    low_rank,
    scaled_features,
)
from encoder.weight_encoders.text_space import TextSpace
from tests.encoder.conftest import SyntheticZoo

RNG = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return RNG.normal(size=shape).astype(np.float32)


def test_ridge_finds_unseen_adapters_by_their_captions(zoo: SyntheticZoo) -> None:
    """Twelve held out: chance is 8 % at the first place."""
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")

    sketches = sketch_files(zoo.dataset.paths)
    captions = encode_captions(zoo.dataset.captions, zoo.text_encoder)
    found = measure_retrieval(encoder, sketches, captions, zoo.dataset.splits, "held-out")
    assert found["recall_at_1"] > 0.6
    lengths = np.linalg.norm(encoder.encode(sketches[:3]), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_training_looks_at_no_held_out_adapter(zoo: SyntheticZoo) -> None:
    """Whoever chooses by figures that training prints must not choose by those reported."""
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")

    assert set(encoder.metrics) == {"penalty", "cross_validation_mrr", "adapters", "validation"}


def test_no_question_is_near_an_adapter_of_layers_that_say_nothing(zoo: SyntheticZoo) -> None:
    """Refused, it would wait for its embedding for good, and an encoder for being complete."""
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    whole, other = sketch_files(zoo.dataset.paths[:2])
    mask = np.arange(len(whole.mask)) == 3
    scales = np.where(mask, 0, encoder.layer_scales)
    means = encoder.means * ~mask.repeat(whole.layout.sizes)
    deaf = dataclasses.replace(encoder, layer_scales=scales, means=means)
    silent = dataclasses.replace(whole, mask=mask)

    embeddings = deaf.encode([whole, silent, other])

    queries = deaf.encode_query(zoo.text_encoder.encode(["a cat", "a dog", "anything"]))
    np.testing.assert_allclose(queries @ embeddings[1], 0, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embeddings[[0, 2]], deaf.encode([whole, other]), atol=1e-6)
    with pytest.raises(SketchError, match="say nothing"):
        dataclasses.replace(deaf, penalties=None).encode([silent])


def test_features_are_made_for_some_sketches_at_a_time(
    zoo: SyntheticZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of thousands that are trained on do not fit into memory together."""
    sketches = sketch_files(zoo.dataset.paths)
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    at_once = encoder.down.apply(encoder._features(sketches))
    stacked = []

    def stack(batch: Sequence[Sketch], scales: Floats) -> Floats:
        stacked.append(len(batch))
        return scaled_features(batch, scales)

    monkeypatch.setattr(ridge, "ENCODE_BATCH", 7)
    monkeypatch.setattr(ridge, "scaled_features", stack)

    np.testing.assert_allclose(encoder.coordinates(sketches), at_once, rtol=1e-4, atol=1e-5)
    again = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")

    assert max(stacked) == 7
    np.testing.assert_allclose(again.encode(sketches), encoder.encode(sketches), atol=1e-3)


def test_a_missing_layer_counts_as_the_mean_one(zoo: SyntheticZoo) -> None:
    """So a file without some layers is embedded by the others, not pulled to a corner."""
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    whole = sketch_files(zoo.dataset.paths[:1])[0]
    mask = whole.mask.copy()
    mask[:20] = False
    part = dataclasses.replace(whole, mask=mask)

    values = whole.values.astype(np.float32)
    scales = encoder.layer_scales.repeat(whole.layout.sizes)
    mean = np.divide(encoder.means, scales, out=np.zeros_like(values), where=scales > 0)
    filled = np.where(mask.repeat(whole.layout.sizes), values, mean).astype(np.float16)
    slow = encoder.encode([dataclasses.replace(whole, values=filled)])

    np.testing.assert_allclose(encoder.encode([part]), slow, atol=2e-3)


def test_sketches_of_another_version_are_refused(zoo: SyntheticZoo) -> None:
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    whole = sketch_files(zoo.dataset.paths[:1])[0]
    layout = dataclasses.replace(whole.layout, version="basis-other")

    with pytest.raises(SketchError, match="basis-other"):
        encoder.encode([dataclasses.replace(whole, layout=layout)])


def test_the_kernel_gives_what_ridge_gives_in_the_features() -> None:
    features, targets, others = random(30, 8), random(30, 3), random(5, 8)
    targets -= targets.mean(axis=0)
    ridge = KernelRidge(features @ features.T, targets)

    found = ridge.predict(others @ features.T, 0.1)

    centred = features - features.mean(axis=0)
    damped = centred.T @ centred + 0.1 * ridge.energy * np.eye(8)
    slow = (others - features.mean(axis=0)) @ np.linalg.solve(damped, centred.T @ targets)
    np.testing.assert_allclose(found, slow, atol=1e-3)


def test_all_components_lose_nothing_but_the_rounding() -> None:
    features, duals = random(40, 200), random(40, 6)
    parts = (features[:, :150], features[:, 150:])

    down, up = low_rank(parts, features @ (features.T @ duals), duals, 6)

    others = random(10, 200)
    exact = others @ features.T @ duals
    error = np.linalg.norm(down.apply(others) @ up - exact) / np.linalg.norm(exact)
    assert error < 0.15  # 15 levels


@pytest.mark.parametrize("rows", [1, 4, 7])
def test_a_quarter_matrix_comes_back_as_it_was(rows: int) -> None:
    matrix = QuarterMatrix.of(random(rows, 3))
    arrays = matrix.arrays("x")

    found = QuarterMatrix.restore(arrays, "x", rows)

    np.testing.assert_array_equal(found.packed, matrix.packed)
    assert arrays["x_levels"].nbytes == (rows + 1) // 2 * 3
    np.testing.assert_array_equal(
        found.apply(random(2, rows) * 0 + 1), matrix.apply(np.ones((2, rows), np.float32))
    )


def test_captions_are_whitened_by_how_much_they_differ_within_adapters() -> None:
    """Adapters differ in the first direction; in the second, only their captions do."""
    said = [np.array([[x, y] for y in (-9, 9)], np.float32) for x in (-1, 1)]
    space = TextSpace.fit(said)

    right, left = space.project(np.array([[1, 4], [-1, 4]], np.float32))

    assert right @ left < TextSpace(space.centre).project(np.array([[1, 4]]))[0] @ left


def test_plain_texts_compare_with_aimed_ones_as_in_the_space() -> None:
    """Up to the length of the plain ones, and what all of them have in common."""
    space = TextSpace.fit([random(6, 4) for _ in range(10)])
    asked, stored = random(1, 4), random(50, 4)
    assert space.whiten is not None

    products = (asked - space.centre) @ space.whiten @ ((stored - space.centre) @ space.whiten).T
    found = space.aim(asked) @ stored.T

    assert found.argsort().tolist() == products.argsort().tolist()
    np.testing.assert_allclose(np.linalg.norm(space.aim(asked)), 1, rtol=1e-5)


def test_single_captions_leave_the_space_as_it_is() -> None:
    assert TextSpace.fit([random(1, 4), random(1, 4)]).whiten is None


def test_too_few_adapters_have_no_penalty() -> None:
    with pytest.raises(TrainingDataError, match="9 training adapters are too few"):
        choose_penalty(np.eye(9, dtype=np.float32), [random(2, 4) for _ in range(9)])


def test_too_few_authors_have_no_penalty() -> None:
    captions = [random(2, 4) for _ in range(20)]

    with pytest.raises(TrainingDataError, match="20 training adapters of 2 authors are too few"):
        choose_penalty(np.eye(20, dtype=np.float32), captions, groups=[0] * 10 + [7] * 10)


def test_what_one_author_repeats_does_not_choose_the_penalty() -> None:
    """Each adapter is there twice, by one author: known by heart, it says nothing of strangers."""
    features, captions = random(30, 40), [random(1, 8) for _ in range(30)]
    twice = np.concatenate([features, features])
    groups = [*range(30), *range(30)]

    _, apart = choose_penalty(twice @ twice.T, captions + captions, groups=groups)
    _, mixed = choose_penalty(twice @ twice.T, captions + captions)

    assert max(apart.values()) < 0.5 < max(mixed.values())
