"""Tensors of a file -> layers of a base model: what names, shapes and claims tell.

Files that one program wrote alike differ in their numbers only. So what their headers tell is
found out once for all of them, on tensors without numbers, and kept for a while.
"""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

from encoder.adapter.alpha import (
    IN_METADATA,
    NETWORK_ALPHA,
    NO_ALPHA,
    Alpha,
    alpha_notes,
    check_base,
    check_magnitudes,
    find_alpha,
    find_config,
    find_network_alpha,
)
from encoder.adapter.assemble import Parts, assemble
from encoder.adapter.convert import Outcome, convert
from encoder.adapter.header_tensor import HeaderTensor
from encoder.adapter.key_parts import KeyPlan, plan_layers
from encoder.adapter.layers import Layer, LoraLayer
from encoder.adapter.peft_config import parse_config
from encoder.adapter.refused_kinds import refuse_kinds
from encoder.adapter.safetensors_header import Header, TensorInfo
from encoder.base_models.families import Family
from encoder.base_models.matching import Claim
from encoder.errors import BadWeightsError, LoraFileError, UnsupportedLoraError
from encoder.late_torch import Tensor

# What weights are stored as, by safetensors' names.
DTYPES = {"F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"}
# Text encoders' layers that take the encoder's own width.
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "SelfAttention_q", "SelfAttention.q")
# What a prefix says of the file's format; the first that it begins with counts.
FORMATS = {
    "lora_unet_": "kohya", "lora_transformer_": "onetrainer", "lycoris_": "lycoris",
    "cloneofsimo.": "cloneofsimo", "diffusion_model.": "comfyui",
    "model.diffusion_model.": "comfyui",
}  # fmt: skip
# What diffusers calls a network that has the layers of another -> the base model that has it.
NETWORKS = {"transformer_ref.": "minimax-h3-ref2va"}
# What a network has besides the layers of another -> the base model that it is.
ADDED_LAYERS = {"nerf_": "chroma-radiance"}
# The slot of a table of modulations, and the axes of a kernel over time.
TABLE, OVER_TIME = "diff_m", 5
# The parts of a header's metadata that say something of its tensors.
TELLING = ("lora_adapter_metadata", NETWORK_ALPHA)
# How many kinds of files are remembered, of so many tensors at most. One of FLUX.1 has up to 1,500
# and takes half a megabyte.
REMEMBERED, MOST_TENSORS = 16, 4096
# Downloads of one kind begin together: one of them places it, the others wait for that.
_PLACING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of a file: by whom it is claimed to be what, and PEFT's config beside it."""

    families: tuple[Family, ...]  # that are read
    claims: tuple[Claim, ...] = ()
    peft_config: str = ""  # as it is written
    trouble: str = ""  # why a config that is there cannot be read


@dataclass(frozen=True, slots=True)
class Placed:
    """The layers of a file, and how it is written."""

    outcome: Outcome
    format: str
    alpha: str  # the rule that scales follow
    alphas: tuple[float, ...]  # of every layer whose alpha is known
    config: str  # where PEFT's config stands that all alphas are from, or ""
    dtype: str
    parts: Mapping[str, int]  # that are left out
    notes: tuple[str, ...]


def place_tensors(
    file: str | Path, header: Header, get: Callable[[str], Tensor], said: Said
) -> Placed:
    """Find out what a file holds; `get` reads a tensor by its name in the file.

    Raises:
        LoraFileError: the file is no adapter, or of a kind that is not read.
    """
    alike = _find_alike(header, said)
    placed = alike.fill(get) if alike is not None else None
    return placed or _place(file, header, get, said)[0]


def place_header(file: str | Path, header: Header, said: Said) -> Placed:
    """Find out what a file holds by its header: its layers have no numbers.

    Raises:
        LoraFileError: as `place_tensors`.
    """
    alike = _find_alike(header, said)
    return alike.placed if alike else _place(file, header, _without_numbers(header), said)[0]


