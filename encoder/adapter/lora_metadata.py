"""What trainers write into a file's `__metadata__`: alpha, trigger words, trainer, base model.

All of it is an author's claim: used where names and shapes say nothing, checked otherwise.
"""

import re
from collections.abc import Mapping

from crawler.foreign_text import plain_line
from encoder.adapter.peft_config import parse_json
from encoder.base_models.matching import Claim
from encoder.base_models.names import name_claim

MAX_TRIGGER_WORDS, MAX_TRIGGER_CHARACTERS = 20, 200

MAX_CLAIM_CHARACTERS = 200
# What says trigger words is short, and so are counts of one tag. Longer texts, of up to 10 MB, take
# many times their length once they are parsed or split.
MAX_SAYING_CHARACTERS = 10_000
# The last two are SimpleTuner's and Draw Things'.
TRIGGER_KEYS = ("modelspec.trigger_phrase", "ss_trigger_words", "trained_words", "trigger_word")
# musubi-tuner's own among the modules of networks that it shares with sd-scripts, which writes
# besides, whatever it trains, whether that is Stable Diffusion 2 ("ss_v2").
MUSUBI = re.compile(
    r"musubi_tuner\..*|networks\.(loha|lokr"
    r"|lora_(qwen_image(_21)?|zimage|flux_2|wan|framepack|hv_1_5|kandinsky|krea2|ideogram4"
    r"|hidream_o1|ernie_image|mage_flow))"
)


def claimed_base_models(metadata: Mapping[str, str]) -> list[Claim]:
    """Return what the metadata says that the adapter loads into."""
    claims = []
    trainer = find_trainer(metadata) or ""
    for key in ("modelspec.architecture", "ss_base_model_version", "ss_sd_model_name"):
        words = plain_line(metadata.get(key, ""))[:MAX_CLAIM_CHARACTERS]
        base_model = name_claim(f"{trainer} {words}") or name_claim(words)
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
    if MUSUBI.fullmatch(module) and "ss_v2" not in metadata:
        return "musubi-tuner"
    if module.startswith("networks."):
        return "sd-scripts"
    if "global_step" in metadata and metadata.get("modelspec.implementation") == "diffusers":
        return "SimpleTuner"
    if "lora_adapter_metadata" in metadata:
        return "diffusers"
    return plain_line(software)[:60] or None


def trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words that the author says activate the adapter, without repeats."""
    written = [_short(metadata, key) for key in TRIGGER_KEYS]
    written.append(_only_tag(_short(metadata, "ss_tag_frequency")))
    words = (plain_line(word) for text in written for word in text.split(","))
    kept = [word for word in words if word and len(word) <= MAX_TRIGGER_CHARACTERS]
    return tuple(dict.fromkeys(kept))[:MAX_TRIGGER_WORDS]


def _short(metadata: Mapping[str, str], key: str) -> str:
    value = metadata.get(key, "")
    return value if len(value) <= MAX_SAYING_CHARACTERS else ""


def _only_tag(frequency: str) -> str:
    """The tag of a file that has just one: ai-toolkit writes its trigger word this way."""
    counts = parse_json(frequency)
    if not isinstance(counts, dict):
        return ""
    tags = {tag for part in counts.values() if isinstance(part, dict) for tag in part}
    return tags.pop() if len(tags) == 1 else ""
