"""Alpha, wherever a writer puts it, and the scale that follows."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from encoder.adapter.lora_file import Context, inspect, read
from encoder.adapter.safetensors_header import read_header
from encoder.adapter.verdict import _ends
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
