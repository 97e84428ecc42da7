"""What PEFT's config says of every module, and what a hostile one costs."""

import json
from collections.abc import ItemsView, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.peft_config import MAX_CONFIG_BYTES
from encoder.adapter.lora_file import Context, inspect, read
from encoder.adapter.peft_config import config_strengths
from encoder.adapter.safetensors_header import read_header
from encoder.errors import BadWeightsError, UnsupportedLoraError
from tests.encoder.builders import make_factors, write_adapter

# Few and short, so that they meet.
PARTS = st.lists(st.sampled_from(("a", "b", "aa", "", "^a")), min_size=1, max_size=4)
MODULES = PARTS.map(".".join)
PATTERNS = st.dictionaries(
    st.builds(
        str.__add__, st.sampled_from(("", "^")), MODULES.filter(lambda name: "^" not in name)
    ),
    st.integers(2, 99),
    max_size=8,
).map(lambda patterns: {key: value for key, value in patterns.items() if key not in ("", "^")})


def find_slowly(patterns: dict[str, int], module: str) -> int:
    """PEFT's own way: each pattern is tried, the first that fits counts; else 1."""
    for key, value in patterns.items():
        if key.startswith("^") and module == key[1:]:
            return value
    for key, value in patterns.items():
        if module == key or module.endswith(f".{key}"):
            return value
    return 1


def find_alpha(patterns: dict[str, int], *modules: str) -> list[float]:
    config = {"lora_alpha": 1, "r": 1, "alpha_pattern": patterns}
    strengths = config_strengths("x", config, dict.fromkeys(modules, 1))
    return [strengths[module].alpha for module in modules]


@given(PATTERNS, MODULES)
def test_the_first_pattern_that_fits_counts(patterns: dict[str, int], module: str) -> None:
    assert find_alpha(patterns, module) == [find_slowly(patterns, module)]


class Counted(dict[str, int]):
    """Patterns that count how often they are gone through."""

    passes = 0

    def items(self) -> ItemsView[str, int]:  # type: ignore[override]
        self.passes += 1
        return super().items()

    def __iter__(self) -> Iterator[str]:
        self.passes += 1
        return super().__iter__()


def test_patterns_are_not_gone_through_again_for_every_module() -> None:
    """A file of 20,000 modules may bring as many patterns."""
    few, many = Counted({"to_q": 2, "to_k": 3}), Counted({"to_q": 2, "to_k": 3})

    find_alpha(few, "blocks.0.to_q")
    found = find_alpha(many, *(f"blocks.{block}.to_k" for block in range(50)))

    assert found == [3] * 50
    assert few.passes == many.passes


def write_config(path: Path, written: str) -> Path:
    metadata = {"lora_adapter_metadata": written}
    return write_adapter(path, make_factors(), metadata=metadata)


def test_a_config_in_the_metadata_is_as_long_as_a_file_of_its_own_at_most(tmp_path: Path) -> None:
    start = '{"transformer.lora_alpha": 1, "transformer.r": 2, "x": "'
    text = start + "x" * (MAX_CONFIG_BYTES - len(start) - 2) + '"}'
    path = tmp_path / "x.safetensors"

    assert read(write_config(path, text)).verdict.scales == (0.5, 0.5)
    with pytest.raises(BadWeightsError, match="larger than 1 MB"):
        read(write_config(path, f"{text} "))


@pytest.mark.parametrize("alpha", ["1" + 400 * "0", "1e999", "NaN", "true"])
def test_an_alpha_that_no_float_holds_is_none(tmp_path: Path, alpha: str) -> None:
    written = f'{{"transformer.lora_alpha": {alpha}, "transformer.r": 2}}'

    with pytest.raises(BadWeightsError, match="no usable lora_alpha"):
        read(write_config(tmp_path / "x.safetensors", written))


CHANGED = {
    "pissa": "PiSSA",
    "pissa_niter_16": "PiSSA",
    "olora": "OLoRA",
    "OLoRA": "OLoRA",
    "corda": "CorDA",
    "loftq": "LoftQ",
    "lora_ga": "LoRA-GA",
}


@pytest.mark.parametrize("written", CHANGED)
def test_factors_taken_out_of_the_bases_weights_are_refused_by_name(
    tmp_path: Path, written: str
) -> None:
    """B · A without the rest of the base is another adapter."""
    cause = f"is {CHANGED[written]} by PEFT's config"
    config = {"lora_alpha": 1, "r": 2, "init_lora_weights": written}
    named = {f"transformer.{name}": value for name, value in config.items()}
    path = write_config(tmp_path / "x.safetensors", json.dumps(named))
    with pytest.raises(UnsupportedLoraError, match=cause):
        read(path)
    with pytest.raises(UnsupportedLoraError, match=cause):
        inspect(read_header(path), path)

    plain = write_adapter(tmp_path / "x.safetensors", prefix="base_model.model.")
    with pytest.raises(UnsupportedLoraError, match=cause):
        read(plain, context=Context(peft_config=json.dumps(config)))


@pytest.mark.parametrize("written", [True, False, "gaussian", "eva", "orthogonal", None, 1])
def test_other_first_weights_are_read(tmp_path: Path, written: object) -> None:
    """Whatever they were, the base's are its own. Converted ones say true."""
    config = {"transformer.lora_alpha": 1, "transformer.init_lora_weights": written}
    path = write_config(tmp_path / "x.safetensors", json.dumps(config))

    assert read(path).verdict.scales == (0.5, 0.5)
