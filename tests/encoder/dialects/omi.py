"""OneTrainer's OMI: the authors' names, and of fused layers each part by its number.

Source: Nerogar/OneTrainer, modules/util/convert/lora/convert_flux_lora.py, convert_sdxl_lora.py,
convert_chroma_lora.py, convert_sd3_lora.py, convert_pixart_lora.py: what it wrote, and kept in
backups, before it had the formats of other programs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from tests.encoder.dialects.kinds import Pen
from tests.encoder.dialects.networks import (
    FLUX_HIDDEN,
    FLUX_MLP,
    Changes,
    Shapes,
    family_of,
    flux_original,
    flux_to_diffusers,
    unet_original,
    unet_to_diffusers,
)
from tests.encoder.dialects.originals import original_shapes, original_to_diffusers, originals
from tests.encoder.dialects.samples import Sample, text_encoder, write_all

CLIP = tuple(f"text_model.encoder.layers.0.{name}" for name in ("self_attn.q_proj", "mlp.fc1"))
# Before the number of a part, where names are put together again; a dot in the file.
PART = "#"


def one_trainer_omi(architecture: str) -> Sample:
    sample = Sample(architecture, metadata={"ot_revision": "1"})
    text_encoder(sample, "clip_l.", CLIP, 24 if architecture == "sdxl-1.0" else 20)
    if architecture == "sdxl-1.0":
        text_encoder(sample, "clip_g.", CLIP, 24)
        shapes, to_diffusers = unet_original(architecture), partial(unet_to_diffusers, architecture)
        return write_all(sample, shapes, "unet.{}".format, Pen().lora, to_diffusers)
    if architecture == "flux.1":
        text_encoder(sample, "t5.", ["encoder.block.0.layer.0.SelfAttention.q"], 24)
        return _write_parts(sample, flux_original(), _flux_parts(), flux_to_diffusers)
    layers = family_of(architecture).layers
    parts = {
        name: [layers[target.removeprefix("~")][0] for target in targets]
        for name, targets in originals(architecture).items()
    }
    to_diffusers = partial(original_to_diffusers, architecture)
    return _write_parts(sample, original_shapes(architecture), parts, to_diffusers)


def _flux_parts() -> dict[str, list[int]]:
    heads = 3 * [FLUX_HIDDEN]
    parts = {f"double_blocks.0.{side}_attn.qkv": heads for side in ("img", "txt")}
    return parts | {f"single_blocks.{i}.linear1": [*heads, FLUX_MLP] for i in range(2)}


def _write_parts(
    sample: Sample,
    shapes: Shapes,
    parts: Mapping[str, Sequence[int]],
    to_diffusers: Callable[[Changes], Changes],
) -> Sample:
    """Write layers of several `parts`, given by their rows, part by part."""
    apart: Shapes = {}
    for name, shape in shapes.items():
        rows = parts.get(name, ())
        numbered = {f"{name}{PART}{i}": (size, *shape[1:]) for i, size in enumerate(rows)}
        apart |= numbered if len(rows) > 1 else {name: shape}
    return write_all(
        sample, apart, _stem, Pen().lora, lambda changes: to_diffusers(_joined(changes))
    )


def _stem(name: str) -> str:
    return "transformer." + ("img_in.proj" if name == "img_in" else name.replace(PART, "."))


def _joined(changes: Changes) -> Changes:
    whole: dict[str, list[torch.Tensor]] = {}
    for name, change in changes.items():
        module = name.removesuffix(".weight").partition(PART)[0]
        whole.setdefault(f"{module}.weight", []).append(change)
    return {name: torch.cat(rows) for name, rows in whole.items()}
