"""Tiny networks of every architecture, and what trainers' own code calls their modules.

`to_diffusers` carries a change of the original's weights over to diffusers' network with
diffusers' converters of whole checkpoints, which know nothing of adapters: a reference that
shares no code with the reader.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from encoder.base_models.families import Family
from tests.encoder.base_models.test_families import TINY as SAME_WIDTH
from tests.encoder.base_models.test_families import build

# Parameter names of diffusers' network -> what is added to them.
Changes = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

# Text is of another width in each UNet, as in the real ones: it tells them apart.
TINY = {
    name: (architecture, {**config, "cross_attention_dim": {"sd-2.1": 28, "sdxl-1.0": 36}[name]})
    if name in ("sd-2.1", "sdxl-1.0")
    else (architecture, config)
    for name, (architecture, config) in SAME_WIDTH.items()
}


@cache
def family_of(architecture: str) -> Family:
    """The tiny network's layers, under a name of its own."""
    return Family.from_config(f"tiny-{architecture}", *TINY[architecture])


@cache
def families() -> tuple[Family, ...]:
    return tuple(map(family_of, TINY))


@cache
def network_of(architecture: str) -> Any:
    """The network itself, with random weights; not to be changed."""
    torch.manual_seed(0)
    return build(*TINY[architecture])


def linear_shapes(architecture: str, *, blocks_only: bool = True) -> Shapes:
    family = family_of(architecture)
    return dict(family.block_layers if blocks_only else family.layers)


# FLUX as Black Forest Labs publish it (flux/model.py, flux/modules/layers.py): linear layers.

FLUX_HIDDEN, FLUX_MLP = 16, 64


def flux_original() -> Shapes:
    hidden, mlp = FLUX_HIDDEN, FLUX_MLP
    shapes: Shapes = {
        "img_in": (hidden, 4),
        "txt_in": (hidden, 24),
        "final_layer.linear": (4, hidden),
        "final_layer.adaLN_modulation.1": (2 * hidden, hidden),
    }
    for name, width in (("time_in", 256), ("vector_in", 20)):
        shapes |= {f"{name}.in_layer": (hidden, width), f"{name}.out_layer": (hidden, hidden)}
    for side in ("img", "txt"):
        block = f"double_blocks.0.{side}"
        shapes |= {
            f"{block}_attn.qkv": (3 * hidden, hidden),
            f"{block}_attn.proj": (hidden, hidden),
            f"{block}_mlp.0": (mlp, hidden),
            f"{block}_mlp.2": (hidden, mlp),
            f"{block}_mod.lin": (6 * hidden, hidden),
        }
    for index in range(2):
        shapes |= {
            f"single_blocks.{index}.linear1": (3 * hidden + mlp, hidden),
            f"single_blocks.{index}.linear2": (hidden, hidden + mlp),
            f"single_blocks.{index}.modulation.lin": (3 * hidden, hidden),
        }
    return shapes


def flux_to_diffusers(changes: Mapping[str, Tensor]) -> Changes:
    from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers

    checkpoint: Changes = {}
    for name, shape in flux_original().items():
        checkpoint[f"{name}.weight"] = changes.get(f"{name}.weight", torch.zeros(shape))
        checkpoint[f"{name}.bias"] = changes.get(f"{name}.bias", torch.zeros(shape[0]))
    norms = [f"double_blocks.0.{side}_attn.norm" for side in ("img", "txt")]
    for norm in (*norms, "single_blocks.0.norm", "single_blocks.1.norm"):
        for side in ("query", "key"):
            checkpoint[f"{norm}.{side}_norm.scale"] = torch.zeros(8)
    fused = {}
    for index in range(2):
        # The converter splits at the width of the real network only.
        for kind in ("weight", "bias"):
            name = f"single_blocks.{index}.linear1.{kind}"
            fused[index, kind] = checkpoint[name]
            checkpoint[name] = torch.zeros(3 * 3072 + 12288, *checkpoint[name].shape[1:])
    converted: Changes = convert_flux_transformer_checkpoint_to_diffusers(checkpoint)
    for (index, kind), rows in fused.items():
        # qkv, mlp = split(linear1(x), [3 * hidden, mlp]); q, k, v = rearrange("(K H D) -> K H D")
        parts = rows.split([FLUX_HIDDEN, FLUX_HIDDEN, FLUX_HIDDEN, FLUX_MLP])
        names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
        for name, part in zip(names, parts, strict=True):
            converted[f"single_transformer_blocks.{index}.{name}.{kind}"] = part
    return {name: change for name, change in converted.items() if change.any()}


