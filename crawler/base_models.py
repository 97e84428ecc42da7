"""The many spellings of a base model, and the one that we store."""

import re
from collections.abc import Iterable

from crawler.records import UNKNOWN_BASE_MODEL

# Keys are spellings without owner, revision, case and punctuation. Only whole names count:
# "flux" somewhere in a name says nothing about what the weights load into.
# Spellings: ModelScope's base_model and vision_foundation values, Hugging Face ids,
# Civitai's baseModels, kohya's ss_base_model_version, modelspec.architecture.
_SPELLINGS = {
    "flux.1-dev": ["flux1dev", "flux1", "flux1d", "fluxdev", "flux1devfp8"],
    "flux.1-schnell": ["flux1schnell", "flux1s", "fluxschnell"],
    "flux.1-kontext-dev": ["flux1kontextdev", "flux1kontext"],
    "flux.1-krea-dev": ["flux1kreadev", "flux1krea"],
    "flux.2-dev": ["flux2dev", "flux2", "flux2d"],
    "sd-1.5": ["stablediffusionv15", "stablediffusion15", "sd15", "sdv15", "sdv1"],
    "sd-2.1": ["stablediffusion21", "stablediffusionv21", "sd21", "sdv2"],
    "sdxl-1.0": [
        "stablediffusionxlbase10", "stablediffusionxlv1base", "sdxl", "sdxl10", "sdxlbasev10",
        "sdxlbase10",
    ],
    "sd-3.5-large": ["stablediffusion35large", "sd35large"],
    "sd-3.5-medium": ["stablediffusion35medium", "sd35medium"],
    "pony": ["pony", "ponydiffusionv6xl"],
    "illustrious": ["illustrious", "illustriousxl", "illustriousxlv01", "illustriousxlv10"],
    "qwen-image": ["qwenimage", "qwenimage20b", "qwen"],
    "qwen-image-2512": ["qwenimage2512"],
    "qwen-image-edit": ["qwenimageedit"],
    "z-image": ["zimage", "zimagebase"],
    "z-image-turbo": ["zimageturbo"],
    "kolors": ["kolors", "kolorsdiffusers"],
    "chroma": ["chroma", "chroma1hd"],
    "demo-flux-tiny": ["demofluxtiny"],
}  # fmt: skip
_NAMES = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
_MUSE_ID = re.compile(r"^\d+_ckpt_", re.IGNORECASE)


def normalise_base_model(spellings: Iterable[object]) -> str:
    """Return our name of the first spelling that we know, else "unknown"."""
    for spelling in spellings:
        if isinstance(spelling, str) and (name := _NAMES.get(_squeeze(spelling[:200]))):
            return name
    return UNKNOWN_BASE_MODEL


def _squeeze(spelling: str) -> str:
    """ "MusePublic/489_ckpt_FLUX_1@v1" -> "flux1"; "flux-1-dev/lora" -> "flux1dev"."""
    name = spelling.split("@")[0].removesuffix("/lora").rpartition("/")[2]
    return re.sub(r"[^a-z0-9]", "", _MUSE_ID.sub("", name).lower())
