"""What trainers call the modules of a base model -> diffusers' names of its layers.

key_parts.py finds the module in a tensor's name; where it is unknown here, the file does not fit.
Each convention is a table of templates (name_tables.py), applied to every family that has the
modules named: so it works at all sizes, and nothing is said about layers that a family lacks.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from encoder.adapter.name_tables import CONVENTIONS, SWAPPED
from encoder.base_models.families import Family, kind_of_name


@dataclass(frozen=True, slots=True)
class Target:
    """The modules that a name stands for, in the order of its outputs."""

    modules: tuple[str, ...]
    convention: str
    # (shift, scale) of a modulation, which diffusers has as (scale, shift).
    swapped: bool = False


INDEX = re.compile(r"(?<=\.)\d+(?=\.)")

# CompVis' UNet ("sgm", "ldm"): what a block of it is called, by diffusers' name of it.
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip


@lru_cache(maxsize=256)
def targets_of(family: Family, flat: bool) -> Mapping[str, Target]:
    """Return every name that a module of `family` goes by; `flat` with underscores for dots."""
    known = _name_modules(module_shapes(family))
    if flat:
        return {name.replace(".", "_"): target for name, target in known.items()}
    return known


def knows_most(family: Family, kinds: Mapping[str, int], flat: bool) -> bool:
    """Return whether at least half of a file's modules have names in `family`, but for numbers.

    `kinds` are counted by `kind_of_name`. Most families know none, which is told without
    writing out all of their names.
    """
    known = _known_kinds(family, flat)
    return 2 * sum(count for kind, count in kinds.items() if kind in known) >= sum(kinds.values())


@lru_cache(maxsize=256)
def _known_kinds(family: Family, flat: bool) -> frozenset[str]:
    names = _name_modules(
        {
            name.removesuffix(".weight"): shape
            for name, shape in family.first_parameters.items()
            if name.endswith(".weight")
        }
    )
    return frozenset(kind_of_name(name.replace(".", "_") if flat else name) for name in names)


@cache
def module_shapes(family: Family) -> Mapping[str, tuple[int, ...]]:
    """Return the weight's shape of every module that an adapter may change, norms included."""
    norms = {
        name.removesuffix(".weight"): (length,)
        for name, length in family.vectors.items()
        if name.endswith(".weight")
    }
    return {**norms, **family.layers, **family.convolutions}


def _name_modules(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Target]:
    known = {**_by_templates(shapes), **_by_unet(shapes)}
    known.update({name: Target((name,), "diffusers") for name in shapes})
    return known


def _by_templates(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Target]:
    blocks: dict[str, set[int]] = {}
    for name in shapes:
        if number := INDEX.search(name):
            blocks.setdefault(name[: number.start() - 1], set()).add(int(number[0]))
    known = {}
    listed = "\n".join(("", *shapes))
    for convention, (needed, templates) in CONVENTIONS.items():
        if not all(f"\n{start}" in listed for start in needed):
            continue
        for alias, parent, modules in templates:
            swapped = modules[0].startswith(SWAPPED)
            for i in _numbers(alias, blocks.get(parent.partition(".{")[0], set())):
                names = tuple(
                    parent.format(i=i, last=i) + module.removeprefix(SWAPPED) for module in modules
                )
                if all(name in shapes for name in names):
                    known[alias.format(i=i, last=i)] = Target(names, convention, swapped)
    return known


def _numbers(alias: str, blocks: Collection[int]) -> Iterable[int]:
    """Return the numbers of the blocks that a template is for."""
    if "{last}" in alias:
        return (max(blocks, default=0),)
    return sorted(blocks) if "{i}" in alias else (0,)


def _by_unet(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Target]:
    """CompVis' names count blocks through, where diffusers' have blocks within blocks."""
    if "conv_in" not in shapes:
        return {}
    # How many residual blocks each block has.
    resnets = Counter(
        name[: -len(".conv1")].rpartition(".")[0] for name in shapes if name.endswith(".conv1")
    )
    known = {}
    for name in shapes:
        known[_compvis_name(name, resnets, shapes)] = Target((name,), "sgm")
        # diffusers' attention processors of old: "….attn1.processor.to_q_lora".
        attention, _, side = name.partition(".to_")
        if side and attention.endswith(("attn1", "attn2")):
            alias = f"{attention}.processor.to_{side.removesuffix('.0')}_lora"
            known[alias] = Target((name,), "diffusers")
    return known


def _compvis_name(
    name: str, resnets: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    if name in UNET_ENDS:
        return UNET_ENDS[name]
    part, *rest = name.split(".")
    if part == "mid_block":
        kind, number, *inner = rest
        middle = 1 if kind == "attentions" else 2 * int(number)
        return f"middle_block.{middle}.{_compvis_inner(kind, inner)}"
    if part not in ("down_blocks", "up_blocks"):
        # Only diffusers has it, as Kolors' `encoder_hid_proj`.
        return name
    block, kind, number, *inner = rest
    layers = resnets[f"{part}.{block}.resnets"]
    if part == "down_blocks":
        first = 1 + int(block) * (layers + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + layers}.0.op"
        place = f"input_blocks.{first + int(number)}"
    else:
        first = int(block) * layers
        attends = f"{part}.{block}.attentions.0.proj_in" in shapes
        if kind == "upsamplers":
            return f"output_blocks.{first + layers - 1}.{1 + attends}.conv"
        place = f"output_blocks.{first + int(number)}"
    return f"{place}.{int(kind == 'attentions')}.{_compvis_inner(kind, inner)}"


def _compvis_inner(kind: str, inner: list[str]) -> str:
    return ".".join(RESNET.get(part, part) if kind == "resnets" else part for part in inner)
