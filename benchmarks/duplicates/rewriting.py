"""An adapter's layers as plain factors, changed and written again."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from demo.listing import BASE_MODEL
from encoder.adapter.lora_file import LoraWeights

# Every layer has its (down, up) in float32, with every scale folded into up.
Factors = dict[str, tuple[Tensor, Tensor]]
METADATA = {"ss_base_model_version": BASE_MODEL}


def factors_of(weights: LoraWeights) -> Factors:
    found = {}
    for name, layer in weights.layers.items():
        down, up = layer.factors()
        found[name] = (down.float(), layer.scale * up.float())
    return found


def truncated(factors: Factors, rank: Callable[[int], int]) -> Factors:
    """Keep each layer's strongest directions: the SVD of its change, cut off."""
    found = {}
    for name, (down, up) in factors.items():
        kept = max(1, rank(len(down)))
        left, values, right = torch.linalg.svd(up @ down, full_matrices=False)
        found[name] = (right[:kept], left[:, :kept] * values[:kept])
    return found


def write_peft(path: Path, factors: Factors, dtype: torch.dtype) -> Path:
    """Write factors under the names that PEFT uses."""
    tensors = {}
    for name, (down, up) in factors.items():
        tensors[f"transformer.{name}.lora_A.weight"] = down.to(dtype).contiguous()
        tensors[f"transformer.{name}.lora_B.weight"] = up.to(dtype).contiguous()
    save_file(tensors, path, METADATA)
    return path
