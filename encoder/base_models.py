"""The base models whose adapters are understood: their layers, and how a file is told theirs.

A family is one architecture with its sizes. Variants that shapes cannot tell apart
(FLUX.1 dev, schnell, Kontext…; SDXL, Pony, Illustrious…) share a family, so their adapters
compare.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from crawler.records import UNKNOWN_BASE_MODEL
from encoder.families.modules import Parameters, pack, read_parameters, unpack

# (d_out, d_in) of a linear layer.
Shape = tuple[int, int]
# (c_out, c_in, height, width) of a convolution.
Kernel = tuple[int, int, int, int]

TABLES = Path(__file__).parent / "families"
# Where each architecture keeps its blocks; what lies outside embeds inputs and makes outputs.
BLOCKS = (
    "transformer_blocks", "single_transformer_blocks",  # FLUX, Qwen-Image
    "noise_refiner", "context_refiner", "layers",  # Z-Image
    "down_blocks", "mid_block", "up_blocks",  # UNets
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """One architecture with its sizes; layers are named as in its diffusers class.

    Compared and hashed by its name and, unless it is shipped, by its layers. Shipped tables are
    read when a layer is first asked for; `python -m encoder.families` writes them.
    """

    name: str
    packed: str | None = field(default=None, repr=False)

    @classmethod
    def from_config(
        cls,
        name: str,
        architecture: str,
        config: Mapping[str, Any],
        text_widths: Collection[int] = (),
    ) -> "Family":
        """Return the family of a diffusers class at any size, built without its weights.

        `text_widths` are the hidden sizes of its text encoders, where they are known.

        Raises:
            ValueError: diffusers has no such class, or the config is not one of it.
        """
        modules = pack(read_parameters(architecture, config))
        return cls(name, json.dumps({"modules": modules, "text_widths": sorted(text_widths)}))

    @cached_property
    def layers(self) -> Mapping[str, Shape]:
        """Every linear layer that an adapter may change, in module order."""
        return {name: (shape[0], shape[1]) for name, shape in self._weights(2)}

    @cached_property
    def block_layers(self) -> Mapping[str, Shape]:
        """Linear layers of the blocks, in their order: what sketches are made of."""
        return {n: shape for n, shape in self.layers.items() if n.partition(".")[0] in BLOCKS}

    @cached_property
    def convolutions(self) -> Mapping[str, Kernel]:
        """Every convolution, in module order; only UNets have them."""
        return {n: (s[0], s[1], s[2], s[3]) for n, s in self._weights(4)}

    @cached_property
    def vectors(self) -> Mapping[str, int]:
        """Biases and the weights of norms: parameter name -> length."""
        return {name: shape[0] for name, shape in self._parameters.items() if len(shape) == 1}

    @cached_property
    def blocks(self) -> frozenset[str]:
        """Names of the repeated blocks, as "transformer_blocks.0"."""
        return frozenset(map(_block_of, self.block_layers))

    @cached_property
    def text_widths(self) -> frozenset[int]:
        """Hidden sizes of the text encoders; empty where they are not known."""
        return frozenset(self._table["text_widths"])

    @property
    def rare(self) -> bool:
        """Whether hubs have so few adapters of it that the other reading is nearly always right."""
        return bool(self._table.get("rare"))

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a layer's weight, or of a vector by its parameter's name."""
        own = self.layers.get(name) or self.convolutions.get(name)
        return own or self._parameters.get(name)

    @cached_property
    def _table(self) -> dict[str, Any]:
        shipped = TABLES / f"{self.name}.json"
        table: dict[str, Any] = json.loads(self.packed or shipped.read_text(encoding="utf-8"))
        return table

    @cached_property
    def _parameters(self) -> Parameters:
        return unpack(self._table["modules"])

    def _weights(self, sides: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for name, shape in self._parameters.items():
            if len(shape) == sides:
                yield name.removesuffix(".weight"), shape


# base models by family, the most general name first and the most special last.
VARIANTS = {
    "flux.1": (
        "flux.1", "flux.1-dev", "flux.1-schnell", "flux.1-fill-dev", "flux.1-krea-dev",
        "flux.1-kontext-dev",
    ),
    "flux.2-dev": ("flux.2-dev",),
    "flux.2-klein-4b": ("flux.2-klein-4b", "flux.2-klein-base-4b"),
    "flux.2-klein-9b": ("flux.2-klein-9b", "flux.2-klein-base-9b"),
    "sdxl-1.0": (
        "sdxl-1.0", "sdxl-turbo", "sdxl-lcm", "sdxl-lightning", "sdxl-hyper", "animagine",
        "pony", "illustrious", "noobai",
    ),
    "sd-1.5": ("sd-1.5", "sd-1.4", "sd-1.5-lcm", "sd-1.5-hyper"),
    "sd-2.1": ("sd-2.1", "sd-2.0"),
    "qwen-image": (
        "qwen-image", "qwen-image-2512", "qwen-image-layered", "qwen-image-edit",
        "qwen-image-edit-2509", "qwen-image-edit-2511",
    ),
    "z-image": ("z-image", "z-image-turbo"),
    "demo-flux-tiny": ("demo-flux-tiny",),
}  # fmt: skip
FAMILIES = tuple(map(Family, VARIANTS))

# Other architectures with layers of ours, to tell them apart; their adapters are not read.
LOOKALIKES = tuple(
    map(Family, ("chroma", "flux.1-lite", "hunyuan-video", "kolors", "krea-2", "qwen-image-2.1"))
)
# Base models known by name alone.
OTHERS = (
    "auraflow", "flux.3", "hidream", "lumina-2", "playground-v2", "pony-v7", "sd-3",
    "sd-3.5-large", "sd-3.5-medium", "segmind-vega", "ssd-1b",
)  # fmt: skip
# Names that leave the size open; layers tell it.
GENERAL = {"flux.2": ("flux.2-dev", "flux.2-klein-4b", "flux.2-klein-9b")}

# Every base model that is known by name, and its families.
BASE_MODELS: Mapping[str, tuple[str, ...]] = {
    **{name: (family,) for family, variants in VARIANTS.items() for name in variants},
    **{family.name: () for family in LOOKALIKES},
    **dict.fromkeys(OTHERS, ()),
    **GENERAL,
}
_PLACES = {name: place for place, name in enumerate(BASE_MODELS)}

# What trainers write into files, by our name: letters and digits of modelspec.architecture,
# ss_base_model_version and ss_sd_model_name (a file or a hub's id) of sd-scripts [1],
# musubi-tuner [2], ai-toolkit [3] and OneTrainer [4]. Hubs' words are in crawler/base_models.py.
# - [1] https://github.com/kohya-ss/sd-scripts library/sai_model_spec.py, library/*_util*.py
# - [2] https://github.com/kohya-ss/musubi-tuner utils/sai_model_spec.py, dataset/architectures.py
# - [3] https://github.com/ostris/ai-toolkit get_base_model_version of its models
# - [4] https://github.com/Nerogar/OneTrainer resources/sd_model_spec, modelSaver/mixin
CLAIMS = {
    "flux.1": ["flux1"],
    "flux.1-dev": ["flux1dev", "fluxdev", "flux1devfp8"],
    "flux.1-schnell": ["flux1schnell", "fluxschnell"],
    "flux.1-fill-dev": ["flux1filldev"],
    "flux.1-krea-dev": ["flux1kreadev", "flux1krea", "fluxkrea", "fluxkreadev"],
    "flux.1-kontext-dev": [
        "flux1kontextdev", "flux1kontext", "fluxkontext", "fluxkontextdev", "flux1devkontext",
    ],
    "flux.2": ["flux2", "flux2klein"],
    "flux.2-dev": ["flux2dev"],
    "flux.2-klein-4b": ["flux2klein4b"],
    "flux.2-klein-base-4b": ["flux2kleinbase4b"],
    "flux.2-klein-9b": ["flux2klein9b"],
    "flux.2-klein-base-9b": ["flux2kleinbase9b"],
    "sdxl-1.0": [
        "sdxl", "sdxl10", "sdxlbasev10", "sdxlbasev09", "sdxlbase10", "sdxlbase1009vae",
        "stablediffusionxlbase10", "stablediffusionxlv1base", "stablediffusionxlv1baseinpainting",
    ],
    "pony": ["ponydiffusionv6xl", "ponydiffusionv6xlv6startwiththisone"],
    "illustrious": [
        "illustriousxl", "illustriousxlv01", "illustriousxlv10", "illustriousxlv11",
        "illustriousxlv20", "illustriousxlearlyreleasev0",
    ],
    "noobai": [
        "noobaixl", "noobaixl11", "noobaixlv11", "noobaixlvpred10", "noobaixlvpredv10",
        "noobaixlnaixlvpred10version", "noobaixlnaixlepsilonpred11version",
    ],
    "animagine": ["animaginexl31", "animaginexl40", "animaginexl40opt"],
    "sd-1.5": [
        "sdv1", "sdv1v", "sd15", "stablediffusionv1", "stablediffusionv1inpainting",
        "stablediffusionv15", "v15pruned", "v15prunedemaonly",
    ],
    "sd-1.4": ["stablediffusionv14"],
    "sd-2.1": [
        "sdv2", "sdv2v", "sd21", "stablediffusionv2", "stablediffusionv2512",
        "stablediffusionv2768v", "stablediffusionv2inpainting", "stablediffusionv2depth",
        "stablediffusion21", "stablediffusion21base", "v21768emapruned", "v21512emapruned",
    ],
    "sd-2.0": ["stablediffusion2", "stablediffusion2base", "768vema", "512baseema"],
    "qwen-image": ["qwenimage", "qwenimagebf16"],
    "qwen-image-2512": ["qwenimage2512", "qwenimage2512bf16"],
    "qwen-image-layered": ["qwenimagelayered"],
    "qwen-image-edit": ["qwenimageedit", "qwenimageeditplus", "qwenimageeditbf16"],
    "qwen-image-edit-2509": ["qwenimageedit2509", "qwenimageedit2509bf16"],
    "qwen-image-edit-2511": ["qwenimageedit2511", "qwenimageedit2511bf16"],
    "z-image": ["zimage"],
    "z-image-turbo": ["zimageturbo", "zimageturbobf16"],
    "demo-flux-tiny": ["demofluxtiny"],
    "chroma": ["chroma", "chroma1", "chroma1hd", "chroma1base"],
    "hunyuan-video": ["hunyuanvideo", "framepack"],
    "krea-2": ["krea2"],
    "kolors": ["kolors"],
    "sd-3": ["sd3", "stablediffusion3", "stablediffusion3m", "stablediffusionv3medium"],
    "sd-3.5-large": ["stablediffusion35large", "stablediffusionv35"],
    "sd-3.5-medium": ["stablediffusion35medium"],
    "auraflow": ["auraflow"],
    "lumina-2": ["lumina2"],
    "ssd-1b": ["ssd"],
    "segmind-vega": ["vega"],
}  # fmt: skip
_NAMES = {words: name for name, spellings in CLAIMS.items() for words in spellings}


class Confidence(IntEnum):
    """How well layers alone tell the family; more is surer."""

    NONE = 0  # no family has these layers
    CLAIM_NEEDED = 1  # several have them: only a claim (metadata, a hub's card) can decide
    LIKELY = 2  # several have them, but an adapter of the others would not look like this
    CERTAIN = 3  # of all architectures known here, one has them


@dataclass(frozen=True)
class FamilyMatch:
    """The family that a file's layers tell, how surely, and why.

    `family` is None below LIKELY; `candidates` are all that have every layer, those that are
    known only to be told apart included.
    """

    family: Family | None
    confidence: Confidence
    evidence: str
    candidates: tuple[Family, ...] = ()


@cache
def find_family(base_model: str) -> Family | None:
    """Return the family of a base model: "flux.1-dev" and "flux.1" are of "flux.1".

    A name not known here belongs to the family that it begins with ("z-image-edit").
    """
    families = BASE_MODELS.get(base_model)
    for family in FAMILIES:
        if families == (family.name,):
            return family
        if families is None and base_model.startswith(f"{family.name}-"):
            return family
    return None


def name_claim(words: str) -> str | None:
    """Return our name of the base model that a trainer names, None if it is not known here.

    Only whole names count: "flux" somewhere in a name says nothing of what weights load into.
    """
    name = re.sub(r"/(lora|embedding|textual-inversion)$", "", words.strip().lower())
    name = re.sub(r"\.(safetensors|ckpt|pth?)$", "", re.split(r"[/\\]", name)[-1])
    return _NAMES.get(re.sub(r"[^a-z0-9]", "", name))


def match_family(
    shapes: Mapping[str, tuple[int, ...]],
    families: Sequence[Family] = FAMILIES,
    *,
    text_widths: Collection[int] = (),
) -> FamilyMatch:
    """Tell the family from layers' names and shapes, with the evidence in words.

    `shapes` are those of the base's weights that the adapter changes: (d_out, d_in) of linear
    layers, (c_out, c_in, height, width) of convolutions, (length,) of vectors by parameter
    name. Every one must exist in the family with that very shape: HunyuanVideo shares names
    and width with FLUX.1 but has more blocks, so one block too many is enough to doubt.
    `text_widths` are the hidden sizes of text encoders that the file changes as well.
    """
    if not shapes:
        return FamilyMatch(None, Confidence.NONE, "no layer of a diffusion network is changed")
    known = (*families, *LOOKALIKES)
    fitting = tuple(family for family in known if not _misfits(shapes, family))
    if not fitting:
        return FamilyMatch(None, Confidence.NONE, _describe_misfit(shapes, known))
    evidence = f"all {len(shapes)} layers exist in {_list(fitting)} with these shapes"
    if text_widths:
        widths = set(text_widths)
        agreeing = tuple(f for f in fitting if not f.text_widths or widths <= f.text_widths)
        found = " and ".join(map(str, sorted(widths)))
        evidence += f"; text encoders {found} wide are those of {_list(agreeing) or 'none of them'}"
        fitting = agreeing
    chosen, confidence, why = _choose(shapes, fitting)
    if chosen not in families:
        # Of an architecture that is only known to be told apart.
        chosen, confidence = None, min(confidence, Confidence.CLAIM_NEEDED)
    return FamilyMatch(chosen, confidence, evidence + why, fitting)


def _choose(
    shapes: Mapping[str, tuple[int, ...]], fitting: Sequence[Family]
) -> tuple[Family | None, Confidence, str]:
    if not fitting:
        return None, Confidence.NONE, ""
    if len(fitting) == 1:
        return fitting[0], Confidence.CERTAIN, ""
    usual = [family for family in fitting if not family.rare]
    if len(usual) == 1:
        others = _list([family for family in fitting if family.rare])
        return usual[0], Confidence.LIKELY, f"; adapters of {others} are rare"
    # Trainers leave out kinds of layers, hardly ever the last blocks of a network.
    blocks = set(map(_block_of, shapes))
    whole = [family for family in usual if family.blocks <= blocks]
    if len(whole) == 1:
        return whole[0], Confidence.LIKELY, f"; only {whole[0].name} has no block beyond these"
    return None, Confidence.CLAIM_NEEDED, ""


def _misfits(shapes: Mapping[str, tuple[int, ...]], family: Family) -> list[str]:
    return [name for name, shape in shapes.items() if family.shape_of(name) != shape]


def _describe_misfit(shapes: Mapping[str, tuple[int, ...]], families: Sequence[Family]) -> str:
    nearest = min(families, key=lambda family: len(_misfits(shapes, family)))
    wrong = _misfits(shapes, nearest)
    if len(wrong) == len(shapes):
        return f"none of the {len(shapes)} layers exists in a base model known here"
    size = "x".join(map(str, shapes[wrong[0]]))
    return (
        f"{len(shapes) - len(wrong)} of {len(shapes)} layers exist in {nearest.name} with these "
        f"shapes, but {wrong[0]} ({size}) does not"
    )


def _list(families: Sequence[Family]) -> str:
    return " and ".join(family.name for family in families)


def _block_of(layer: str) -> str:
    """ "transformer_blocks.0.attn.to_q" -> "transformer_blocks.0"."""
    found = re.match(r"\w+\.\d+", layer)
    return found[0] if found else layer.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Claim:
    """What an author or a hub says that an adapter loads into, and in which words."""

    base_model: str | None  # None where the words are not known here
    text: str


def decide_base_model(match: FamilyMatch, claims: Sequence[Claim]) -> tuple[str, tuple[str, ...]]:
    """Return the base model, "unknown" unless all agree, and the evidence in words.

    Layers tell the family, claims the variant: the most special one that is claimed. Claims
    that contradict the layers or each other, or that are all in words not known here, leave
    nothing certain. The base model may be one whose adapters are not read ("chroma").
    """
    evidence = (match.evidence, *(claim.text for claim in claims))
    known = [claim.base_model for claim in claims if claim.base_model]
    if not known:
        certain = match.family is not None and not claims
        return match.family.name if match.family and certain else UNKNOWN_BASE_MODEL, evidence
    agreed = [f for f in match.candidates if all(_covers(name, f) for name in known)]
    if len(agreed) != 1:
        return UNKNOWN_BASE_MODEL, evidence
    special = [name for name in known if name not in GENERAL] or [agreed[0].name]
    return max(special, key=lambda name: _PLACES.get(name, 0)), evidence


def _covers(base_model: str, family: Family) -> bool:
    found = find_family(base_model)
    names = (found.name,) if found else BASE_MODELS.get(base_model, ())
    return family.name in (*names, base_model)
