"""kohya's FLUX names -> diffusers' modules, by diffusers' own converter.

The converter sees one module at a time and no alpha: so it only renames and splits,
exactly, and the scale stays a number of ours rather than being rounded into the weights.
"""

from pathlib import Path

import torch
from torch import Tensor

from encoder.errors import UnsupportedLoraError

# (down, up) by diffusers' module name.
Pairs = dict[str, tuple[Tensor, Tensor]]

SINGLE_BLOCK = "lora_unet_single_blocks_"


def to_diffusers(file: str | Path, module: str, down: Tensor, up: Tensor) -> Pairs:
    """Rename one kohya module; fused projections become several.

    Raises:
        UnsupportedLoraError: diffusers does not know the module.
    """
    if module.startswith(SINGLE_BLOCK) and module.endswith("_linear1"):
        return _split_linear1(file, module, down, up)
    if module.endswith("_qkv") and up.shape[0] % 3:
        raise UnsupportedLoraError(file, f"{module} has {up.shape[0]} outputs, not three parts")
    # Importing diffusers costs seconds, and most files need no conversion.
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    weights = {f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}
    try:
        converted = _convert_kohya_flux_lora_to_diffusers(weights)
    except ValueError as error:
        raise UnsupportedLoraError(file, f"diffusers cannot convert {module}") from error
    pairs: Pairs = {}
    for key in converted:
        if key.endswith(".lora_A.weight"):
            # The embedders' names come without the prefix.
            name = key.removesuffix(".lora_A.weight").removeprefix("transformer.")
            up_key = key.replace(".lora_A.", ".lora_B.")
            pairs[name] = (converted[key], converted[up_key])
    if not pairs or 2 * len(pairs) != len(converted):
        raise UnsupportedLoraError(file, f"diffusers does not convert {module}")
    return pairs


def _split_linear1(file: str | Path, module: str, down: Tensor, up: Tensor) -> Pairs:
    """Split a single block's fused q, k, v, mlp. diffusers does it for width 3072 only."""
    hidden = down.shape[1]
    mlp = up.shape[0] - 3 * hidden
    if mlp <= 0:
        raise UnsupportedLoraError(
            file, f"{module} is {hidden}->{up.shape[0]}, too narrow for q, k, v and mlp"
        )
    index = module.removeprefix(SINGLE_BLOCK).removesuffix("_linear1")
    names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    parts = torch.split(up, [hidden, hidden, hidden, mlp])
    return {
        f"single_transformer_blocks.{index}.{name}": (down, part)
        for name, part in zip(names, parts, strict=True)
    }