class PlainLayer(NamedTuple):
    """Where the numbers of a plain LoRA's layer are: keys of its file."""

    name: str
    down: str
    up: str
    rank: int
    scale: float  # NaN where a tensor tells it
    alpha: str  # that tensor's key


@dataclass(frozen=True, slots=True)
class Alike:
    """What files alike have in common: their layers without numbers."""

    placed: Placed
    layers: tuple[PlainLayer, ...]

    def fill(self, get: Callable[[str], Tensor]) -> Placed | None:
        """Return the layers of one of the files; None where its numbers need a closer look."""
        layers: dict[str, Layer] = {}
        alphas = list(self.placed.alphas)
        for name, down, up, rank, scale, key in self.layers:
            if math.isnan(scale):
                alphas.append(float(get(key).item()))
                scale = alphas[-1] / rank
                if not math.isfinite(scale):
                    return None
            layers[name] = LoraLayer(get(down), get(up), scale)
        outcome = self.placed.outcome
        outcome = replace(outcome, conversion=replace(outcome.conversion, layers=layers))
        return replace(self.placed, outcome=outcome, alphas=tuple(alphas))


def _find_alike(header: Header, said: Said) -> Alike | None:
    if len(header.tensors) > MOST_TENSORS:
        return None
    signature = tuple((key, info.dtype, info.shape) for key, info in header.tensors.items())
    with _PLACING:
        told = tuple((key, header.metadata[key]) for key in TELLING if key in header.metadata)
        return find_alike(signature, told, said)


@lru_cache(maxsize=REMEMBERED)
def find_alike(
    signature: tuple[tuple[str, str, tuple[int, ...]], ...],
    told: tuple[tuple[str, str], ...],
    said: Said,
) -> Alike | None:
    """Return what files of these tensors share, if they are plain LoRAs; None for all others.

    `signature` are names, types and shapes, `told` what their metadata says of them.
    """
    tensors = {key: TensorInfo(dtype, shape, 0, 0) for key, dtype, shape in signature}
    header = Header(tensors, dict(told), 0)
    try:
        placed, plan = _place("", header, _without_numbers(header), said)
    except LoraFileError:
        # Said with the file's name by whoever looks at it alone.
        return None
    conversion = placed.outcome.conversion
    # Layers that are there twice are compared by their numbers.
    if conversion.vectors or conversion.notes:
        return None
    alphas = {slots.get("down", ""): slots.get("alpha", "") for slots in plan.modules.values()}
    layers = []
    for name, layer in conversion.layers.items():
        if not isinstance(layer, LoraLayer) or not _is_whole(layer):
            return None
        down, up = cast("HeaderTensor", layer.down), cast("HeaderTensor", layer.up)
        alpha = alphas[down.key]
        layers.append(PlainLayer(name, down.key, up.key, len(down), layer.scale, alpha))
    return Alike(placed, tuple(layers))


def _is_whole(layer: LoraLayer) -> bool:
    """Whether a layer is two tensors of its file as they are."""
    parts = (cast("HeaderTensor", part) for part in (layer.down, layer.up))
    return layer.mid is None and all(part.key for part in parts)


def _without_numbers(header: Header) -> Callable[[str], Tensor]:
    return lambda key: cast("Tensor", HeaderTensor(header.tensors[key].shape, key))


