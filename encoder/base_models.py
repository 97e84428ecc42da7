"""The base models whose adapters are understood: their layers, and how a file is told theirs.

A family is one architecture with its sizes. Variants that shapes cannot tell apart
(FLUX.1 dev, schnell, Kontext…; SDXL, Pony, Illustrious…) share a family, so their adapters
compare.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any

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
    def text_widths(self) -> frozenset[int]:
        """Hidden sizes of the text encoders; empty where they are not known."""
        return frozenset(self._table["text_widths"])

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


FAMILIES = tuple(
    Family(name)
    for name in (
        "flux.1", "flux.2-dev", "flux.2-klein-4b", "flux.2-klein-9b",
        "sdxl-1.0", "sd-1.5", "sd-2.1", "qwen-image", "z-image", "demo-flux-tiny",
    )
)  # fmt: skip


class Confidence(IntEnum):
    """How well layers alone tell the family; more is surer."""

    NONE = 0  # no family has these layers
    CLAIM_NEEDED = 1  # several have them: only a claim (metadata, a hub's card) can decide
    LIKELY = 2  # several have them, but for the others such an adapter would be odd
    CERTAIN = 3  # of all architectures known here, one has them


@dataclass(frozen=True)
class FamilyMatch:
    """The family that a file's layers tell, how surely, and why.

    `family` is None below LIKELY; `candidates` are all that have every layer.
    """

    family: Family | None
    confidence: Confidence
    evidence: str
    candidates: tuple[Family, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether no other architecture known here has these layers."""
        return self.confidence is Confidence.CERTAIN


@cache
def find_family(base_model: str) -> Family | None:
    """Return the family of a base model: "flux.1-dev" and "flux.1" are of "flux.1"."""
    for family in FAMILIES:
        if base_model == family.name or base_model.startswith(f"{family.name}-"):
            return family
    return None


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
    fitting = tuple(
        family
        for family in families
        if all(family.shape_of(name) == shape for name, shape in shapes.items())
    )
    if not fitting:
        return FamilyMatch(None, Confidence.NONE, "layers fit no base model known here")
    names = " and ".join(family.name for family in fitting)
    evidence = f"all {len(shapes)} layers exist in {names} with these shapes"
    if len(fitting) > 1:
        return FamilyMatch(None, Confidence.CLAIM_NEEDED, evidence, fitting)
    return FamilyMatch(fitting[0], Confidence.CERTAIN, evidence, fitting)


@dataclass(frozen=True, slots=True)
class Claim:
    """What an author or a hub says that an adapter loads into, and in which words."""

    base_model: str | None  # None where the words are not known here
    text: str


def decide_base_model(match: FamilyMatch, claims: Sequence[Claim]) -> tuple[str, tuple[str, ...]]:
    """Return the base model, "unknown" unless all agree, and the evidence in words.

    Layers tell the family, claims the variant: the first one known here. A claim of another
    family than the layers', or in words not known here, leaves nothing certain.
    """
    evidence = (match.evidence, *(claim.text for claim in claims))
    known = [claim.base_model for claim in claims if claim.base_model]
    possible = {family.name for family in match.candidates}
    families = {family and family.name for family in map(find_family, known)}
    if known and len(families) == 1 and families <= possible:
        return known[0], evidence
    if not claims and match.family is not None:
        return match.family.name, evidence
    return "unknown", evidence
