"""Alpha, wherever a writer puts it, and the scale that follows."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from encoder.adapter.lora_file import Context, inspect, read
from encoder.adapter.safetensors_header import Header, TensorInfo, read_header
from encoder.adapter.verdict import _ends
from encoder.base_models.families import find_family
from tests.encoder.builders import TINY_METADATA, make_factors, write_adapter, write_tensors

QUERY = "transformer_blocks.0.attn.to_q"


def save(folder: Path, prefix: str, metadata: dict[str, str], name: str = "x") -> Path:
    factors = make_factors(names=[QUERY])
    path = folder / f"{name}.safetensors"
    return write_adapter(path, factors, prefix=prefix, metadata=TINY_METADATA | metadata)


@pytest.mark.parametrize("component", ["", "transformer."])
@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_metadata_counts_with_the_components_name_and_without(
    tmp_path: Path, prefix: str, component: str
) -> None:
    """`save_lora_adapter` of a network leaves it out; `save_lora_weights` writes it."""
    config = {f"{component}{key}": value for key, value in {"lora_alpha": 8, "r": 2}.items()}
    path = save(tmp_path, prefix, {"lora_adapter_metadata": json.dumps(config)})

    weights = read(path)

    assert weights.layers[QUERY].scale == 4
    for verdict in (weights.verdict, inspect(read_header(path), path)):
        assert verdict.alpha == "alpha / rank, from the metadata"
        assert (verdict.alphas, verdict.scales) == ((8, 8), (4, 4))


def test_a_text_encoders_alpha_is_not_the_networks(tmp_path: Path) -> None:
    config = {"text_encoder.lora_alpha": 8, "text_encoder.r": 2}
    path = save(tmp_path, "transformer.", {"lora_adapter_metadata": json.dumps(config)})

    verdict = read(path).verdict

    assert (verdict.scales, verdict.alphas) == ((1, 1), ())


def minimax_header(metadata: dict[str, str], *, alpha: bool = False) -> Header:
    """MiniMax-H3's output projections as ai-toolkit names them, of rank 64."""
    tensors, family = {}, find_family("minimax-h3")
    assert family is not None
    for name, (rows, columns) in family.layers.items():
        if name.startswith("transformer_blocks.") and name.endswith(".attn.to_out.0"):
            number = name.split(".")[1]
            stem = f"diffusion_model.blocks.{number}.attn.out_proj"
            tensors[f"{stem}.lora_A.weight"] = TensorInfo("BF16", (64, columns), 0, 0)
            tensors[f"{stem}.lora_B.weight"] = TensorInfo("BF16", (rows, 64), 0, 0)
            if alpha:
                tensors[f"{stem}.alpha"] = TensorInfo("BF16", (), 0, 0)
    return Header(tensors, metadata, 0)


@pytest.mark.parametrize(
    ("alpha", "scales"),
    [("32", (0.5, 0.5)), ("128.0", (2, 2)), ("much", (1, 1)), ("inf", (1, 1)), (None, (1, 1))],
)
def test_one_alpha_in_the_metadata_counts_for_minimax_h3(
    alpha: str | None, scales: tuple[float, float]
) -> None:
    """As diffusers reads it; lightx2v's adapters have no other."""
    verdict = inspect(minimax_header({"alpha": alpha} if alpha else {}), "x")

    assert verdict.base_model == "minimax-h3"
    assert verdict.scales == scales


def test_an_alpha_of_minimax_h3_that_tensors_tell_counts_before_the_metadata() -> None:
    verdict = inspect(minimax_header({"alpha": "32"}, alpha=True), "x")

    assert verdict.alpha == "alpha / rank, from a tensor of each layer"


def test_one_alpha_in_the_metadata_of_other_families_means_nothing(tmp_path: Path) -> None:
    assert read(save(tmp_path, "transformer.", {"alpha": "32"})).verdict.scales == (1, 1)


def write_config(folder: Path, config: Any) -> None:
    written = config if isinstance(config, bytes) else json.dumps(config).encode()
    (folder / "adapter_config.json").write_bytes(written)


def test_pefts_config_beside_the_file_counts(tmp_path: Path) -> None:
    write_config(tmp_path, {"peft_type": "LORA", "lora_alpha": 6, "r": 2, "use_rslora": True})
    path = save(tmp_path, "base_model.model.", {}, "adapter_model")
    save(tmp_path, "base_model.model.", {}, "another")

    weights = read(path)

    assert weights.layers[QUERY].scale == pytest.approx(6 / math.sqrt(2))
    assert weights.verdict.alpha == "alpha / √rank, from adapter_config.json"
    assert weights.verdict.reasons == ()
    # It is not the other's, whose scale nobody knows.
    other = read(tmp_path / "another.safetensors").verdict
    assert other.scales == (1, 1)
    assert "PEFT keeps alpha in adapter_config.json" in other.reasons[0]


