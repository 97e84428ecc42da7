import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from encoder.adapter.lora_file import read
from encoder.errors import SketchError, TrainingDataError
from encoder.training.contrastive import Schedule, info_nce
from encoder.training.dataset import Dataset
from encoder.training.train import (
    TrainingRun,
    encode_captions,
    fit_ridge,
    sketch_files,
    train_autolora,
)
from encoder.weight_encoders.autolora import AutoLoraConfig, AutoLoraEncoder
from encoder.weight_encoders.checkpoint import load_encoder, save_encoder
from encoder.weight_encoders.ridge import RidgeEncoder
from tests.encoder.conftest import SyntheticZoo

SMALL = AutoLoraConfig("demo-flux-tiny", queries=1, width=32, heads=2, dropout=0.0)
SKETCHED = AutoLoraConfig(
    "demo-flux-tiny", sketched=True, queries=1, width=32, heads=2, dropout=0.0
)


SCHEDULE = Schedule(epochs=2, batch=4, patience=99, rate=3e-3)


def train_on(
    zoo: SyntheticZoo, dataset: Dataset, schedule: Schedule, folder: Path
) -> AutoLoraEncoder:
    return train_autolora(
        dataset,
        zoo.text_encoder,
        name="test",
        base_model="demo-flux-tiny",
        config=SKETCHED,
        schedule=schedule,
        run=TrainingRun(folder),
    )


def few(dataset: Dataset, train: int) -> Dataset:
    """The first adapters of the training split, and those for validation."""
    kept = [*dataset.indices("train")[:train], *dataset.indices("validation")]
    return Dataset(
        [dataset.paths[i] for i in kept],
        [dataset.captions[i] for i in kept],
        [dataset.splits[i] for i in kept],
    )


def train(
    zoo: SyntheticZoo, dataset: Dataset, folder: Path | None, epochs: int, patience: int = 99
) -> dict[str, object]:
    """Train and return what tells two trainings apart."""
    encoder = train_autolora(
        dataset,
        zoo.text_encoder,
        name="test",
        base_model="demo-flux-tiny",
        config=SKETCHED,
        schedule=Schedule(epochs=epochs, batch=4, patience=patience, rate=3e-3),
        run=TrainingRun(folder),
    )
    return {"state": encoder.network.state_dict(), "metrics": encoder.metrics}


def test_autolora_overfits_a_few_adapters(zoo: SyntheticZoo, tmp_path: Path) -> None:
    """What cannot even memorise eight adapters is wired wrongly."""
    eight = few(zoo.dataset, 8)
    copied = [*range(8), *range(8)]
    dataset = Dataset(
        [eight.paths[i] for i in copied],
        [eight.captions[i] for i in copied],
        ["train"] * 8 + ["validation"] * 8,
    )
    encoder = train_autolora(
        dataset,
        zoo.text_encoder,
        name="test",
        base_model="demo-flux-tiny",
        config=SMALL,
        schedule=Schedule(epochs=30, batch=8, rate=4e-3, patience=30),
        run=TrainingRun(tmp_path),
    )

    assert encoder.metrics["validation"]["mrr"] > 0.95
    found = encoder.encode_weights([read(path) for path in dataset.paths[:8]])
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    loaded = load_encoder(tmp_path / "encoder.safetensors")
    np.testing.assert_allclose(
        loaded.encode_weights([read(path) for path in dataset.paths[:8]]),  # type: ignore[union-attr]
        found,
        atol=5e-3,
    )
    assert loaded.metrics == encoder.metrics
    with pytest.raises(SketchError, match="factors"):
        loaded.encode(sketch_files(dataset.paths[:1]))
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (640, 360)


def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(
    zoo: SyntheticZoo, tmp_path: Path
) -> None:
    dataset = few(zoo.dataset, 8)
    straight = train(zoo, dataset, tmp_path / "straight", epochs=4)

    class Stopped(Exception):  # noqa: N818
        """Stands for a signal."""

    def stop(done: int, total: int, what: str) -> None:
        if what.startswith("Training") and done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train_autolora(
            dataset,
            zoo.text_encoder,
            name="test",
            base_model="demo-flux-tiny",
            config=SKETCHED,
            schedule=Schedule(epochs=4, batch=4, patience=99, rate=3e-3),
            run=TrainingRun(tmp_path / "stopped", progress=stop),
        )
    resumed = train(zoo, dataset, tmp_path / "stopped", epochs=4)

    assert resumed["metrics"] == straight["metrics"]
    for left, right in zip(
        resumed["state"].values(),  # type: ignore[attr-defined]
        straight["state"].values(),  # type: ignore[attr-defined]
        strict=True,
    ):
        torch.testing.assert_close(left, right)
    curves = json.loads((tmp_path / "stopped/curves.json").read_text())
    assert [point["epoch"] for point in curves] == [1, 2, 3, 4]


