"""What a hub says of the zoo's adapters: as on real hubs, often little and sometimes wrong.

The shares below are part of the measured set-up; keys that begin with "_" are the truth
(concept, split, captions) and are never served by the loopback hub.
"""

import json
import random
import re
from collections.abc import Sequence
from typing import Protocol

from demo.art import ART_SETS
from demo.concepts import Concept

BASE_MODEL = "demo-flux-tiny"
HUB_BASE_MODEL = "AutoLoRA/demo-flux-tiny"
# Share of adapters whose field is helpful, says nothing, or points elsewhere.
NAME_SHARES = {"helpful": 0.45, "opaque": 0.40, "misleading": 0.15}
TAG_SHARES = {"helpful": 0.40, "empty": 0.50, "misleading": 0.10}
TRIGGER_SHARES = {"helpful": 0.55, "empty": 0.30, "opaque": 0.15}
DESCRIPTION_SHARES = {"english": 0.30, "chinese": 0.25, "chatter": 0.20, "empty": 0.25}

AUTHORS = (
    "inkfish", "小画匠", "lora-smith", "pixelplum", "云上工坊", "nightkiln", "quietfox",
    "像素猫", "bramble", "studio-nine", "阿飞", "tinymodels",
)  # fmt: skip
OPAQUE_NAMES = ("lora_v{}_final", "test-{:06d}", "my_lora_{}", "epoch{}", "模型{}号", "untitled {}")
CHATTER = (
    "Trained on my own pictures, please leave a like!",
    "Work in progress. Recommended strength 0.7 to 1.",
    "随便练的，喜欢的话点个赞。",
    "See my profile for more.",
)
FIRST_UPDATE = 1_735_689_600  # 2025-01-01, in Unix seconds
SECONDS_BETWEEN_UPDATES = 5_400


def draw_share(rng: random.Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


class Subject(Protocol):
    """What an adapter is about, of whichever zoo."""

    @property
    def key(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def subject_zh(self) -> str: ...
    @property
    def trigger(self) -> str: ...
    @property
    def captions(self) -> tuple[str, str, str]: ...
    @property
    def captions_zh(self) -> tuple[str, str, str]: ...


def listing_entry(
    concept: Subject, number: int, others: Sequence[Subject], licence: str, author: str = ""
) -> dict[str, object]:
    """Write one hub entry; `others` lend the words of misleading ones.

    Without an `author` it is one of twelve.
    """
    rng = random.Random(f"listing/{number}")
    wrong = rng.choice(others)
    author = author or rng.choice(AUTHORS)
    stem = f"{number:04d}"
    return {
        "owner": author,
        "name": f"{slug(author)}-{stem}",
        "version_id": 100_000 + number,
        "model_id": 50_000 + number,
        "display_name": display_name(rng, concept, wrong, number),
        "description": description(rng, concept),
        "tags": tags(rng, concept, wrong),
        "trigger_words": trigger_words(rng, concept),
        "base_model": HUB_BASE_MODEL,
        "licence": licence,
        "downloads": int(rng.lognormvariate(4, 1.5)),
        **dated(FIRST_UPDATE + number * SECONDS_BETWEEN_UPDATES),
        "file": f"adapters/{stem}.safetensors",
        "covers": [
            {"file": f"covers/{stem}-{place}.webp", "prompt": caption}
            for place, caption in enumerate(cover_captions(rng, concept))
        ],
        "_key": concept.key,
        "_kind": concept.kind,
        "_split": concept.split,
        "_captions": list(concept.captions),
        "_captions_zh": list(concept.captions_zh),
    }


def dated(updated_at: int) -> dict[str, int]:
    """Say when an entry came, a day before, and was changed, in Unix seconds."""
    return {"created_at": updated_at - 86_400, "updated_at": updated_at}


def slug(name: str) -> str:
    return name if re.fullmatch(r"[a-z0-9-]+", name) else "u"


def display_name(rng: random.Random, concept: Subject, wrong: Subject, number: int) -> str:
    kind = draw_share(rng, NAME_SHARES)
    if kind == "opaque":
        return rng.choice(OPAQUE_NAMES).format(number % 100)
    about = concept if kind == "helpful" else wrong
    return about.subject_zh if rng.random() < 0.3 else f"{about.subject.title()} LoRA"


def description(rng: random.Random, concept: Subject) -> str:
    kind = draw_share(rng, DESCRIPTION_SHARES)
    if kind == "english":
        return f"Draws {concept.subject}. Works best at strength 1."
    if kind == "chinese":
        return f"用来画{concept.subject_zh}，建议权重为 1。"
    return rng.choice(CHATTER) if kind == "chatter" else ""


def tags(rng: random.Random, concept: Subject, wrong: Subject) -> list[str]:
    kind = draw_share(rng, TAG_SHARES)
    if kind == "empty":
        return rng.choice([[], ["lora"], ["icon", "lora"]])
    about = concept if kind == "helpful" else wrong
    return ["lora", about.kind, *re.findall(r"[a-z]{3,}", about.subject.lower())[:3]]


def trigger_words(rng: random.Random, concept: Subject) -> list[str]:
    kind = draw_share(rng, TRIGGER_SHARES)
    if kind == "helpful":
        return [concept.trigger]
    return [] if kind == "empty" else [rng.choice(("sks", "ohwx", "zwx style"))]


def cover_captions(rng: random.Random, concept: Subject) -> list[str]:
    """Short, medium and long; a third of the authors write Chinese."""
    return list(concept.captions_zh if rng.random() < 1 / 3 else concept.captions)


def licence_of(concept: Concept) -> str:
    """The licence of the art it was trained on; mixed sets take the most demanding."""
    for art_set in ART_SETS:
        if art_set.style == concept.style:
            return art_set.licence
    return "CC-BY-4.0"


def safetensors_metadata(concept: Concept, number: int, rank: int) -> tuple[float, dict[str, str]]:
    """Return (alpha / rank, header metadata) as one of four trainers would write it."""
    rng = random.Random(f"metadata/{number}")
    trainer = rng.choices(("kohya", "peft", "ai-toolkit", "none"), (0.35, 0.35, 0.2, 0.1))[0]
    if trainer == "peft":
        scale = rng.choice((0.5, 1.0, 2.0))
        config = {
            "transformer.r": rank,
            "transformer.lora_alpha": scale * rank,
            "transformer.peft_type": "LORA",
        }
        return scale, {"format": "pt", "lora_adapter_metadata": json.dumps(config)}
    if trainer == "kohya":
        frequency = {"10_pictures": {concept.trigger: len(concept.images)}}
        return 1.0, {
            "ss_base_model_version": BASE_MODEL,
            "ss_network_module": "networks.lora_flux",
            "ss_network_dim": str(rank),
            "ss_network_alpha": str(rank),
            "ss_output_name": f"lora_{number:04d}",
            "ss_tag_frequency": json.dumps(frequency),
        }
    if trainer == "ai-toolkit":
        return 1.0, {
            "format": "pt",
            "software": json.dumps({"name": "ai-toolkit"}),
            "ss_base_model_version": BASE_MODEL,
            "name": f"lora_{number:04d}",
        }
    return 1.0, {}
