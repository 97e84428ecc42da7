"""Time DiffSynth-Studio's encoder of LoRAs on an adapter; run by its own interpreter.

Its weights are random, since time does not depend on them. It knows fused layers: q, k and v
(and the MLP's input in single blocks) become one product of higher rank, exactly. Reading the
file and fusing are not timed, nor is loading the encoder. The interpreter needs torch,
safetensors, numpy, einops, and diffsynth without its dependencies.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import load_file
from torch import Tensor

TURNS = 2
DOUBLE = {
    "attn.a_to_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "attn.a_to_out": ("attn.to_out.0",),
    "ff_a.0": ("ff.net.0.proj",),
    "ff_a.2": ("ff.net.2",),
    "norm1_a.linear": ("norm1.linear",),
    "attn.b_to_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "attn.b_to_out": ("attn.to_add_out",),
    "ff_b.0": ("ff_context.net.0.proj",),
    "ff_b.2": ("ff_context.net.2",),
    "norm1_b.linear": ("norm1_context.linear",),
}
SINGLE = {
    "to_qkv_mlp": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "proj_out": ("proj_out",),
    "norm.linear": ("norm.linear",),
}


def load_module() -> ModuleType:
    """Load the one file: the package's start imports far more."""
    package = importlib.util.find_spec("diffsynth")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("this interpreter has no diffsynth: pip install --no-deps diffsynth")
    path = Path(package.submodule_search_locations[0]) / "models/flux_lora_encoder.py"
    spec = importlib.util.spec_from_file_location("flux_lora_encoder", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fuse(tensors: dict[str, Tensor], stems: list[str]) -> tuple[Tensor, Tensor]:
    """Return (down, up) of layers side by side: their outputs one after another."""
    down = torch.cat([tensors[f"{stem}.lora_A.weight"].float() for stem in stems])
    up = torch.block_diag(*(tensors[f"{stem}.lora_B.weight"].float() for stem in stems))
    return down, up


def convert(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name the adapter's layers as DiffSynth does."""
    converted = {}
    for blocks, ours, names, count in (
        ("blocks", "transformer_blocks", DOUBLE, 19),
        ("single_blocks", "single_transformer_blocks", SINGLE, 38),
    ):
        for index in range(count):
            for name, parts in names.items():
                stems = [f"transformer.{ours}.{index}.{part}" for part in parts]
                down, up = fuse(tensors, stems)
                converted[f"{blocks}.{index}.{name}.lora_A.weight"] = down
                converted[f"{blocks}.{index}.{name}.lora_B.weight"] = up
    return converted


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    adapter = convert(load_file(sys.argv[1]))
    encoder = load_module().FluxLoRAEncoder().eval()
    seconds = []
    for _ in range(TURNS):
        started = time.process_time()
        encoder(adapter)
        seconds.append(time.process_time() - started)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    print(json.dumps({"seconds": min(seconds), "parameters": parameters}))


if __name__ == "__main__":
    main()
