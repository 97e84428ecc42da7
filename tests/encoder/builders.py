"""Adapters for tests: real files of the tiny base's shapes, with made-up numbers."""

import json
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from encoder.base_models.families import Family, find_family

Factors = dict[str, tuple[Tensor, Tensor]]

found = find_family("demo-flux-tiny")
assert found is not None
TINY: Family = found
TINY_METADATA = {"ss_base_model_version": "demo-flux-tiny"}


def make_factors(
    seed: int = 0, *, rank: int = 2, names: Iterable[str] | None = None, family: Family = TINY
) -> Factors:
    """Random (A, B) for the named layers, or for every block layer."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for name in family.block_layers if names is None else names:
        d_out, d_in = family.layers[name]
        down = torch.randn(rank, d_in, generator=generator) / d_in**0.5
        factors[name] = (down, 0.1 * torch.randn(d_out, rank, generator=generator))
    return factors


def write_adapter(
    path: Path,
    factors: Factors | None = None,
    *,
    dtype: torch.dtype = torch.float16,
    metadata: Mapping[str, str] = TINY_METADATA,
    prefix: str = "transformer.",
    infix: str = "",
) -> Path:
    """Write factors as PEFT and diffusers do."""
    tensors = {}
    for name, (down, up) in (make_factors() if factors is None else factors).items():
        tensors[f"{prefix}{name}.lora_A{infix}.weight"] = down.to(dtype).contiguous()
        tensors[f"{prefix}{name}.lora_B{infix}.weight"] = up.to(dtype).contiguous()
    return write_tensors(path, tensors, metadata)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] = TINY_METADATA
) -> Path:
    save_file(dict(tensors), path, metadata=dict(metadata))
    return path


def write_header(path: Path, header: Any, data: bytes = b"") -> Path:
    """Write any header before `data`; one that is bytes goes in as it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@cache
def planted_directions(index: int, latents: int) -> tuple[Tensor, Tensor]:
    """One layer's (down, ups): what each latent adds to its ΔW, the same in every adapter."""
    d_out, d_in = list(TINY.block_layers.values())[index]
    generator = torch.Generator().manual_seed(1000 + index)
    down = torch.randn(4, d_in, generator=generator) / d_in**0.5
    return down, torch.randn(latents, d_out, 4, generator=generator) / d_out**0.5


def planted_factors(latent: np.ndarray[Any, Any], seed: int, *, noise: float = 0.5) -> Factors:
    """Factors whose ΔW is linear in `latent`, plus noise: what an encoder can learn."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for index, (name, (d_out, _)) in enumerate(TINY.block_layers.items()):
        down, ups = planted_directions(index, len(latent))
        up = torch.tensordot(torch.from_numpy(latent).float(), ups, 1)
        up = up + noise * torch.randn(d_out, 4, generator=generator) / d_out**0.5
        # Another basis each time: only the product means anything.
        basis = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
        factors[name] = (basis @ down, up @ basis.T)
    return factors
