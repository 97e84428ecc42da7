"""The tables of names, against diffusers' own converters of adapters, and their gaps.

A tensor whose rows are numbered goes through a converter; where its rows come out says what
the converter renames and splits. The tables must say the same of every name of a real network.
A gap's test fails when diffusers closes it; the bridge may then be taken for granted.
"""

import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from encoder.adapter.keys_to_layers import Target, module_shapes, targets_of
from encoder.base_models.families import Family, find_family

Weights = dict[str, Tensor]
# Module -> which rows it gets, counted from 1.
Rows = dict[str, Tensor]


def family_of(name: str) -> Family:
    family = find_family(name)
    assert family is not None
    return family


def names_of(name: str, convention: str, pattern: str = "") -> dict[str, Target]:
    """The names of linear layers in a convention of a real network."""
    family = family_of(name)
    return {
        alias: target
        for alias, target in targets_of(family, False).items()
        if target.convention == convention
        and re.search(pattern, alias)
        and all(module in family.layers for module in target.modules)
    }


def expected_rows(name: str, target: Target) -> Rows:
    """Where the table puts a name's rows."""
    shapes = module_shapes(family_of(name))
    rows: Rows = {}
    start = 0
    for module in target.modules:
        size = shapes[module][0]
        rows[module] = torch.arange(start + 1, start + size + 1, dtype=torch.float64)
        start += size
    if target.swapped:
        (module,) = target.modules
        rows[module] = rows[module].roll(len(rows[module]) // 2)
    return rows


def numbered(rows: int) -> Weights:
    """A LoRA of rank 1 whose up says which row is which, from 1: zeros would look sparse."""
    up = torch.arange(1, rows + 1, dtype=torch.float64)[:, None]
    return {"down": torch.ones(1, 1, dtype=torch.float64), "up": up}


def write(stem: str, rows: int, down: str, up: str) -> Weights:
    parts = numbered(rows)
    return {f"{stem}.{down}": parts["down"], f"{stem}.{up}": parts["up"]}


def converted_rows(state: Mapping[str, Tensor], prefix: str = "transformer.") -> Rows:
    found = {}
    for key, value in state.items():
        for ending in (".lora_B.weight", ".lora.up.weight"):
            if key.endswith(ending):
                module = key.removesuffix(ending).removeprefix(prefix)
                found[module] = value.flatten()
    return found


def check_names(
    name: str,
    names: Mapping[str, Target],
    convert: Callable[[Weights], Mapping[str, Tensor]],
    stem: Callable[[str], str],
    suffixes: tuple[str, str] = ("lora_down.weight", "lora_up.weight"),
    prefix: str = "transformer.",
) -> None:
    assert names
    state: Weights = {}
    expected: Rows = {}
    for alias, target in names.items():
        rows = expected_rows(name, target)
        state |= write(stem(alias), sum(map(len, rows.values())), *suffixes)
        expected |= rows
    found = converted_rows(convert(state), prefix)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[module], rows) for module, rows in expected.items())


def library(function: str) -> Any:
    from diffusers.loaders import lora_conversion_utils

    return getattr(lora_conversion_utils, function)


def flat(alias: str) -> str:
    return "lora_unet_" + alias.replace(".", "_")


def test_bfl_names_of_flux_1() -> None:
    convert = library("_convert_kohya_flux_lora_to_diffusers")

    check_names("flux.1", names_of("flux.1", "bfl"), convert, flat)


def test_xlabs_names_of_flux_1() -> None:
    convert = library("_convert_xlabs_flux_lora_to_diffusers")
    suffixes = ("down.weight", "up.weight")

    check_names("flux.1", names_of("flux.1", "xlabs"), convert, str, suffixes)


