import dataclasses
from pathlib import Path

import numpy as np
import pytest

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.errors import SketchError, TrainingDataError
from encoder.training.concepts import Gradients, fit_concepts, fit_looks
from encoder.training.train import encode_captions, fit_ridge, measure_retrieval, sketch_files
from encoder.weight_encoders.checkpoint import load_encoder, save_encoder
from encoder.weight_encoders.concepts import unit_layers
from encoder.weight_encoders.ridge import (
    KernelRidge,
    TextSpace,
    choose_penalty,
    concept_shares,
    low_rank,
)
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


def test_an_adapter_of_layers_that_say_nothing_is_refused(zoo: SyntheticZoo) -> None:
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    whole = sketch_files(zoo.dataset.paths[:1])[0]
    mask = np.arange(len(whole.mask)) == 3
    scales = np.where(mask, 0, encoder.layer_scales)
    means = encoder.means * ~mask.repeat(whole.layout.sizes)
    deaf = dataclasses.replace(encoder, layer_scales=scales, means=means)

    with pytest.raises(SketchError, match="say nothing"):
        deaf.encode([dataclasses.replace(whole, mask=mask)])


def test_concepts_speak_for_an_adapter_that_the_ridge_knows_little_of(
    zoo: SyntheticZoo, tmp_path: Path
) -> None:
    plain = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    seen = sketch_files(zoo.dataset.paths[:4])
    sizes = seen[0].layout.sizes
    # As many as make one stand out.
    directions = random(60, int(sizes.sum()))
    told = [["a castle"], *([f"thing {number}"] for number in range(59))]
    gradients = Gradients(told, unit_layers(directions, sizes), random(120, int(sizes.sum())))
    concepts = fit_concepts(gradients, seen, zoo.text_encoder)
    encoder = dataclasses.replace(plain, concepts=concepts, usual_length=1e3)
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    again = load_encoder(tmp_path / "encoder.safetensors")
    castle = dataclasses.replace(seen[0], values=directions[0].astype(np.float16))

    query = zoo.text_encoder.encode(["a castle"])
    without, found = (
        float((own.encode([castle]) @ own.encode_query(query).T)[0, 0]) for own in (plain, again)
    )
    assert found > max(0.5, without + 0.2)


def test_looks_are_added_to_what_is_said_of_an_adapter(zoo: SyntheticZoo, tmp_path: Path) -> None:
    plain = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    seen = sketch_files(zoo.dataset.paths[:4])
    sizes = seen[0].layout.sizes
    directions = random(20, int(sizes.sum()))
    # Nothing is trusted less, however unlike what was trained on.
    plain = dataclasses.replace(plain, usual_length=0.0)
    told = [["a thin line drawing"], *([f"look {number}"] for number in range(19))]
    gradients = Gradients(told, unit_layers(directions, sizes), random(40, int(sizes.sum())))
    encoder = dataclasses.replace(plain, looks=fit_looks(gradients, seen, zoo.text_encoder))
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    again = load_encoder(tmp_path / "encoder.safetensors")
    drawn = dataclasses.replace(seen[0], values=directions[0].astype(np.float16))
    drawn_otherwise = dataclasses.replace(seen[0], values=directions[1].astype(np.float16))

    query = zoo.text_encoder.encode(["a thin line drawing"])
    without, lines, others = (
        float((own.encode([sketch]) @ own.encode_query(query).T)[0, 0])
        for own, sketch in ((plain, drawn), (again, drawn), (again, drawn_otherwise))
    )

    assert lines > max(without, others) + 0.1


def test_concepts_say_more_where_one_stands_out_and_less_of_what_is_known() -> None:
    flat, peaked = np.zeros(100, np.float32), np.zeros(100, np.float32)
    flat[::2], peaked[0] = 1, 1
    scores = np.stack([flat, peaked, peaked])

    shares = concept_shares(scores, np.array([1, 1, 2], np.float32))

    assert shares[1] > 0.8
    assert shares[0] < 0.05
    assert shares[2] < 0.05


def test_concepts_say_nothing_of_an_adapter_without_the_layers_that_they_are_known_in() -> None:
    shares = concept_shares(np.zeros((1, 100), np.float32), np.array([0.1], np.float32))

    assert shares.tolist() == [0.0]


def test_concepts_are_refused_where_no_usual_length_is_known(zoo: SyntheticZoo) -> None:
    """They would be passed over in silence."""
    plain = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    directions = random(20, len(plain.means))
    sketches = sketch_files(zoo.dataset.paths[:2])
    gradients = Gradients([[f"thing {number}"] for number in range(20)], directions, directions)
    concepts = fit_concepts(gradients, sketches, zoo.text_encoder)

    with pytest.raises(ValueError, match="usual length"):
        dataclasses.replace(plain, concepts=concepts, usual_length=0.0)


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
