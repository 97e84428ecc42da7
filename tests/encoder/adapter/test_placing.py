"""Files that one program wrote alike are placed once, and read each by its own numbers."""

from pathlib import Path

import pytest
import torch

from encoder.adapter import placing
from encoder.adapter.lora_file import read
from encoder.errors import BadWeightsError
from tests.encoder.builders import TINY_METADATA, make_factors, write_tensors

QUERY, KEY = (f"transformer_blocks.0.attn.to_{name}" for name in "qk")


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    placing.find_alike.cache_clear()


def save(
    path: Path,
    *,
    seed: int = 0,
    alpha: float = 2,
    metadata: dict[str, str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    tensors = {}
    for module, (down, up) in make_factors(seed, names=[QUERY, KEY]).items():
        tensors[f"transformer.{module}.lora_A.weight"] = down.to(dtype)
        tensors[f"transformer.{module}.lora_B.weight"] = up.to(dtype)
        tensors[f"transformer.{module}.alpha"] = torch.tensor(alpha)
    return write_tensors(path, tensors, TINY_METADATA | (metadata or {}))


def test_the_second_of_files_alike_is_read_by_its_own_numbers(tmp_path: Path) -> None:
    read(save(tmp_path / "one.safetensors"))

    second = read(save(tmp_path / "two.safetensors", seed=1, alpha=6))

    assert placing.find_alike.cache_info().hits == 1
    assert (second.verdict.scales, second.verdict.alphas) == ((3, 3), (6, 6))
    for module, (down, up) in make_factors(1, names=[QUERY, KEY]).items():
        layer = second.layers[module]
        assert torch.equal(layer.delta(), 3 * (up @ down))


def test_an_alpha_that_is_no_number_refuses_its_own_file(tmp_path: Path) -> None:
    read(save(tmp_path / "one.safetensors"))

    with pytest.raises(BadWeightsError, match=r"two\.safetensors.* has the scale inf"):
        read(save(tmp_path / "two.safetensors", alpha=torch.inf))


def test_files_with_other_words_or_types_are_placed_by_themselves(tmp_path: Path) -> None:
    """A claim decides between base models of a family, and a float type is told."""
    files = [
        save(tmp_path / "one.safetensors"),
        save(tmp_path / "two.safetensors", metadata={"modelspec.architecture": "flux-1-dev/lora"}),
        save(tmp_path / "three.safetensors", dtype=torch.bfloat16),
    ]

    verdicts = [read(path).verdict for path in files]

    assert placing.find_alike.cache_info().hits == 0
    assert [len(verdict.evidence) for verdict in verdicts][:2] != [1, 1]
    assert [verdict.dtype for verdict in verdicts] == ["F32", "F32", "BF16"]
