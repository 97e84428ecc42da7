"""What trainers write into a file's `__metadata__`: alpha, trigger words, trainer, base model.

All of it is an author's claim: used where names and shapes say nothing, checked otherwise.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crawler.foreign_text import plain_line
from encoder.base_models.matching import Claim
from encoder.base_models.names import name_claim
from encoder.errors import BadWeightsError, UnsupportedLoraError

MAX_TRIGGER_WORDS, MAX_TRIGGER_CHARACTERS = 20, 200
MODULE_NAME = re.compile(r"\^?[\w.]+", re.ASCII)

MAX_CLAIM_CHARACTERS = 200
# musubi-tuner's own among the modules of networks that it shares with sd-scripts.
MUSUBI = re.compile(
    r"musubi_tuner\..*|networks\.(loha|lokr"
    r"|lora_(qwen_image|zimage|flux_2|wan|framepack|hv_1_5|kandinsky|krea2|ideogram4|hidream_o1))"
)


def claimed_base_models(metadata: Mapping[str, str]) -> list[Claim]:
    """Return what the metadata says that the adapter loads into."""
    claims = []
    for key in ("modelspec.architecture", "ss_base_model_version", "ss_sd_model_name"):
        words = plain_line(metadata.get(key, ""))[:MAX_CLAIM_CHARACTERS]
        base_model = name_claim(words)
        # A file's name that is not known here is no other base model, just someone's file.
        if words and (base_model or key != "ss_sd_model_name"):
            claims.append(Claim(base_model, f"{key} says {words!r}"))
    return claims


def find_trainer(metadata: Mapping[str, str]) -> str | None:
    """Return the program that trained the adapter, where it left its marks."""
    if "ot_config" in metadata or "ot_revision" in metadata:
        return "OneTrainer"
    software = metadata.get("software", "")
    if "ai-toolkit" in software:
        return "ai-toolkit"
    module = metadata.get("ss_network_module", "")
    if module.startswith("lycoris"):
        return "LyCORIS"
    if MUSUBI.fullmatch(module):
        return "musubi-tuner"
    if module.startswith("networks."):
        return "sd-scripts"
    if "lora_adapter_metadata" in metadata:
        return "diffusers"
    return plain_line(software)[:60] or None


def trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words that the author says activate the adapter, without repeats."""
    written = [metadata.get(key, "") for key in ("modelspec.trigger_phrase", "ss_trigger_words")]
    written.append(_only_tag(metadata.get("ss_tag_frequency", "")))
    words = (plain_line(word) for text in written for word in text.split(","))
    kept = [word for word in words if word and len(word) <= MAX_TRIGGER_CHARACTERS]
    return tuple(dict.fromkeys(kept))[:MAX_TRIGGER_WORDS]


def metadata_scales(
    file: str | Path, metadata: Mapping[str, str], prefix: str, ranks: Mapping[str, int | None]
) -> dict[str, float]:
    """Return alpha / rank of every layer from PEFT's config as diffusers writes it.

    `ranks` are those of the tensors, None where they do not tell (LoHa, LoKr): then the
    config's count. Empty where the file has none: every scale is 1, or alphas are tensors.
    """
    written = metadata.get("lora_adapter_metadata")
    if written is None:
        return {}
    config = _parse(written)
    if not isinstance(config, dict):
        raise BadWeightsError(file, "lora_adapter_metadata is not a JSON object")
    prefix = prefix or "transformer."
    settings = {key.removeprefix(prefix): v for key, v in config.items() if key.startswith(prefix)}
    if not settings:
        return {}
    # LoraConfig's name for it, and that of LoHaConfig and LoKrConfig.
    alphas = _read_pattern(file, settings, "lora_alpha" if "lora_alpha" in settings else "alpha")
    config_ranks = _read_pattern(file, settings, "r") if None in ranks.values() else None
    scales = {}
    for module, rank in ranks.items():
        if rank is None:
            assert config_ranks is not None
            rank = round(config_ranks(module))
        # Tensors of rank 0 are refused where layers are put together.
        rank = max(1, rank)
        divisor = math.sqrt(rank) if settings.get("use_rslora") else rank
        scales[module] = alphas(module) / divisor
    return scales


def claims_dora(metadata: Mapping[str, str]) -> bool:
    """Return whether PEFT's config says that layers have magnitudes."""
    config = _parse(metadata.get("lora_adapter_metadata", ""))
    if not isinstance(config, dict):
        return False
    return any(
        value is True and not key.startswith("text_encoder")
        for key, value in config.items()
        if key.endswith("use_dora")
    )


def _read_pattern(file: str | Path, config: Mapping[str, Any], name: str) -> Callable[[str], float]:
    """Return a setting by module: PEFT's first pattern that fits, or else the default."""
    patterns = config.get("rank_pattern" if name == "r" else "alpha_pattern") or {}
    default = config.get(name)
    if not isinstance(patterns, dict) or not all(map(_is_number, (default, *patterns.values()))):
        raise BadWeightsError(file, f"lora_adapter_metadata gives no usable {name}")
    if not all(MODULE_NAME.fullmatch(pattern) for pattern in patterns):
        # PEFT would run them as regular expressions; an author's may never end.
        raise UnsupportedLoraError(file, "alpha_pattern is not made of plain module names")
    exact = {key[1:]: value for key, value in patterns.items() if key.startswith("^")}

    def find(module: str) -> float:
        if module in exact:
            return float(exact[module])
        # PEFT matches the module's whole name or its last parts; the first that fits counts.
        for key, value in patterns.items():
            if module == key or module.endswith(f".{key}"):
                return float(value)
        return float(default)  # type: ignore[arg-type]

    return find


def _only_tag(frequency: str) -> str:
    """The tag of a file that has just one: ai-toolkit writes its trigger word this way."""
    counts = _parse(frequency)
    if not isinstance(counts, dict):
        return ""
    tags = {tag for part in counts.values() if isinstance(part, dict) for tag in part}
    return tags.pop() if len(tags) == 1 else ""


def _parse(text: str) -> Any:
    """Return the JSON value, or None for what is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
