"""Recipes in the words of other programs: they run there, or are what is opened there."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import save_file

from encoder.adapter.lora_file import LoraWeights
from registry.blobs import hash_file
from registry.fusion.backends.pipeline import PipelineBackend, load_backend
from registry.fusion.comfyui import PORTS
from registry.fusion.errors import ExportError
from registry.fusion.exports import NOTE, export, file_names
from registry.fusion.fused_image import FusedImage
from registry.fusion.generate import generate
from registry.fusion.loaded_adapter import LoadedAdapter
from registry.fusion.options import Drawing
from registry.fusion.recipe import Recipe
from tests.registry.fusion.builders import block_layers, make_weights, save_tiny_flux


def save_peft(weights: LoraWeights, path: Path) -> str:
    tensors = {
        f"transformer.{layer}.lora_{side}.weight": tensor.contiguous()
        for layer, change in weights.layers.items()
        for side, tensor in zip(
            "AB", (change.factors()[0], change.factors()[1] * change.scale), strict=True
        )
    }
    save_file(tensors, path)
    return hash_file(path)


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PipelineBackend]:
    folder = tmp_path_factory.mktemp("flux")
    save_tiny_flux(folder, torch.float32)
    return folder, load_backend(folder, "flux.1-dev")


@pytest.fixture(scope="module")
def fused(
    flux: tuple[Path, PipelineBackend], tmp_path_factory: pytest.TempPathFactory
) -> tuple[FusedImage, Path]:
    """An image by plain addition, and the folder of its adapters under the expected names."""
    folder, backend = tmp_path_factory.mktemp("adapters"), flux[1]
    adapters = []
    for k, name in enumerate(("Red fox!", "水彩")):
        layers = block_layers(backend.transformer)
        weights = make_weights(backend.transformer, layers, seed=k, base_model="flux.1-dev")
        sha256 = save_peft(weights, folder / "new")
        adapters.append(LoadedAdapter(name, sha256, weights, strength=0.5 + k / 4, id=k))
        (folder / "new").rename(folder / f"{sha256}.safetensors")
    drawn = generate(
        "red apple", adapters, backend, None, Drawing(mode="sum", steps=2, seed=3, size=(16, 16))
    )
    for sha256, name in file_names(drawn.recipe).items():
        (folder / f"{sha256}.safetensors").rename(folder / f"{name}.safetensors")
    return drawn, folder


def test_the_diffusers_script_draws_the_same_image(
    flux: tuple[Path, PipelineBackend], fused: tuple[FusedImage, Path], tmp_path: Path
) -> None:
    """Where the recipe adds up plainly; PEFT does the rest."""
    drawn, folder = fused
    script = tmp_path / "draw.py"
    script.write_text(export(drawn.recipe, "diffusers"))
    out = tmp_path / "out.png"
    words = ["--base", str(flux[0]), "--adapters", str(folder), "--output", str(out)]

    done = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    with Image.open(out) as image:
        difference = ImageChops.difference(image, drawn.image).getextrema()
    assert max(high for _, high in difference) <= 2  # type: ignore[misc]
    assert NOTE in script.read_text()


def test_the_prompt_of_a1111_names_files_and_strengths(fused: tuple[FusedImage, Path]) -> None:
    recipe = fused[0].recipe
    lines = export(recipe, "a1111").splitlines()
    found = re.findall(r"<lora:([^:>]+):([^:>]+)>", lines[0])
    assert lines[0].startswith("red apple <lora:Red-fox-")
    assert [strength for _, strength in found] == ["0.5", "0.75"]
    assert {name for name, _ in found} == set(file_names(recipe).values())
    assert lines[-1] == (
        "Steps: 2, Sampler: Euler, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 3, Size: 16x16"
    )


def test_an_average_divides_the_strengths(fused: tuple[FusedImage, Path]) -> None:
    recipe = fused[0].recipe.model_copy(update={"mode": "average", "negative_prompt": "blue"})
    text = export(recipe, "a1111")
    assert re.findall(r":([\d.]+)>", text) == ["0.25", "0.375"]
    assert "Negative prompt: blue" in text


def check_workflow(flow: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Every link joins an output with an input of its type, and every input is linked."""
    nodes = {node["id"]: node for node in flow["nodes"]}
    assert len(nodes) == len(flow["nodes"])
    assert flow["last_node_id"] == max(nodes)
    ends = set()
    for id_, source, slot, target, place, type_ in flow["links"]:
        output, input_ = nodes[source]["outputs"][slot], nodes[target]["inputs"][place]
        assert output["type"] == input_["type"] == type_
        assert id_ in output["links"]
        assert input_["link"] == id_
        assert nodes[source]["order"] < nodes[target]["order"]
        ends.add((target, place))
    by_type: dict[str, list[dict[str, Any]]] = {}
    for node in flow["nodes"]:
        assert all((node["id"], place) in ends for place in range(len(node["inputs"])))
        assert [port["name"] for port in node["inputs"]] == list(PORTS[node["type"]][0])
        by_type.setdefault(node["type"], []).append(node)
    return by_type


@pytest.mark.parametrize(
    ("name", "backend", "loader"),
    [
        ("flux.1-dev", "flux", "DualCLIPLoader"),
        ("flux.1-schnell", "flux", "DualCLIPLoader"),
        ("sdxl-1.0", "sdxl", "CheckpointLoaderSimple"),
        ("sd-1.5", "sd", "CheckpointLoaderSimple"),
        ("qwen-image", "qwen-image", "CLIPLoader"),
    ],
)
def test_the_workflow_of_comfyui_chains_the_adapters(
    fused: tuple[FusedImage, Path], name: str, backend: str, loader: str
) -> None:
    recipe: Recipe = fused[0].recipe
    base = recipe.base.model_copy(update={"name": name, "backend": f"diffusers-{backend}"})
    nodes = check_workflow(json.loads(export(recipe.model_copy(update={"base": base}), "comfyui")))
    first, second = nodes["LoraLoader"]
    files = [f"{file}.safetensors" for file in file_names(recipe).values()]
    assert first["widgets_values"] == [files[0], 0.5, 0.0]
    assert second["widgets_values"] == [files[1], 0.75, 0.0]
    assert second["inputs"][0]["link"] in first["outputs"][0]["links"]
    assert loader in nodes
    assert nodes["KSampler"][0]["widgets_values"][:3] == [3, "fixed", 2]
    assert nodes["Note"][0]["widgets_values"] == [NOTE]
    assert ("FluxGuidance" in nodes) == (name == "flux.1-dev")


def test_bases_without_text_encoders_are_drawn_nowhere_else(
    fused: tuple[FusedImage, Path],
) -> None:
    recipe = fused[0].recipe
    base = recipe.base.model_copy(update={"name": "demo-flux-tiny", "files": {}})
    with pytest.raises(ExportError, match="no text encoders"):
        export(recipe.model_copy(update={"base": base}), "diffusers")
    with pytest.raises(ExportError, match="none of diffusers, a1111, comfyui"):
        export(recipe, "photoshop")