def _place(
    file: str | Path, header: Header, get: Callable[[str], Tensor], said: Said
) -> tuple[Placed, KeyPlan]:
    refuse_kinds(file, header.tensors, [claim.base_model for claim in said.claims])
    plan = plan_layers(file, header.tensors)
    _leave_out_unplaced(file, header, plan)
    _check_dtypes(file, header, plan)
    beside, trouble = None, said.trouble
    try:
        beside = parse_config(said.peft_config) if said.peft_config else None
    except ValueError as error:
        trouble = str(error)
    config, place = find_config(file, header, plan, beside)
    alpha = find_alpha(file, header, plan, config, place)
    parts = _assemble(file, plan, get, alpha)
    check_magnitudes(file, plan, config)
    check_base(file, config)
    widths = _text_widths(header, plan)
    claims = (*said.claims, *_claimed_by_names(plan))
    outcome = convert(file, plan, parts, said.families, claims, widths)
    network_alpha = find_network_alpha(outcome.family, header.metadata)
    if network_alpha and alpha.rule == NO_ALPHA:
        # Which family it is, its layers have to tell first.
        alpha = find_alpha(file, header, plan, network_alpha, IN_METADATA)
        parts = _assemble(file, plan, get, alpha)
        outcome = convert(file, plan, parts, said.families, claims, widths)
    keys = [key for slots in plan.modules.values() for s, key in slots.items() if s != "alpha"]
    placed = Placed(
        outcome,
        format=_name_format(plan, outcome),
        alpha=alpha.rule,
        alphas=tuple(part.alpha for part in parts.values() if part.alpha is not None),
        config=alpha.config,
        dtype="+".join(sorted({header.tensors[key].dtype for key in keys})),
        parts=dict(sorted(plan.parts.items())),
        notes=alpha_notes(plan, alpha, trouble),
    )
    return placed, plan


def _claimed_by_names(plan: KeyPlan) -> list[Claim]:
    networks = [
        Claim(base_model, f"its layers' names begin with {prefix!r}")
        for prefix, base_model in NETWORKS.items()
        if plan.prefix.endswith(prefix)
    ]
    added = [
        Claim(base_model, f"it has layers whose names begin with {start!r}")
        for start, base_model in ADDED_LAYERS.items()
        if any(plan.name_of(module)[0].startswith(start) for module in plan.modules)
    ]
    return networks + added


def _assemble(
    file: str | Path, plan: KeyPlan, get: Callable[[str], Tensor], alpha: Alpha
) -> dict[str, Parts]:
    return {
        module: assemble(file, module, slots, get, alpha) for module, slots in plan.modules.items()
    }


def _leave_out_unplaced(file: str | Path, header: Header, plan: KeyPlan) -> None:
    """Take out of a plan what has no place among matrices, kernels of pictures and vectors.

    Distilled models of video come as differences of all that they have: of kernels over time
    and of tables of modulations ("diff_m") as well. Those are named, and the rest is read.
    """
    kept = {}
    for module, slots in plan.modules.items():
        if TABLE in slots:
            plan.strays += (f"{module}.{TABLE}",)
            slots = {slot: key for slot, key in slots.items() if slot != TABLE}
        if any(len(header.tensors[key].shape) == OVER_TIME for key in slots.values()):
            plan.strays += (module,)
        elif slots:
            kept[module] = slots
    if not kept:
        raise UnsupportedLoraError(file, "changes only kernels over time and modulations")
    plan.modules = kept


def _check_dtypes(file: str | Path, header: Header, plan: KeyPlan) -> None:
    for module, slots in plan.modules.items():
        for slot, key in slots.items():
            dtype = header.tensors[key].dtype
            # Some trainers write alpha as an integer.
            if dtype not in DTYPES and not (slot == "alpha" and dtype[0] in "IU"):
                raise BadWeightsError(file, f"layer {module} is stored as {dtype}")


def _text_widths(header: Header, plan: KeyPlan) -> set[int]:
    return {
        header.tensors[key].shape[1]
        for slot, key in plan.text
        if slot == "down"
        and len(header.tensors[key].shape) == 2
        and any(f"{name}." in key for name in TEXT_ATTENTION)
    }


def _name_format(plan: KeyPlan, outcome: Outcome) -> str:
    """Name how the file is written, by what its program is known for."""
    for prefix, known in FORMATS.items():
        if plan.prefix.startswith(prefix):
            return known
    convention = outcome.conversion.convention
    if convention in ("xlabs", "diffsynth"):
        return convention
    if convention == "omi":
        return "onetrainer"
    if convention == "bfl":
        return "fal" if plan.prefix.startswith("base_model.") else "bfl"
    return "peft"
