"""PEFT's config of an adapter: in diffusers' metadata, or adapter_config.json beside the file."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from crawler.peft_config import CONFIG_NAME, MAX_CONFIG_BYTES
from encoder.errors import BadWeightsError, UnsupportedLoraError

# LoraConfig's name for it, and that of LoHaConfig and LoKrConfig.
ALPHAS = ("lora_alpha", "alpha")
# How PEFT's init_lora_weights begins where it takes what the factors hold out of the base's weights
# (peft.tuners.lora.layer), with the method's name. Saved with
# path_initial_model_for_weight_conversion, the config says true, and the factors are whole.
CHANGED_BASES = {
    "pissa": "PiSSA", "olora": "OLoRA", "corda": "CorDA", "loftq": "LoftQ", "lora_ga": "LoRA-GA",
}  # fmt: skip
MODULE_NAME = re.compile(r"\^?[\w.]+", re.ASCII)


class Strength(NamedTuple):
    """A module's alpha, and what its product of factors is multiplied by."""

    alpha: float
    scale: float


def find_peft_config(
    file: str | Path, metadata: Mapping[str, str], prefix: str
) -> dict[str, Any] | None:
    """Return PEFT's config of the diffusion network as diffusers writes it; None if there is none.

    `save_lora_weights` puts the network's name before each setting, and `save_lora_adapter`
    does not.
    """
    written = metadata.get("lora_adapter_metadata")
    if written is None:
        return None
    if len(written) > MAX_CONFIG_BYTES:
        raise BadWeightsError(file, "lora_adapter_metadata is larger than 1 MB")
    config = parse_json(written)
    if not isinstance(config, dict):
        raise BadWeightsError(file, "lora_adapter_metadata is not a JSON object")
    for component in dict.fromkeys((prefix, "transformer.", "unet.", "")):
        settings = {
            key.removeprefix(component): value
            for key, value in config.items()
            if key.startswith(component)
        }
        if settings and (component or any(name in settings for name in ("r", *ALPHAS))):
            return settings
    return None


def parse_config(text: str) -> dict[str, Any]:
    """Return the settings of an adapter_config.json.

    Raises:
        ValueError: it is no JSON object, in words.
    """
    settings = parse_json(text)
    if not isinstance(settings, dict):
        raise ValueError(f"{CONFIG_NAME} beside it is no JSON object")
    return settings


def config_strengths(
    file: str | Path, settings: Mapping[str, Any], ranks: Mapping[str, int | None]
) -> dict[str, Strength]:
    """Return every module's alpha and scale by PEFT's config.

    `ranks` are those of the tensors, None where they do not tell (LoHa, LoKr): then the
    config's count.
    """
    alphas = _read_pattern(file, settings, next((n for n in ALPHAS if n in settings), "alpha"))
    config_ranks = _read_pattern(file, settings, "r") if None in ranks.values() else None
    strengths = {}
    for module, rank in ranks.items():
        if rank is None:
            assert config_ranks is not None
            rank = round(config_ranks(module))
        # Tensors of rank 0 are refused where layers are put together.
        rank = max(1, rank)
        divisor = math.sqrt(rank) if settings.get("use_rslora") else rank
        strengths[module] = Strength(alphas(module), alphas(module) / divisor)
    return strengths


def claims_dora(settings: Mapping[str, Any] | None) -> bool:
    """Return whether PEFT's config says that layers have magnitudes."""
    return settings is not None and settings.get("use_dora") is True


def find_changed_base(settings: Mapping[str, Any] | None) -> str | None:
    """Return the method by which PEFT changed the base's weights as well; None if it did not."""
    written = settings.get("init_lora_weights") if settings is not None else None
    if not isinstance(written, str):
        return None
    known = (name for word, name in CHANGED_BASES.items() if written.lower().startswith(word))
    return next(known, None)


def _read_pattern(file: str | Path, config: Mapping[str, Any], name: str) -> Callable[[str], float]:
    """Return a setting by module: PEFT's first pattern that fits, or else the default."""
    patterns = config.get("rank_pattern" if name == "r" else "alpha_pattern") or {}
    default = config.get(name)
    if not isinstance(patterns, dict) or not all(map(_is_number, (default, *patterns.values()))):
        raise BadWeightsError(file, f"PEFT's config gives no usable {name}")
    if not all(MODULE_NAME.fullmatch(pattern) for pattern in patterns):
        # PEFT would run them as regular expressions; an author's may never end.
        raise UnsupportedLoraError(file, "alpha_pattern is not made of plain module names")
    exact = {key[1:]: value for key, value in patterns.items() if key.startswith("^")}
    # An author's config may have as many patterns as his file has modules: none is tried.
    places = {key: place for place, key in enumerate(patterns)}
    values = list(patterns.values())

    def find(module: str) -> float:
        if module in exact:
            return float(exact[module])
        # PEFT matches the module's whole name or its last parts; the first that fits counts.
        fitting = [places[end] for end in _ends(module) if end in places]
        return float(values[min(fitting)] if fitting else default)  # type: ignore[arg-type]

    return find


def _ends(module: str) -> Iterator[str]:
    """Yield a module's whole name and its last parts."""
    yield module
    for dot in re.finditer(r"\.", module):
        yield module[dot.end() :]


def parse_json(text: str | bytes) -> Any:
    """Return the JSON value, or None for what is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is a number that floats hold; its integers may be of any size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
