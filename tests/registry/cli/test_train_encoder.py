"""`autolora train-encoder`, as a person runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

from encoder.training.train import sketch_files
from encoder.weight_encoders.checkpoint import load_encoder
from registry.cli.app import app
from tests.encoder.conftest import SyntheticZoo


@pytest.fixture
def manifest(zoo: SyntheticZoo, tmp_path: Path) -> Path:
    """Sixteen adapters to train on and eight to validate, in a folder of their own."""
    entries = []
    for index in [*zoo.dataset.indices("train")[:16], *zoo.dataset.indices("validation")]:
        source = zoo.dataset.paths[index]
        (tmp_path / source.name).write_bytes(source.read_bytes())
        captions, split = list(zoo.dataset.captions[index]), zoo.dataset.splits[index]
        entries.append({"file": source.name, "captions": captions, "split": split})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(entries))
    return path


def arguments(manifest: Path, output: Path, *more: str) -> list[str]:
    given = [str(manifest), "--base-model", "demo-flux-tiny", "--output", str(output)]
    return ["train-encoder", *given, "--json", *more]


def run(*given: Any) -> dict[str, Any]:
    result = CliRunner().invoke(app, arguments(*given))
    assert result.exit_code == 0, result.stderr
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_sketches_are_enough_to_train_again(manifest: Path, tmp_path: Path) -> None:
    """Encoders are trained often, files are kept by nobody."""
    output = tmp_path / "encoder.safetensors"
    first = run(manifest, output)
    kept = output.read_bytes()
    adapters = [tmp_path / entry["file"] for entry in json.loads(manifest.read_text())]
    sketches = sketch_files(adapters[:2])
    for adapter in adapters:
        adapter.unlink()

    assert run(manifest, output) == first
    assert output.read_bytes() == kept
    assert first["adapters"] == {"train": 16, "validation": 8, "held-out": 0}
    assert load_encoder(output).encode(sketches).shape == (2, 512)


def test_an_encoder_is_for_the_base_that_people_mean(manifest: Path, tmp_path: Path) -> None:
    """Adapters are looked for by that name."""
    output = tmp_path / "encoder.safetensors"
    facts = run(manifest, output, "--base-model", "AutoLoRA/demo-flux-tiny")
    assert load_encoder(output).base_model == "demo-flux-tiny"
    assert facts["name"] == "demo-flux-tiny-ridge"


def test_a_killed_training_goes_on_where_it_was(manifest: Path, tmp_path: Path) -> None:
    """Machines are rented by the minute and taken away without a word."""
    settings = ("--kind", "autolora", "--epochs", "3", "--batch", "8")
    killed, straight = tmp_path / "killed.safetensors", tmp_path / "straight.safetensors"
    command = [sys.executable, "-m", "registry"]
    process = subprocess.Popen(
        [*command, *arguments(manifest, killed, *settings)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    state = tmp_path / "killed.training/training.pt"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists()

    resumed, whole = run(manifest, killed, *settings), run(manifest, straight, *settings)

    assert resumed["validation"] == whole["validation"]
    for name, array in load_file(straight).items():
        np.testing.assert_allclose(load_file(killed)[name], array, atol=2e-3)
    with Image.open(tmp_path / "killed.training/curves.png") as picture:
        assert picture.format == "PNG"


def test_a_folder_that_is_not_there_is_said_before_training(manifest: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, arguments(manifest, tmp_path / "no/encoder.safetensors"))

    assert result.exit_code == 1
    assert "there is no folder" in result.stderr
