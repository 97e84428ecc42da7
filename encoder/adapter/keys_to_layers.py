"""What trainers call the modules of a base model -> diffusers' names of its layers.

key_parts.py finds the module in a tensor's name; where it is unknown here, the file does not fit.
Each convention is a table of templates, applied to every family that has the modules named:
so it works at all sizes, and nothing is said about layers that a family lacks. The tables say
what diffusers' own converters do (a test runs those on every name), ahead of time, since
importing diffusers takes longer than reading a file. Where the converters have gaps, another
test shows each gap.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from encoder.base_models.families import Family


@dataclass(frozen=True, slots=True)
class Target:
    """The modules that a name stands for, in the order of its outputs."""

    modules: tuple[str, ...]
    convention: str
    # (shift, scale) of a modulation, which diffusers has as (scale, shift).
    swapped: bool = False


Q, K, V = "attn.to_q", "attn.to_k", "attn.to_v"
ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
DOUBLE, SINGLE = "transformer_blocks.{i}.", "single_transformer_blocks.{i}."

# Black Forest Labs' own names, of FLUX.1 and FLUX.2. Where two lines have one name, that counts
# whose modules the family has.
BFL = (
    ("double_blocks.{i}.img_attn.qkv", DOUBLE, (Q, K, V)),
    ("double_blocks.{i}.txt_attn.qkv", DOUBLE, ADDED),
    ("double_blocks.{i}.img_attn.proj", DOUBLE, ("attn.to_out.0",)),
    ("double_blocks.{i}.txt_attn.proj", DOUBLE, ("attn.to_add_out",)),
    ("double_blocks.{i}.img_mlp.0", DOUBLE, ("ff.net.0.proj",)),
    ("double_blocks.{i}.img_mlp.2", DOUBLE, ("ff.net.2",)),
    ("double_blocks.{i}.txt_mlp.0", DOUBLE, ("ff_context.net.0.proj",)),
    ("double_blocks.{i}.txt_mlp.2", DOUBLE, ("ff_context.net.2",)),
    ("double_blocks.{i}.img_mlp.0", DOUBLE, ("ff.linear_in",)),
    ("double_blocks.{i}.img_mlp.2", DOUBLE, ("ff.linear_out",)),
    ("double_blocks.{i}.txt_mlp.0", DOUBLE, ("ff_context.linear_in",)),
    ("double_blocks.{i}.txt_mlp.2", DOUBLE, ("ff_context.linear_out",)),
    ("double_blocks.{i}.img_mod.lin", DOUBLE, ("norm1.linear",)),
    ("double_blocks.{i}.txt_mod.lin", DOUBLE, ("norm1_context.linear",)),
    ("single_blocks.{i}.linear1", SINGLE, (Q, K, V, "proj_mlp")),
    ("single_blocks.{i}.linear2", SINGLE, ("proj_out",)),
    ("single_blocks.{i}.modulation.lin", SINGLE, ("norm.linear",)),
    ("single_blocks.{i}.linear1", SINGLE, ("attn.to_qkv_mlp_proj",)),
    ("single_blocks.{i}.linear2", SINGLE, ("attn.to_out",)),
    ("img_in", "", ("x_embedder",)),
    ("txt_in", "", ("context_embedder",)),
    ("time_in.in_layer", "time_text_embed.timestep_embedder.", ("linear_1",)),
    ("time_in.out_layer", "time_text_embed.timestep_embedder.", ("linear_2",)),
    ("guidance_in.in_layer", "time_text_embed.guidance_embedder.", ("linear_1",)),
    ("guidance_in.out_layer", "time_text_embed.guidance_embedder.", ("linear_2",)),
    ("vector_in.in_layer", "time_text_embed.text_embedder.", ("linear_1",)),
    ("vector_in.out_layer", "time_text_embed.text_embedder.", ("linear_2",)),
    ("time_in.in_layer", "time_guidance_embed.timestep_embedder.", ("linear_1",)),
    ("time_in.out_layer", "time_guidance_embed.timestep_embedder.", ("linear_2",)),
    ("guidance_in.in_layer", "time_guidance_embed.guidance_embedder.", ("linear_1",)),
    ("guidance_in.out_layer", "time_guidance_embed.guidance_embedder.", ("linear_2",)),
    ("double_stream_modulation_img.lin", "double_stream_modulation_img.", ("linear",)),
    ("double_stream_modulation_txt.lin", "double_stream_modulation_txt.", ("linear",)),
    ("single_stream_modulation.lin", "single_stream_modulation.", ("linear",)),
    ("final_layer.linear", "", ("proj_out",)),
    ("final_layer.adaLN_modulation.1", "", ("norm_out.linear",)),
)
XLABS = (
    ("double_blocks.{i}.processor.qkv_lora1", DOUBLE, (Q, K, V)),
    ("double_blocks.{i}.processor.qkv_lora2", DOUBLE, ADDED),
    ("double_blocks.{i}.processor.proj_lora1", DOUBLE, ("attn.to_out.0",)),
    ("double_blocks.{i}.processor.proj_lora2", DOUBLE, ("attn.to_add_out",)),
    # The rows of the mlp are left out, though it changes a layer that is fused with it.
    ("single_blocks.{i}.processor.qkv_lora", SINGLE, (Q, K, V)),
    ("single_blocks.{i}.processor.proj_lora", SINGLE, ("proj_out",)),
)
DIFFSYNTH = (
    ("blocks.{i}.attn.a_to_qkv", DOUBLE, (Q, K, V)),
    ("blocks.{i}.attn.b_to_qkv", DOUBLE, ADDED),
    *((f"blocks.{{i}}.attn.a_to_{side}", DOUBLE, (f"attn.to_{side}",)) for side in "qkv"),
    *((f"blocks.{{i}}.attn.b_to_{side}", DOUBLE, (f"attn.add_{side}_proj",)) for side in "qkv"),
    ("blocks.{i}.attn.a_to_out", DOUBLE, ("attn.to_out.0",)),
    ("blocks.{i}.attn.b_to_out", DOUBLE, ("attn.to_add_out",)),
    ("blocks.{i}.ff_a.0", DOUBLE, ("ff.net.0.proj",)),
    ("blocks.{i}.ff_a.2", DOUBLE, ("ff.net.2",)),
    ("blocks.{i}.ff_b.0", DOUBLE, ("ff_context.net.0.proj",)),
    ("blocks.{i}.ff_b.2", DOUBLE, ("ff_context.net.2",)),
    ("blocks.{i}.norm1_a.linear", DOUBLE, ("norm1.linear",)),
    ("blocks.{i}.norm1_b.linear", DOUBLE, ("norm1_context.linear",)),
    ("single_blocks.{i}.to_qkv_mlp", SINGLE, (Q, K, V, "proj_mlp")),
    *((f"single_blocks.{{i}}.a_to_{side}", SINGLE, (f"attn.to_{side}",)) for side in "qkv"),
    ("single_blocks.{i}.proj_in_besides_attn", SINGLE, ("proj_mlp",)),
    ("single_blocks.{i}.proj_out", SINGLE, ("proj_out",)),
    ("single_blocks.{i}.norm.linear", SINGLE, ("norm.linear",)),
)
# FLUX.1 with its projections fused: by diffusers' `fuse_qkv_projections`, and by OneTrainer.
FUSED = (
    ("transformer_blocks.{i}.attn.to_qkv", DOUBLE, (Q, K, V)),
    ("transformer_blocks.{i}.attn.to_added_qkv", DOUBLE, ADDED),
    ("transformer_blocks.{i}.attn.qkv", DOUBLE, (Q, K, V)),
    ("transformer_blocks.{i}.attn.added_qkv", DOUBLE, ADDED),
    ("single_transformer_blocks.{i}.attn.to_qkv", SINGLE, (Q, K, V)),
    ("single_transformer_blocks.{i}.qkv_mlp", SINGLE, (Q, K, V, "proj_mlp")),
)
# Z-Image as its authors publish it, and as ComfyUI loads it.
Z_IMAGE = (
    *(
        (f"{blocks}.{{i}}.attention.{name}", f"{blocks}.{{i}}.attention.", targets)
        for blocks in ("layers", "noise_refiner", "context_refiner")
        for name, targets in (("qkv", ("to_q", "to_k", "to_v")), ("out", ("to_out.0",)))
    ),
    ("x_embedder", "all_x_embedder.", ("2-1",)),
    ("final_layer.linear", "all_final_layer.2-1.", ("linear",)),
    ("final_layer.adaLN_modulation.1", "all_final_layer.2-1.", ("adaLN_modulation.1",)),
)
# Convention -> a module that a family of it must have, and the templates.
CONVENTIONS = {
    "bfl": ("single_transformer_blocks.", BFL),
    "xlabs": ("single_transformer_blocks.", XLABS),
    "diffsynth": ("single_transformer_blocks.0.proj_mlp", DIFFSYNTH),
    "fused": ("single_transformer_blocks.", FUSED),
    "z-image": ("noise_refiner.", Z_IMAGE),
}
SWAPPED = ("final_layer.adaLN_modulation.1", "norm_out.linear")
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


@lru_cache(maxsize=64)
def targets_of(family: Family, flat: bool) -> Mapping[str, Target]:
    """Return every name that a module of `family` goes by; `flat` with underscores for dots."""
    known = {**_by_templates(family), **_by_unet(family)}
    known.update({name: Target((name,), "diffusers") for name in module_shapes(family)})
    if flat:
        return {name.replace(".", "_"): target for name, target in known.items()}
    return known


@cache
def module_shapes(family: Family) -> Mapping[str, tuple[int, ...]]:
    """Return the weight's shape of every module that an adapter may change, norms included."""
    norms = {
        name.removesuffix(".weight"): (length,)
        for name, length in family.vectors.items()
        if name.endswith(".weight")
    }
    return {**norms, **family.layers, **family.convolutions}


def _by_templates(family: Family) -> dict[str, Target]:
    shapes = module_shapes(family)
    blocks: dict[str, set[str]] = {}
    for name in shapes:
        if number := INDEX.search(name):
            blocks.setdefault(name[: number.start() - 1], set()).add(number[0])
    known = {}
    for convention, (marker, templates) in CONVENTIONS.items():
        if not any(name.startswith(marker) for name in shapes):
            continue
        for alias, parent, modules in templates:
            for i in sorted(blocks.get(parent.partition(".")[0], ())) if "{i}" in alias else "0":
                names = tuple(parent.format(i=i) + module for module in modules)
                if all(name in shapes for name in names):
                    swapped = (alias, names[0]) == SWAPPED
                    known[alias.format(i=i)] = Target(names, convention, swapped)
    return known


def _by_unet(family: Family) -> dict[str, Target]:
    """CompVis' names count blocks through, where diffusers' have blocks within blocks."""
    shapes = module_shapes(family)
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
