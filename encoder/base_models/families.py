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
from encoder.base_models.modules import Parameters, pack, read_parameters, unpack
from encoder.base_models.names import CLAIMS, GENERAL, LOOKALIKE_NAMES, OTHERS, VARIANTS

# (d_out, d_in) of a linear layer.
Shape = tuple[int, int]
# (c_out, c_in, height, width) of a convolution.
Kernel = tuple[int, int, int, int]

TABLES = Path(__file__).parent
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
    read when a layer is first asked for; `python -m encoder.base_models` writes them.
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


FAMILIES = tuple(map(Family, VARIANTS))

# Only known to be told apart.
LOOKALIKES = tuple(map(Family, LOOKALIKE_NAMES))

# Every base model that is known by name, and its families.
BASE_MODELS: Mapping[str, tuple[str, ...]] = {
    **{name: (family,) for family, variants in VARIANTS.items() for name in variants},
    **{family.name: () for family in LOOKALIKES},
    **dict.fromkeys(OTHERS, ()),
    **GENERAL,
}
_PLACES = {name: place for place, name in enumerate(BASE_MODELS)}

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
    name. Every one must exist in the family with that very shape (1x1 kernels count as
    matrices): HunyuanVideo shares names and width with FLUX.1 but has more blocks, so one block
    too many is enough to doubt.
    `text_widths` are the hidden sizes of text encoders that the file changes as well.
    """
    if not shapes:
        return FamilyMatch(None, Confidence.NONE, "no layer of a diffusion network is changed")
    known = (*families, *LOOKALIKES)
    fitting = tuple(family for family in known if _fits(shapes, family))
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


def _fits(shapes: Mapping[str, tuple[int, ...]], family: Family) -> bool:
    """Whether there are no `_misfits`; most families have one among the first layers."""
    return all(_as_map(family.shape_of(name)) == _as_map(shape) for name, shape in shapes.items())


def _misfits(shapes: Mapping[str, tuple[int, ...]], family: Family) -> list[str]:
    return [
        name for name, shape in shapes.items() if _as_map(family.shape_of(name)) != _as_map(shape)
    ]


def _as_map(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """A 1x1 kernel does what a matrix does: sd-scripts trains SD2's projections as kernels."""
    return shape[:2] if shape and shape[2:] == (1, 1) else shape


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
