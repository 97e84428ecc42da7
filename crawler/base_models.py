"""The many spellings of a base model, and the one that we store."""

import re
from collections.abc import Iterable

from crawler.records import UNKNOWN_BASE_MODEL

# Keys are spellings without owner, revision, case and punctuation. Only whole names count:
# "flux" somewhere in a name says nothing about what the weights load into.
# Spellings: ModelScope's base_model and vision_foundation values, Hugging Face ids,
# Civitai's baseModels, kohya's ss_base_model_version, modelspec.architecture.
SPELLINGS = {
    "flux.1-dev": ["flux1dev", "flux1", "flux1d", "fluxdev", "flux1devfp8"],
    "flux.1-schnell": ["flux1schnell", "flux1s", "fluxschnell"],
    "flux.1-fill-dev": ["flux1filldev"],
    "flux.1-krea-dev": ["flux1kreadev", "flux1krea"],
    "flux.1-kontext-dev": ["flux1kontextdev", "flux1kontext"],
    "flux.2": ["flux2", "flux2klein"],
    "flux.2-dev": ["flux2dev", "flux2d"],
    "flux.2-klein-4b": ["flux2klein4b"],
    "flux.2-klein-base-4b": ["flux2klein4bbase", "flux2kleinbase4b"],
    "flux.2-klein-9b": ["flux2klein9b"],
    "flux.2-klein-base-9b": ["flux2klein9bbase", "flux2kleinbase9b"],
    "sd-1.4": ["sd14", "stablediffusionv14"],
    "sd-1.5": ["sd15", "stablediffusionv15", "stablediffusion15", "sdv15", "sdv1"],
    "sd-1.5-lcm": ["sd15lcm"],
    "sd-1.5-hyper": ["sd15hyper"],
    "sd-2.0": ["sd20", "sd20768", "sd2", "stablediffusion2", "stablediffusion2base"],
    "sd-2.1": [
        "sd21", "sd21768", "sdv2", "stablediffusion21", "stablediffusion21base",
        "stablediffusionv21",
    ],
    "sdxl-1.0": [
        "sdxl", "sdxl09", "sdxl10", "sdxlbasev10", "sdxlbase10", "stablediffusionxlbase09",
        "stablediffusionxlbase10", "stablediffusionxlv1base",
    ],
    "sdxl-turbo": ["sdxlturbo"],
    "sdxl-lcm": ["sdxl10lcm"],
    "sdxl-lightning": ["sdxllightning"],
    "sdxl-hyper": ["sdxlhyper"],
    "pony": ["pony", "ponydiffusionv6xl"],
    "illustrious": [
        "illustrious", "illustriousxl", "illustriousxlv01", "illustriousxlv10",
        "illustriousxlv11", "illustriousxlv20", "illustriousxlearlyreleasev0",
    ],
    "noobai": [
        "noobai", "noobaixl", "noobaixl10", "noobaixlv10", "noobaixl11", "noobaixlvpred10",
    ],
    "animagine": ["animaginexl31", "animaginexl40"],
    "sd-3": ["sd3", "stablediffusion3medium"],
    "sd-3.5-large": ["stablediffusion35large", "sd35large"],
    "sd-3.5-medium": ["stablediffusion35medium", "sd35medium"],
    "qwen-image": ["qwenimage", "qwenimage20b", "qwen"],
    "qwen-image-2512": ["qwenimage2512"],
    "qwen-image-layered": ["qwenimagelayered"],
    "qwen-image-edit": ["qwenimageedit"],
    "qwen-image-edit-2509": ["qwenimageedit2509"],
    "qwen-image-edit-2511": ["qwenimageedit2511"],
    "qwen-image-2.1": ["qwenimage21"],
    "z-image": ["zimage", "zimagebase"],
    "z-image-turbo": ["zimageturbo"],
    "krea-2": ["krea2", "krea2raw", "krea2turbo"],
    "kolors": ["kolors", "kolorsdiffusers"],
    "chroma": ["chroma", "chroma1", "chroma1hd", "chroma1base"],
    "flux.1-lite": ["flux1lite8b"],
    "hunyuan-video": ["hunyuanvideo"],
    "ssd-1b": ["ssd1b"],
    "segmind-vega": ["segmindvega"],
    "auraflow": ["auraflow"],
    "pony-v7": ["ponyv7"],
    "playground-v2": ["playgroundv2"],
    "demo-flux-tiny": ["demofluxtiny"],
}  # fmt: skip
_NAMES = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings}
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
