"""`autolora train-gates`, as a person runs it: on the shipped base and real adapters."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from PIL import ExifTags, Image
from torch.multiprocessing.spawn import spawn
from typer.testing import CliRunner

from demo.paths import DATA
from encoder.training.workers import Workers
from registry.cli.app import app
from registry.fusion.backends.pipeline import load_backend
from registry.fusion.errors import GateDataError, GatePictureError
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.gates.file import load_gates
from registry.fusion.gates.rivals import RivalGates
from registry.fusion.training.adapter_bank import AdapterBank
from registry.fusion.training.gate_data import GateData, read_manifest, read_picture
from registry.fusion.training.train import GateBatch, GateTraining, train_gates
from tests.registry.fusion.builders import BASE_MODEL, block_layers, make_small_flux, make_weights

PROCESSES = 2


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three adapters to train on and three to validate, and two that work together."""
    files = sorted((DATA / "zoo/adapters").glob("*.safetensors"))[:6]
    rows: list[dict[str, Any]] = []
    for place, file in enumerate(files):
        (tmp_path / file.name).write_bytes(file.read_bytes())
        Image.new("RGB", (40, 40), (40 * place, 90, 200)).save(tmp_path / f"{place}.png")
        images = [{"file": f"{place}.png", "prompt": f"picture {place}"}]
        split = "train" if place < 3 else "validation"
        rows.append({"adapters": [file.name], "split": split, "images": images})
    for first in (0, 3):
        pair = [file.name for file in files[first : first + 2]]
        rows.append({**rows[first], "adapters": pair})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(rows))
    return path


def run(manifest: Path, output: Path, *more: str) -> dict[str, Any]:
    given = ["--base", str(DATA / "base"), "--base-model", BASE_MODEL, "--output", str(output)]
    small = ["--steps", "2", "--sets", "2", "--size", "32", "--validate-every", "1"]
    command = ["train-gates", str(manifest), *given, *small, "--json", *more]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, (result.stderr, result.exception)
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_rivals_are_trained_and_load(manifest: Path, tmp_path: Path) -> None:
    output = tmp_path / "gates.safetensors"
    facts = run(manifest, output, "--encoder", str(DATA / "encoder.safetensors"))
    gates = load_gates(output, BASE_MODEL)
    assert isinstance(gates, RivalGates)
    assert facts["sha256"] == gates.sha256
    assert facts.keys() >= {"n=1", "n=2", "n=3", "together", "training"}
    assert [row["step"] for row in gates.details["curve"]] == [0, 1, 2]
    assert gates.details["images"] == {"train": 4, "validation": 4}
    assert not torch.equal(gates.slope, torch.full_like(gates.slope, 3.5))
    with Image.open(output.with_suffix(".png")) as curve:
        assert curve.size == (640, 360)
    assert not output.with_suffix(".training.pt").exists()


def test_the_papers_gates_need_no_encoder(manifest: Path, tmp_path: Path) -> None:
    run(manifest, tmp_path / "gates.safetensors", "--kind", "autolora")
    assert isinstance(load_gates(tmp_path / "gates.safetensors", BASE_MODEL), AutoLoraGates)


def test_gates_are_for_the_base_that_people_mean(manifest: Path, tmp_path: Path) -> None:
    """Gates and base are matched by name: one that is no other's would never be found."""
    output = tmp_path / "gates.safetensors"
    run(manifest, output, "--kind", "autolora", "--base-model", "AutoLoRA/demo-flux-tiny")
    assert load_gates(output, "").base_model == BASE_MODEL


def test_rivals_without_an_encoder_are_refused(manifest: Path, tmp_path: Path) -> None:
    given = ["--base", str(DATA / "base"), "--base-model", BASE_MODEL]
    result = CliRunner().invoke(app, ["train-gates", str(manifest), *given])
    assert result.exit_code != 0


def test_manifests_that_cannot_be_used_say_why(manifest: Path) -> None:
    rows = json.loads(manifest.read_text())

    def refused(rows: object, why: str) -> None:
        manifest.write_text(json.dumps(rows))
        with pytest.raises(GateDataError, match=why):
            read_manifest(manifest)

    refused([{"adapters": "x"}], "without 'split'")
    refused({"adapters": 1}, "is no list")
    refused(rows[1:], "2 adapters to train")
    refused([*rows[:-1], {**rows[-1], "images": []}], "without images")
    manifest.with_name("0.png").unlink()
    refused(rows, r"names .*0\.png, which is not there")
    manifest.write_text("[")
    with pytest.raises(GateDataError, match="cannot be read"):
        read_manifest(manifest)


