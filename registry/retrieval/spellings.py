"""Values to filter by as people write them -> how adapters may have them.

Each is looked for as it was written, too: a hub of one's own may be called "hf". Pure, and few for
any value: what filters ask is one condition, whatever is in the database.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from registry.text.word_segmentation import clean

Spelled = Literal["licences", "hubs", "trainers"]

_SEAMS = re.compile(r"[\s_-]+")
# "apache2.0"; not inside cc0, which is looked for as it is as well.
_BEFORE_NUMBER = re.compile(r"(?<=[a-z])(?=\d+\.)")
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?([^/\s]+)/?", re.IGNORECASE)

# By what is left without spaces, underscores and hyphens, in lower case.
_HUBS: Mapping[str, str] = {
    "civitai.com": "civitai", "civitai.red": "civitai", "c站": "civitai",
    "huggingface.co": "huggingface", "hf.co": "huggingface", "hf": "huggingface",
    "huggingface": "huggingface", "抱抱脸": "huggingface",
    "modelscope.cn": "modelscope", "modelscope.ai": "modelscope", "modelscope": "modelscope",
    "魔搭": "modelscope", "魔搭社区": "modelscope",
}  # fmt: skip
# As `encoder.adapter.lora_metadata` names them, which is by their repositories.
_TRAINERS: Mapping[str, str] = {
    "kohya": "sd-scripts", "kohyass": "sd-scripts", "kohyasd": "sd-scripts",
    "kohya.ss": "sd-scripts", "sdscripts": "sd-scripts", "kohyascripts": "sd-scripts",
    "kohyass/sdscripts": "sd-scripts",
    "aitoolkit": "ai-toolkit", "ostris": "ai-toolkit", "ostris/aitoolkit": "ai-toolkit",
    "onetrainer": "onetrainer", "musubi": "musubi-tuner", "musubituner": "musubi-tuner",
    "simpletuner": "simpletuner", "lycoris": "lycoris",
}  # fmt: skip


def spellings(field: Spelled, values: Iterable[str]) -> tuple[str, ...]:
    """Return how adapters may have the values that a field of `Filters` asks for, each once."""
    written = [clean(value).strip() for value in values]
    meant = [one for value in written for one in _meant(field, value.lower())]
    return tuple(dict.fromkeys([*written, *meant]))


def _meant(field: Spelled, value: str) -> list[str]:
    if field == "licences":
        return _joined(value)
    if field == "hubs":
        address = _ADDRESS.fullmatch(value)
        known = _HUBS.get(_SEAMS.sub("", address[1] if address else value))
    else:
        known = _TRAINERS.get(_SEAMS.sub("", value))
    return [known] if known else []


def _joined(licence: str) -> list[str]:
    """Return a licence's name with each sign that may stand between its words."""
    parts = [part for part in _SEAMS.split(licence) if part]
    numbered = _SEAMS.split(_BEFORE_NUMBER.sub("-", licence))
    joined = [sign.join(parts) for sign in ("-", " ", "_", "")] + ["-".join(filter(None, numbered))]
    if len(parts) > 2:
        # As Creative Commons write it: "CC BY-NC-SA 4.0".
        joined.append(f"{parts[0]} {'-'.join(parts[1:-1])} {parts[-1]}")
    return joined
