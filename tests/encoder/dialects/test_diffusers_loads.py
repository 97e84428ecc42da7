"""diffusers loads a file into a network with the changes that are read here, alpha included."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from encoder.adapter.lora_file import read
from encoder.base_models.families import FAMILIES
from tests.encoder.builders import write_tensors
from tests.encoder.dialects.networks import families, linear_shapes, network_of

Tensors = dict[str, Tensor]
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


def write(folder: Path, stem: str, down: str, up: str, metadata: dict[str, str]) -> Path:
    generator = torch.Generator().manual_seed(0)
    tensors: Tensors = {}
    for name, (outputs, inputs) in linear_shapes("sd-1.5").items():
        if name.endswith(PROJECTIONS):
            tensors[f"{stem}{name}.{down}.weight"] = torch.randn(2, inputs, generator=generator)
            tensors[f"{stem}{name}.{up}.weight"] = torch.randn(outputs, 2, generator=generator)
    return write_tensors(folder / "x.safetensors", tensors, metadata)


def fused(network: Any) -> Tensors:
    """What an adapter adds to a network's weights."""
    before = {name: weight.clone() for name, weight in _weights(network)}
    network.fuse_lora()
    after = dict(_weights(network))
    return {name: after[name] - weight for name, weight in before.items()}


def _weights(network: Any) -> list[tuple[str, Tensor]]:
    return [
        (name.removesuffix(".base_layer.weight"), weight.detach())
        for name, weight in network.named_parameters()
        if name.endswith(".base_layer.weight")
    ]


# PEFT says so where it is given no name of a model.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("written", ["save_lora_adapter", "save_lora_weights"])
def test_every_layer_changes_as_read(tmp_path: Path, written: str) -> None:
    from diffusers import StableDiffusionPipeline

    network = copy.deepcopy(network_of("sd-1.5"))
    if written == "save_lora_adapter":
        config = {"r": 2, "lora_alpha": 8, "target_modules": list(PROJECTIONS)}
        metadata = {"lora_adapter_metadata": json.dumps(config)}
        path = write(tmp_path, "", "lora_A", "lora_B", metadata)
        network.load_lora_adapter(str(tmp_path), weight_name=path.name, prefix=None)
    else:
        path = write(tmp_path, "unet.", "lora.down", "lora.up", {})
        state, alphas = StableDiffusionPipeline.lora_state_dict(
            str(tmp_path), weight_name=path.name
        )
        StableDiffusionPipeline.load_lora_into_unet(state, network_alphas=alphas, unet=network)

    weights = read(path, (*FAMILIES, *families()))

    theirs = fused(network)
    assert theirs.keys() == weights.layers.keys()
    for name, layer in weights.layers.items():
        assert layer.scale == (4 if written == "save_lora_adapter" else 1)
        torch.testing.assert_close(layer.delta(), theirs[name], atol=1e-5, rtol=1e-4)