@pytest.mark.parametrize("variant", ["flux.2-dev", "flux.2-klein-4b"])
def test_bfl_names_of_flux_2_but_for_its_last_modulation(variant: str) -> None:
    """diffusers forgets to swap its halves, though its converter of checkpoints does."""
    names = names_of(variant, "bfl")
    last = names.pop("final_layer.adaLN_modulation.1")
    suffixes = ("lora_A.weight", "lora_B.weight")
    convert = library("_convert_non_diffusers_flux2_lora_to_diffusers")
    check_names(variant, names, convert, lambda name: f"diffusion_model.{name}", suffixes)

    rows = expected_rows(variant, last)["norm_out.linear"]
    stem = "diffusion_model.final_layer.adaLN_modulation.1"
    given = converted_rows(convert(write(stem, len(rows), *suffixes)))["norm_out.linear"]
    assert not torch.equal(given, rows), "diffusers swaps them: drop this exception"
    assert torch.equal(given.roll(len(rows) // 2), rows)


def test_names_of_flux_2_that_were_cut() -> None:
    convert = library("_convert_non_diffusers_flux2_lora_to_diffusers")
    names = names_of("flux.2-klein-4b", "sformer")
    suffixes = ("lora_A.weight", "lora_B.weight")

    check_names("flux.2-klein-4b", names, convert, "diffusion_model.{}".format, suffixes)


def test_names_of_z_image_as_its_authors_have_them() -> None:
    names = names_of("z-image", "z-image", r"attention\.(qkv|out)$")
    convert = library("_convert_non_diffusers_z_image_lora_to_diffusers")
    suffixes = ("lora.down.weight", "lora.up.weight")
    check_names("z-image", names, convert, lambda name: f"diffusion_model.{name}", suffixes)


@pytest.mark.parametrize("name", ["ideogram-4", "krea-2", "anima", "ltx-2.0", "minimax-h3"])
def test_names_of_authors_with_lora_a(name: str) -> None:
    """What diffusers' converters of checkpoints do not know of Ideogram 4 is here."""
    convention = {"ideogram-4": "ideogram", "krea-2": "krea", "ltx-2.0": "ltx"}.get(name, name)
    library_name = {"minimax-h3": "minimax_h3"}.get(name, name.replace("-", "").split(".")[0])
    convert = library(f"_convert_non_diffusers_{library_name}_lora_to_diffusers")
    names = names_of(name, convention, r"^(?!llm_adapter)")
    suffixes = ("lora_A.weight", "lora_B.weight")

    check_names(name, names, convert, lambda alias: f"diffusion_model.{alias}", suffixes)


def test_flat_names_of_minimax_h3() -> None:
    convert = library("_convert_non_diffusers_minimax_h3_lora_to_diffusers")

    check_names("minimax-h3", names_of("minimax-h3", "minimax-h3"), convert, flat)


def test_diffsynth_has_heads_of_minimax_h3_in_turns() -> None:
    """Which is why those files are refused: no shape tells them from others."""
    convert = library("_convert_non_diffusers_minimax_h3_lora_to_diffusers")
    stem, rows = "blocks.0.attn.qkv_proj", 3 * 7168
    theirs, others = (
        converted_rows(convert(write(stem, rows, f"lora_A.{name}weight", f"lora_B.{name}weight")))
        for name in ("default.", "")
    )

    query = "transformer_blocks.0.attn.to_q"
    assert torch.equal(others[query], torch.arange(1, 7169, dtype=torch.float64))
    assert not torch.equal(theirs[query], others[query])


@pytest.mark.parametrize("name", ["qwen-image", "z-image"])
def test_flat_names_of_diffusers_own(name: str) -> None:
    family = family_of(name)
    convert = library(f"_convert_non_diffusers_{name.replace('-image', '')}_lora_to_diffusers"
                      if name == "qwen-image" else
                      "_convert_non_diffusers_z_image_lora_to_diffusers")  # fmt: skip
    names = {
        module: Target((module,), "diffusers")
        for module in family.block_layers
        # diffusers turns these into names that the networks lack.
        if not re.search(r"_refiner\.|adaLN", module)
    }
    check_names(name, names, convert, flat)


def test_compvis_names_of_sdxl() -> None:
    """sd-scripts writes these; two converters, one after the other."""
    names = names_of("sdxl-1.0", "sgm")
    config = SimpleNamespace(layers_per_block=2)

    def convert(state: Weights) -> Mapping[str, Tensor]:
        mapped = library("_maybe_map_sgm_blocks_to_diffusers")(state, config)
        converted, _ = library("_convert_non_diffusers_lora_to_diffusers")(mapped)
        return {_dotted(key): value for key, value in converted.items()}

    check_names("sdxl-1.0", names, convert, flat, prefix="unet.")


def _dotted(key: str) -> str:
    """diffusers leaves processors' names to a later step of its loading."""
    key = key.replace(".processor.to_", ".to_").replace("_lora.", ".lora.")
    return re.sub(r"\.to_out\.lora", ".to_out.0.lora", key)


# Gaps


def through_flux(state: Weights) -> Rows:
    """What diffusers loads of a file for FLUX.1, as its pipeline does."""
    from diffusers import FluxPipeline

    loaded = FluxPipeline.lora_state_dict(state)
    return converted_rows({k: v for k, v in loaded.items() if k.startswith("transformer.")})


def kohya(stem: str, rows: int) -> Weights:
    return write(stem, rows, "lora_down.weight", "lora_up.weight")


BLOCK = "double_blocks.0.img_attn.proj"


def test_gap_bfl_names_with_lora_a_are_not_converted() -> None:
    state = write(f"diffusion_model.{BLOCK}", 3072, "lora_A.weight", "lora_B.weight")

    assert through_flux(state) == {}
    names = targets_of(family_of("flux.1"), False)
    assert names[BLOCK].modules == ("transformer_blocks.0.attn.to_out.0",)


def test_gap_embedders_of_flux_1_lose_their_prefix_and_are_dropped() -> None:
    assert through_flux({**kohya("lora_unet_img_in", 3072)}) == {}
    names = targets_of(family_of("flux.1"), True)
    assert names["img_in"].modules == ("x_embedder",)


def test_gap_one_trainers_names_collapse() -> None:
    stem = "lora_transformer_transformer_blocks_0_ff_net_0_proj"
    state = {**kohya(stem, 12288), f"{stem}.alpha": torch.tensor(1.0)}

    assert "transformer_blocks.0.ff.net.0.proj" not in through_flux(state)
    names = targets_of(family_of("flux.1"), True)
    target = names["transformer_blocks_0_ff_net_0_proj"]
    assert target.modules == ("transformer_blocks.0.ff.net.0.proj",)


def test_gap_peft_files_are_not_read() -> None:
    stem = "base_model.model.transformer_blocks.0.attn.to_q"
    with pytest.raises(KeyError):
        through_flux(write(stem, 3072, "lora_A.weight", "lora_B.weight"))


def test_gap_linear1_is_split_at_one_width_only() -> None:
    with pytest.raises(AssertionError):
        through_flux(kohya("lora_unet_single_blocks_0_linear1", 7 * 128))


def test_gap_magnitudes_are_dropped() -> None:
    """What is left is another adapter, without a word to the user."""
    state = kohya("lora_unet_" + BLOCK.replace(".", "_"), 3072)
    state["lora_unet_double_blocks_0_img_attn_proj.dora_scale"] = torch.ones(3072, 1)

    assert set(through_flux(state)) == {"transformer_blocks.0.attn.to_out.0"}


def test_gap_diffsynths_names_are_not_converted() -> None:
    stem = "blocks.0.attn.a_to_qkv"
    state = write(stem, 9216, "lora_A.default.weight", "lora_B.default.weight")

    assert through_flux(state) == {}
    assert len(targets_of(family_of("flux.1"), False)[stem].modules) == 3


def test_gap_loha_of_sdxl_is_refused() -> None:
    from diffusers import StableDiffusionXLPipeline

    stem = "lora_unet_mid_block_attentions_0_proj_in.hada_w1"
    state = {f"{stem}_a": torch.ones(8, 4), f"{stem}_b": torch.ones(4, 8)}
    with pytest.raises(ValueError, match="hada"):
        StableDiffusionXLPipeline.lora_state_dict(state)


def test_gap_lokr_of_qwen_image_is_refused() -> None:
    from diffusers import QwenImagePipeline

    stem = "diffusion_model.transformer_blocks.0.attn.to_q"
    state = {f"{stem}.lokr_w1": torch.ones(4, 4), f"{stem}.lokr_w2": torch.ones(2, 2)}
    with pytest.raises(ValueError, match="lokr"):
        QwenImagePipeline.lora_state_dict(state)