def flux2_original() -> Shapes:
    """flux2/model.py; modulations are shared by all blocks, and no layer has a bias."""
    layers = family_of("flux.2").layers
    hidden = layers["x_embedder"][0]
    shapes: Shapes = {
        "img_in": layers["x_embedder"],
        "txt_in": layers["context_embedder"],
        "time_in.in_layer": (hidden, 256),
        "time_in.out_layer": (hidden, hidden),
        "guidance_in.in_layer": (hidden, 256),
        "guidance_in.out_layer": (hidden, hidden),
        "double_stream_modulation_img.lin": (6 * hidden, hidden),
        "double_stream_modulation_txt.lin": (6 * hidden, hidden),
        "single_stream_modulation.lin": (3 * hidden, hidden),
        "final_layer.linear": layers["proj_out"],
        "final_layer.adaLN_modulation.1": (2 * hidden, hidden),
    }
    for side, feed in (("img", "ff"), ("txt", "ff_context")):
        block = f"double_blocks.0.{side}"
        shapes |= {
            f"{block}_attn.qkv": (3 * hidden, hidden),
            f"{block}_attn.proj": (hidden, hidden),
            f"{block}_mlp.0": layers[f"transformer_blocks.0.{feed}.linear_in"],
            f"{block}_mlp.2": layers[f"transformer_blocks.0.{feed}.linear_out"],
        }
    for index in range(2):
        single = f"single_transformer_blocks.{index}.attn"
        shapes |= {
            f"single_blocks.{index}.linear1": layers[f"{single}.to_qkv_mlp_proj"],
            f"single_blocks.{index}.linear2": layers[f"{single}.to_out"],
        }
    return shapes


def flux2_to_diffusers(changes: Mapping[str, Tensor]) -> Changes:
    from diffusers.loaders import single_file_utils as library

    converted: Changes = library.convert_flux2_transformer_checkpoint_to_diffusers(dict(changes))
    return converted


def z_image_original() -> Shapes:
    """z_image/transformer.py: attention fused, and the ends of the network named otherwise."""
    layers = family_of("z-image").layers
    shapes: Shapes = {}
    for name, (d_out, d_in) in layers.items():
        block, _, inner = name.rpartition(".attention.")
        if inner == "to_q":
            shapes[f"{block}.attention.qkv"] = (3 * d_out, d_in)
        elif inner == "to_out.0":
            shapes[f"{block}.attention.out"] = (d_out, d_in)
        elif not inner.startswith("to_"):
            name = name.replace("all_x_embedder.2-1", "x_embedder")
            shapes[name.replace("all_final_layer.2-1", "final_layer")] = (d_out, d_in)
    return shapes


def z_image_to_diffusers(changes: Mapping[str, Tensor]) -> Changes:
    from diffusers.loaders import single_file_utils as library

    converted: Changes = library.convert_z_image_transformer_checkpoint_to_diffusers(dict(changes))
    return converted


# The UNet as CompVis publishes it (ldm/modules/diffusionmodules/openaimodel.py), for two
# blocks of one layer: what comes first in `input_blocks` is `conv_in`, then a residual block
# and its attention, a downsampler, the second block; `output_blocks` mirror them.
COMPVIS_BLOCKS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "input_blocks.1.0": "down_blocks.0.resnets.0",
    "input_blocks.1.1": "down_blocks.0.attentions.0",
    "input_blocks.2.0.op": "down_blocks.0.downsamplers.0.conv",
    "input_blocks.3.0": "down_blocks.1.resnets.0",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
    "output_blocks.0.0": "up_blocks.0.resnets.0",
    "output_blocks.1.0": "up_blocks.0.resnets.1",
    "output_blocks.1.1.conv": "up_blocks.0.upsamplers.0.conv",
    "output_blocks.2.0": "up_blocks.1.resnets.0",
    "output_blocks.2.1": "up_blocks.1.attentions.0",
    "output_blocks.3.0": "up_blocks.1.resnets.1",
    "output_blocks.3.1": "up_blocks.1.attentions.1",
    "out.2": "conv_out",
}
COMPVIS_RESNET = {
    "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip


def unet_original(architecture: str) -> Shapes:
    family = family_of(architecture)
    modules: Shapes = {**family.layers, **family.convolutions}
    shapes: Shapes = {}
    for theirs, ours in COMPVIS_BLOCKS.items():
        for name, shape in modules.items():
            if name == ours:
                shapes[theirs] = shape
            elif name.startswith(f"{ours}."):
                inner = name.removeprefix(f"{ours}.")
                names = {own: compvis for compvis, own in COMPVIS_RESNET.items()}
                shapes[f"{theirs}.{names.get(inner, inner)}"] = shape
    assert len(shapes) == len(modules)
    return shapes


def unet_to_diffusers(architecture: str, changes: Mapping[str, Tensor]) -> Changes:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    shapes = unet_original(architecture)
    # The converter wants every tensor of a checkpoint.
    checkpoint = {f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    checkpoint |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    for norm in ("out.0",):
        checkpoint |= {f"{norm}.weight": torch.zeros(32), f"{norm}.bias": torch.zeros(32)}
    checkpoint |= dict(changes)
    config = {**TINY[architecture][1]}
    converted = convert_ldm_unet_checkpoint(
        {f"model.diffusion_model.{name}": value for name, value in checkpoint.items()}, config
    )
    return {name: change for name, change in converted.items() if change.any()}