@pytest.mark.parametrize(
    ("kind", "reads"), [("png", read_manifest), ("png", read_picture), ("jpeg", read_picture)]
)
def test_a_picture_that_broke_off_is_named(
    manifest: Path, kind: str, reads: Callable[[Path], object]
) -> None:
    """Or else training would end at some step in Pillow's words, and again when it is rerun."""
    picture = manifest.with_name("4.png")
    Image.effect_noise((64, 64), 50).save(picture, kind)
    picture.write_bytes(picture.read_bytes()[:600])
    with pytest.raises(GatePictureError, match=r"picture .*/4\.png cannot be read.*(?i:truncated)"):
        reads(manifest if reads is read_manifest else picture)


def test_a_picture_is_trained_on_as_it_is_shown(tmp_path: Path, base_folder: Path) -> None:
    """Upright, and cut to a square: squeezed, the base would be taught wrong proportions."""
    portrait = Image.effect_noise((32, 48), 90).convert("RGB")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned by a quarter
    portrait.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    backend = load_backend(base_folder, BASE_MODEL)

    lying, _ = backend.encode_images([read_picture(tmp_path / "lying.png")], 32)
    middle, _ = backend.encode_images([portrait.crop((0, 8, 32, 40))], 32)

    assert torch.equal(lying, middle)


def test_a_training_is_known_by_all_that_it_is_on(manifest: Path) -> None:
    """What is kept of one is gone on from by the same only, wherever its files lie."""

    def trained_on(manifest: Path, base_model: str = BASE_MODEL, steps: int = 2) -> str:
        backend = load_backend(DATA / "base", base_model)
        files, entries = read_manifest(manifest)
        data = GateData(backend, files, entries, sets=1, images=1, size=32)
        return data.training(steps, 0.1, 1).trained_on

    known = trained_on(manifest)
    copied = copytree(manifest.parent, manifest.parent / "copied") / manifest.name
    assert trained_on(copied) == known
    others = {known, trained_on(manifest, steps=3), trained_on(manifest, "flux.1-dev")}
    Image.new("RGB", (40, 40), "red").save(copied.with_name("0.png"))
    others.add(trained_on(copied))
    rows = json.loads(manifest.read_text())
    rows[0]["images"][0]["prompt"] = "another"
    manifest.write_text(json.dumps(rows))
    others.add(trained_on(manifest))
    assert len(others) == 5


def work(rank: int, port: int, folder: Path) -> None:
    """Be one of the processes, as a launcher would start it."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(PROCESSES),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    workers = Workers.launched()
    torch.save(train(workers), folder / f"{rank}.pt")
    workers.wait()
    torch.distributed.destroy_process_group()


def train(workers: Workers) -> dict[str, Any]:
    """Train rivals for three steps on a random base; return their values and batches seen."""
    transformer = make_small_flux()
    loud = [
        make_weights(transformer, block_layers(transformer), seed=k, rank=2, scale=4.0)
        for k in range(3)
    ]
    seen = []

    def batch(step: int) -> GateBatch:
        seen.append(step)
        draw = torch.Generator().manual_seed(step)
        return GateBatch(
            latents=torch.randn(2, 4, 64, generator=draw),
            tokens=torch.randn(2, 3, 12, generator=draw),
            pooled=torch.randn(2, 12, generator=draw),
            image_ids=torch.zeros(4, 3),
            sets=torch.tensor([[0, 1], [1, 2]]),
            relevance=torch.rand(2, 2, generator=draw),
        )

    gates = RivalGates.for_transformer(transformer, BASE_MODEL)
    training = GateTraining(transformer, AdapterBank(loud), batch, 3, 0.05)
    train_gates(gates, training, workers=workers)
    return {"slope": gates.slope, "bias": gates.bias, "seen": seen}


def test_processes_learn_alike_from_batches_of_their_own(tmp_path: Path) -> None:
    """What each says is averaged: or else they would part at the first step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(work, (port, tmp_path), nprocs=PROCESSES)
    first, second = (torch.load(tmp_path / f"{k}.pt", weights_only=True) for k in range(PROCESSES))
    assert (first["seen"], second["seen"]) == ([0, 2, 4], [1, 3, 5])
    assert torch.equal(first["slope"], second["slope"])
    assert torch.equal(first["bias"], second["bias"])
    alone = train(Workers())
    assert not torch.equal(alone["bias"], first["bias"])