def test_a_config_that_is_given_counts_before_one_beside(tmp_path: Path) -> None:
    write_config(tmp_path, {"lora_alpha": 6, "r": 2})
    path = save(tmp_path, "base_model.model.", {})

    context = Context(peft_config='{"lora_alpha": 2, "r": 2}')

    assert read(path).layers[QUERY].scale == 3
    assert read(path, context=context).layers[QUERY].scale == 1
    assert read(path, context=Context(peft_config="")).layers[QUERY].scale == 1


@pytest.mark.parametrize(
    "config",
    [[1], "x" * 2**20, {"lora_alpha": "much", "r": 2}, {"lora_alpha": None}, b"{", b"\xe4\xff"],
)
def test_a_config_that_makes_no_sense_is_named_and_not_used(tmp_path: Path, config: Any) -> None:
    write_config(tmp_path, config)
    path = save(tmp_path, "base_model.model.", {})

    verdict = read(path).verdict

    assert verdict.scales == (1, 1)
    assert "adapter_config.json" in verdict.reasons[0]
    assert verdict.reasons[0].endswith("; it is not used")


def test_a_kohya_file_is_not_changed_by_a_config_beside_it(tmp_path: Path) -> None:
    write_config(tmp_path, {"lora_alpha": 6, "r": 2})
    stem = "lora_unet_" + QUERY.replace(".", "_")
    down, up = make_factors(names=[QUERY])[QUERY]
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    path = write_tensors(tmp_path / "x.safetensors", tensors)
    assert read(path).layers[QUERY].scale == 1

    path = write_tensors(tmp_path / "x.safetensors", tensors | {f"{stem}.alpha": torch.tensor(3.0)})
    verdict = read(path).verdict
    assert (verdict.alphas, verdict.scales) == ((3, 3), (1.5, 1.5))
    # A header has the alphas' names and not their numbers.
    told = inspect(read_header(path), path)
    assert (told.alphas, told.scales) == ((), ())


def test_full_matrices_of_a_kronecker_product_say_their_scale(tmp_path: Path) -> None:
    """LyCORIS writes alpha and rank that mean nothing there."""
    stem = "lora_unet_" + QUERY.replace(".", "_")
    tensors = {
        f"{stem}.lokr_w1": torch.ones(8, 8),
        f"{stem}.lokr_w2": torch.ones(16, 16),
        f"{stem}.alpha": torch.tensor(1e10),
    }
    verdict = read(write_tensors(tmp_path / "x.safetensors", tensors)).verdict

    assert (verdict.scales, verdict.alphas) == ((1, 1), ())
    assert verdict.alpha.startswith("1: no layer is factored")


@pytest.mark.parametrize(
    "parts",
    [
        {"lokr_w1": torch.ones(8, 8), "lokr_w2": torch.ones(16, 16)},
        {"diff": torch.ones(128, 128)},
        {"set_weight": torch.ones(128, 128)},
    ],
    ids=" ".join,
)
def test_an_infinite_alpha_that_means_nothing_is_not_told(
    tmp_path: Path, parts: dict[str, torch.Tensor]
) -> None:
    """ai-toolkit's 9999999999 in float16; PostgreSQL refuses a verdict that tells infinity."""
    stored = parts | {"alpha": torch.tensor(9999999999.0)}
    tensors = {f"diffusion_model.{QUERY}.{slot}": part.half() for slot, part in stored.items()}

    verdict = read(write_tensors(tmp_path / "x.safetensors", tensors)).verdict

    assert (verdict.scales, verdict.alphas) == ((1, 1), ())
    json.dumps(verdict.to_json(), allow_nan=False)


def test_infinity_among_alphas_is_none_in_a_verdict() -> None:
    assert _ends([1.0, math.inf]) == _ends([math.nan]) == ()
    assert _ends([2.0, 1.0, 3.0]) == (1.0, 3.0)


def test_a_config_counts_for_full_matrices_of_a_kronecker_product(tmp_path: Path) -> None:
    """PEFT multiplies them by alpha / r, whatever is factored."""
    write_config(tmp_path, {"peft_type": "LOKR", "alpha": 6, "r": 2})
    stem = f"base_model.model.{QUERY}"
    tensors = {f"{stem}.lokr_w1": torch.ones(8, 8), f"{stem}.lokr_w2": torch.ones(16, 16)}

    verdict = read(write_tensors(tmp_path / "x.safetensors", tensors)).verdict

    assert (verdict.scales, verdict.alphas) == ((3, 3), (6, 6))
