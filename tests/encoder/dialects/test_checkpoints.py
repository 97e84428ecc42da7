"""The tables of names, against diffusers' converters of whole checkpoints, at true sizes.

Rows of every original layer are numbered; where a converter of checkpoints puts them says what
it renames, splits and swaps. It knows nothing of adapters, and shares no code with the reader.
"""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from encoder.adapter.keys_to_layers import targets_of
from tests.encoder.dialects.test_converters import expected_rows, family_of, names_of

# What is not of a base's own checkpoint, or unknown to the converter.
OTHERS = {
    # As FLUX.1 and ComfyUI have it, as 1.5 has it without fusing, and as OneTrainer fuses it.
    "hunyuan-video": r"_attn\.|[_.](mlp\.[02]|attn_[qkv])$|mod(ulation)?\.lin$"
    r"|(time|guidance)_in.*layer|[ct]_embedder\.(in|out)_layer$|refiner_blocks.*\.attn\.qkv$",
    # Of another network, beside Cosmos-Predict2.
    "anima": r"^llm_adapter\.",
    "ltx-2.3": r"prompt_adaln_single",
    # Of a converter of adapters.
    "wan-2.1-i2v-14b": r"\.[kv]\.img$",
}


class Checkpoint(dict[str, Tensor]):
    """Tensors of a checkpoint; those that nobody asks about are zeros."""

    def __missing__(self, name: str) -> Tensor:
        return torch.zeros(12)

    def pop(self, name: str, *_: Any) -> Tensor:
        return super().pop(name) if name in self else self[name]


@pytest.mark.parametrize(
    ("name", "conventions", "converter"),
    [
        ("chroma", ("bfl", "chroma"), "convert_chroma_transformer_checkpoint_to_diffusers"),
        ("krea-2", ("krea",), "convert_krea2_transformer_checkpoint_to_diffusers"),
        ("sd-3", ("sd3",), "convert_sd3_transformer_checkpoint_to_diffusers"),
        ("sd-3.5-medium", ("sd3",), "convert_sd3_transformer_checkpoint_to_diffusers"),
        ("sd-3.5-large", ("sd3",), "convert_sd3_transformer_checkpoint_to_diffusers"),
        ("anima", ("anima",), "convert_cosmos_transformer_checkpoint_to_diffusers"),
        ("wan-2.1-14b", ("wan",), "convert_wan_transformer_to_diffusers"),
        ("wan-2.1-i2v-14b", ("wan",), "convert_wan_transformer_to_diffusers"),
        ("hunyuan-video", ("hunyuan", "bfl"), "convert_hunyuan_video_transformer_to_diffusers"),
        ("ltx-video-2b", ("ltx",), "convert_ltx_transformer_checkpoint_to_diffusers"),
        ("ltx-2.0", ("ltx",), "convert_ltx2_transformer_to_diffusers"),
        ("ltx-2.3", ("ltx",), "convert_ltx2_transformer_to_diffusers"),
        ("lumina-2", ("lumina",), "convert_lumina2_to_diffusers"),
        ("auraflow", ("auraflow",), "convert_auraflow_transformer_checkpoint_to_diffusers"),
    ],
)
def test_names_are_those_of_published_checkpoints(
    name: str, conventions: tuple[str, ...], converter: str
) -> None:
    from diffusers.loaders import single_file_utils

    names = {
        alias: target
        for convention in conventions
        for alias, target in names_of(name, convention).items()
        if name not in OTHERS or not re.search(OTHERS[name], alias)
    }
    expected: dict[str, Tensor] = {}
    checkpoint = Checkpoint()
    for alias, target in names.items():
        rows = expected_rows(name, target)
        expected |= rows
        numbers = torch.arange(1, sum(map(len, rows.values())) + 1, dtype=torch.float64)
        checkpoint |= {f"{alias}.weight": numbers[:, None], f"{alias}.bias": numbers}

    converted: Mapping[str, Tensor] = getattr(single_file_utils, converter)(checkpoint)

    found = {
        key.removesuffix(".weight"): value.flatten()
        for key, value in converted.items()
        if key.endswith(".weight") and value is not None and value.any()
    }
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[module], rows) for module, rows in expected.items())


@pytest.mark.parametrize(
    ("name", "convention", "converter"),
    [
        ("anima", "anima", "convert_cosmos_transformer_checkpoint_to_diffusers"),
        ("wan-2.1-i2v-14b", "wan", "convert_wan_transformer_to_diffusers"),
        ("z-image", "z-image", "convert_z_image_transformer_checkpoint_to_diffusers"),
        ("lumina-2", "lumina", "convert_lumina2_to_diffusers"),
    ],
)
def test_norms_are_those_of_published_checkpoints(
    name: str, convention: str, converter: str
) -> None:
    """ComfyUI's trainer changes every norm, and what it writes of them are differences."""
    from diffusers.loaders import single_file_utils

    norms = {
        alias: target.modules[0]
        for alias, target in targets_of(family_of(name), False).items()
        if target.convention == convention
        and f"{target.modules[0]}.weight" in family_of(name).vectors
        and not alias.startswith("llm_adapter.")
    }
    assert norms
    checkpoint = Checkpoint(
        {f"{alias}.weight": torch.full((12,), float(i)) for i, alias in enumerate(norms, 1)}
    )

    converted: Mapping[str, Tensor] = getattr(single_file_utils, converter)(checkpoint)

    placed = {key.removesuffix(".weight"): value for key, value in converted.items()}
    assert all(placed[module].mean() == i for i, module in enumerate(norms.values(), 1))
