"""What a recipe keeps of an adapter's file."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from encoder.adapter.lora_file import open_adapter
from registry.fusion.loaded_adapter import LoadedAdapter, not_exported
from tests.encoder.builders import make_factors, write_adapter


def test_autov3_is_what_the_trainer_wrote_or_else_of_the_tensors(tmp_path: Path) -> None:
    """As A1111 has it; what is no hash, as some trainers write it, does not count."""
    path = write_adapter(tmp_path / "a.safetensors", make_factors(1))
    data = path.read_bytes()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    weights = open_adapter(path).read_quickly()

    def autov3(**metadata: str) -> str | None:
        told = replace(weights, metadata=metadata)
        return LoadedAdapter("a", "0" * 64, told).autov3()

    assert autov3() == hashlib.sha256(body).hexdigest()[:12]
    assert autov3(sshs_model_hash="0123456789abcdef" * 4) == "0123456789ab"
    assert autov3(sshs_model_hash="0x123") == autov3()


def test_text_encoders_that_a_file_changes_are_told(tmp_path: Path) -> None:
    weights = open_adapter(write_adapter(tmp_path / "a.safetensors", make_factors(1)))
    read = weights.read_quickly()
    verdict = replace(read.verdict, parts={"transformer": 3, "text_encoder": 2, "embeddings": 1})

    assert LoadedAdapter("a", "0" * 64, read).text_encoders() == ()
    told = replace(read, verdict=verdict)
    assert LoadedAdapter("a", "0" * 64, told).text_encoders() == ("text_encoder",)


@pytest.mark.parametrize(
    ("config", "scale", "said"),
    [
        ({"r": 2, "lora_alpha": 8}, 4.0, 0),
        ({"r": 2, "lora_alpha": 8, "alpha_pattern": {"attn.to_q": 2}}, None, 1),
        (None, None, 0),
    ],
)
def test_what_only_pefts_config_multiplies_by_is_told(
    tmp_path: Path, config: dict[str, object] | None, scale: float | None, said: int
) -> None:
    """Other programs do not read it."""
    names = ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k")
    factors = {name: (torch.ones(2, 128), torch.ones(128, 2)) for name in names}
    path = write_adapter(tmp_path / "adapter_model.safetensors", factors)
    if config is not None:
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))

    adapter = LoadedAdapter("ink", "0" * 64, open_adapter(path).read_quickly())

    assert adapter.config_scale() == scale
    assert [("adapter_config.json" in line) for line in not_exported([adapter])] == [True] * said