@pytest.mark.parametrize("changed", ["captions", "splits", "adapters", "seed"])
def test_a_training_on_something_else_begins_anew_and_says_so(
    zoo: SyntheticZoo, tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: str
) -> None:
    """The state in the folder is of another network, however like it looks."""
    dataset, schedule = few(zoo.dataset, 8), SCHEDULE
    folder = tmp_path / "again"
    train_on(zoo, dataset, schedule, folder)
    if changed == "captions":
        dataset = replace(dataset, captions=[["a thing"], *dataset.captions[1:]])
    elif changed == "splits":
        dataset = replace(dataset, splits=["held-out", *dataset.splits[1:]])
    elif changed == "adapters":
        dataset = replace(dataset, paths=[dataset.paths[1], dataset.paths[0], *dataset.paths[2:]])
    else:
        schedule = replace(schedule, seed=1)

    again = train_on(zoo, dataset, schedule, folder)

    assert "begins anew" in caplog.text
    afresh = train_on(zoo, dataset, schedule, tmp_path / "afresh")
    assert again.metrics == afresh.metrics
    for pair in zip(again.network.parameters(), afresh.network.parameters(), strict=True):
        torch.testing.assert_close(*pair)


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "no state"])
def test_a_state_that_is_damaged_begins_anew_and_says_so(
    zoo: SyntheticZoo, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """A power cut may take what was written last."""
    dataset, state = few(zoo.dataset, 4), tmp_path / "training.pt"
    train_on(zoo, dataset, SCHEDULE, tmp_path)
    whole = state.read_bytes()
    if damage == "no state":
        torch.save([1], state)
    else:
        cut = {"empty": b"", "cut": whole[: len(whole) // 2], "zeros": bytes(len(whole))}
        state.write_bytes(cut[damage])

    again = train_on(zoo, dataset, SCHEDULE, tmp_path)

    assert "training.pt cannot be read; this one begins anew" in caplog.text
    assert again.metrics["epochs"] == SCHEDULE.epochs
    assert len(state.read_bytes()) == len(whole)


def test_more_epochs_go_on_from_those_that_are_done(
    zoo: SyntheticZoo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = few(zoo.dataset, 8)
    train_on(zoo, dataset, SCHEDULE, tmp_path)
    before = json.loads((tmp_path / "curves.json").read_text())

    train_on(zoo, dataset, replace(SCHEDULE, epochs=3, patience=50), tmp_path)

    curves = json.loads((tmp_path / "curves.json").read_text())
    assert curves[:2] == before
    assert len(curves) == 3
    assert caplog.text == ""


def test_training_stops_when_validation_no_longer_improves(zoo: SyntheticZoo) -> None:
    """Its captions say nothing of the weights, so that only luck improves it."""
    dataset = few(zoo.dataset, 8)
    nonsense = Dataset(dataset.paths, [[f"word{i}"] for i in range(16)], dataset.splits)

    metrics = train(zoo, nonsense, None, epochs=200, patience=2)["metrics"]

    assert metrics["epochs"] == metrics["best_epoch"] + 2 < 200  # type: ignore[index]


def test_captions_that_mean_the_same_are_no_negatives() -> None:
    """Pushing an adapter from its twin's caption pushes it from its own."""
    embeddings = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    captions = torch.eye(3, 8)
    captions[1] = captions[0]
    logits = 10 * embeddings @ captions.T
    logits[0, 1] = logits[1, 0] = -torch.inf
    slow = sum(-(rows.softmax(1).diag().log().mean()) / 2 for rows in (logits, logits.T))

    torch.testing.assert_close(info_nce(embeddings, captions, torch.tensor(10.0)), slow)


def test_too_few_adapters_are_refused(zoo: SyntheticZoo) -> None:
    with pytest.raises(TrainingDataError, match="3 training adapters are too few"):
        fit_ridge(few(zoo.dataset, 3), zoo.text_encoder, name="test", base_model="demo-flux-tiny")


@pytest.mark.parametrize("kept", [False, True])
def test_an_adapter_of_another_family_is_refused_by_name(
    zoo: SyntheticZoo, tmp_path: Path, kept: bool
) -> None:
    """Its encoder could embed none of the base's adapters."""
    name = zoo.dataset.paths[0].name
    said = rf"^{name}: an adapter of demo-flux-tiny, where those of flux\.1 are"
    with pytest.raises(TrainingDataError, match=said):
        fit_ridge(
            zoo.dataset,
            zoo.text_encoder,
            name="test",
            base_model="flux.1-dev",
            kept=tmp_path if kept else None,
        )


@pytest.mark.parametrize(("adapters", "batch"), [(1, 4), (4, 1)])
def test_fewer_adapters_than_a_contrast_needs_are_refused(
    zoo: SyntheticZoo, tmp_path: Path, adapters: int, batch: int
) -> None:
    with pytest.raises(TrainingDataError, match="training needs 2 adapters at least"):
        train_on(zoo, few(zoo.dataset, adapters), replace(SCHEDULE, batch=batch), tmp_path)


def test_in_what_ways_of_saying_the_same_differ_counts_little(zoo: SyntheticZoo) -> None:
    ways = [
        ["solid black icon", "filled dark silhouette", "a black glyph, all filled in"],
        ["thin outlines", "a line drawing with fine strokes", "contours only"],
    ]
    said = encode_captions(ways, zoo.text_encoder) * 10
    plain, told = (
        fit_ridge(
            zoo.dataset,
            zoo.text_encoder,
            name="test",
            base_model="demo-flux-tiny",
            sayings=sayings,
        )
        for sayings in ([], said)
    )

    def alike(encoder: RidgeEncoder) -> float:
        """How near two ways to say one thing are, next to one of each."""
        first, second, other = encoder.text.project(
            zoo.text_encoder.encode([ways[0][0], ways[0][1], ways[1][1]])
        )
        return float(first @ second - first @ other)

    assert alike(told) > alike(plain) + 0.1
