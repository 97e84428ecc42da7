"""safetensors of an unknown author -> LoraWeights with a verdict, or a typed refusal."""

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from encoder.base_models import Claim, decide_base_model, find_family, match_family
from encoder.errors import BadWeightsError, LoraFileError, UnsupportedLoraError
from encoder.kohya import to_diffusers
from encoder.layers import Layer, LoraLayer
from encoder.lora_keys import KeyPlan, LayerKeys, plan_layers
from encoder.lora_metadata import (
    claimed_base_model,
    find_trainer,
    metadata_scales,
    trigger_words,
)
from encoder.safetensors_header import Header, read_header

# To be changed with what is read or refused: files are then read again, refused ones too.
READER_VERSION = "reader-1"

WEIGHT_DTYPES = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")
# Trainers offer ranks up to a few hundred; beyond this a "LoRA" is a full matrix or an attack.
MAX_RANK = 4096
# Longer metadata values (tag counts, thumbnails) are read but not kept.
MAX_METADATA_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file is and what can be done with it, for a person and for a program."""

    format: str
    trainer: str | None
    base_model: str
    evidence: tuple[str, ...]  # how the base model is known
    ranks: tuple[int, int, int]  # smallest, median, largest
    layers: int
    missing: int  # layers of the base's blocks that the adapter leaves alone
    zero_layers: tuple[str, ...]
    unused: int  # tensors of text encoders, left out
    dtype: str
    loadable: bool
    fusable: bool
    reasons: tuple[str, ...]  # why not fusable, or what to know

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON's types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """An adapter read; layers are named as in diffusers, relative to the transformer or unet."""

    layers: dict[str, Layer]
    base_model: str
    trigger_words: tuple[str, ...]
    trainer: str | None
    metadata: dict[str, str]
    verdict: Verdict


def read(path: str | Path) -> LoraWeights:
    """Read an adapter. Tensors keep their dtype and stay on disk until used.

    Raises:
        LoraFileError: the file cannot be used; the subclass and text say why.
    """
    path = Path(path)
    header = read_header(path)
    plan = plan_layers(path, header.tensors)
    _check_shapes(path, header, plan)
    ranks = {name: header.tensors[keys.down].shape[0] for name, keys in plan.layers.items()}
    scales = metadata_scales(path, header.metadata, plan.prefix, ranks)
    try:
        with safe_open(path, framework="pt") as file:
            layers = dict(_read_layers(path, file, plan, scales))
    except (SafetensorError, OSError) as error:
        raise LoraFileError(path, f"cannot be read: {error}") from error
    verdict = _judge(header, plan, layers)
    return LoraWeights(
        layers=layers,
        base_model=verdict.base_model,
        trigger_words=trigger_words(header.metadata),
        trainer=verdict.trainer,
        metadata={k: v for k, v in header.metadata.items() if len(v) <= MAX_METADATA_CHARACTERS},
        verdict=verdict,
    )


def _check_shapes(path: Path, header: Header, plan: KeyPlan) -> None:
    for layer in plan.layers.values():
        down, up = header.tensors[layer.down], header.tensors[layer.up]
        for tensor in (down, up):
            if tensor.dtype not in WEIGHT_DTYPES:
                raise BadWeightsError(path, f"layer {layer.module} is stored as {tensor.dtype}")
        if len(down.shape) != 2 or len(up.shape) != 2:
            raise UnsupportedLoraError(
                path, f"layer {layer.module} is not linear: {down.shape}, {up.shape}"
            )
        (rank, d_in), (d_out, up_rank) = down.shape, up.shape
        if rank != up_rank or 0 in (rank, d_in, d_out):
            raise BadWeightsError(
                path, f"layer {layer.module} does not multiply: {up.shape} by {down.shape}"
            )
        if rank > min(MAX_RANK, max(d_in, d_out)):
            raise BadWeightsError(
                path, f"layer {layer.module} ({d_in}->{d_out}) has the absurd rank {rank}"
            )
        if layer.alpha and math.prod(header.tensors[layer.alpha].shape) != 1:
            raise BadWeightsError(path, f"alpha of layer {layer.module} is not one number")


def _read_layers(
    path: Path, file: Any, plan: KeyPlan, scales: Mapping[str, float]
) -> Iterator[tuple[str, Layer]]:
    seen = set()
    for keys in plan.layers.values():
        down, up = _read_matrix(path, file, keys.down), _read_matrix(path, file, keys.up)
        scale = _scale(path, file, keys, scales, down.shape[0])
        pairs = {keys.module: (down, up)}
        if plan.dialect == "kohya-flux":
            pairs = to_diffusers(path, keys.module, down, up)
        for name, (a, b) in pairs.items():
            if name in seen:
                raise UnsupportedLoraError(path, f"two sets of tensors stand for layer {name}")
            seen.add(name)
            yield name, LoraLayer(a, b, scale)


def _read_matrix(path: Path, file: Any, key: str) -> Tensor:
    tensor: Tensor = file.get_tensor(key)
    if tensor.dtype.itemsize == 1:
        tensor = tensor.float()  # float8 has no arithmetic on a CPU
    # One pass without a temporary: the sum is NaN or infinite exactly when an entry is,
    # for sums in float64 of what fits float32.
    if not math.isfinite(tensor.sum(dtype=torch.float64).item()):
        raise BadWeightsError(path, f"{key} holds NaN or infinity")
    return tensor


def _scale(path: Path, file: Any, keys: LayerKeys, scales: Mapping[str, float], rank: int) -> float:
    """alpha / rank; 1 where no alpha is known, as every trainer means it."""
    scale = scales.get(keys.module, 1.0)
    if keys.alpha:
        scale = float(file.get_tensor(keys.alpha).item()) / rank
    if not math.isfinite(scale):
        raise BadWeightsError(path, f"layer {keys.module} has the scale {scale}")
    return scale


def _judge(header: Header, plan: KeyPlan, layers: Mapping[str, Layer]) -> Verdict:
    base_model, evidence = _tell_base_model(header, layers)
    family = find_family(base_model)
    reasons = []
    if family is None:
        reasons.append("the base model is not known for certain")
    if plan.text_encoder:
        count = len(plan.text_encoder)
        reasons.append(f"{count} tensors change a text encoder, which is not done here")
    zero = tuple(name for name, layer in layers.items() if _is_zero(layer))
    if zero:
        reasons.append(f"{len(zero)} of {len(layers)} layers are zero")
    ranks = sorted(layer.rank for layer in layers.values())
    touched = set(layers) & set(family.block_layers) if family else set()
    return Verdict(
        format=plan.dialect,
        trainer=find_trainer(header.metadata),
        base_model=base_model,
        evidence=evidence,
        ranks=(ranks[0], int(statistics.median_low(ranks)), ranks[-1]),
        layers=len(layers),
        missing=len(family.block_layers) - len(touched) if family else 0,
        zero_layers=zero,
        unused=len(plan.text_encoder),
        dtype="+".join(sorted({header.tensors[k.down].dtype for k in plan.layers.values()})),
        loadable=True,
        fusable=family is not None and not plan.text_encoder and len(zero) < len(layers),
        reasons=tuple(reasons),
    )


def _tell_base_model(header: Header, layers: Mapping[str, Layer]) -> tuple[str, tuple[str, ...]]:
    """Names and shapes first, then the metadata's claim; a contradiction is "unknown"."""
    shapes = {name: (part.shape[0], part.shape[1]) for name, part in layers.items()}
    claim, text = claimed_base_model(header.metadata)
    return decide_base_model(match_family(shapes), [Claim(claim, text)] if text else [])


def _is_zero(layer: Layer) -> bool:
    return layer.scale == 0 or not all(part.any() for part in layer.tensors())
