"""The architectures whose adapters are understood, and those that they must be told from.

A family is one architecture with its sizes. Variants that shapes cannot tell apart
(FLUX.1 dev, schnell, Kontext…; SDXL, Pony, Illustrious…) share a family, so their adapters
compare.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from encoder.base_models.facts import FOLDER, Facts, find_facts, read_facts
from encoder.base_models.modules import (
    Parameters,
    Tree,
    pack,
    read_parameters,
    unpack,
    unpack_first,
)

# (d_out, d_in) of a linear layer.
Shape = tuple[int, int]
# (c_out, c_in, height, width) of a convolution.
Kernel = tuple[int, int, int, int]

LAYERS = FOLDER / "layers"
# A number that is a whole part of a name, with dots or with underscores.
NUMBER = re.compile(r"(?<![^._])\d+(?![^._])")


@dataclass(frozen=True)
class Family:
    """One architecture with its sizes; layers are named as in its diffusers class.

    The layers of shipped families are read when one is first asked for, from layers/, where
    `python -m encoder.base_models` writes them.
    """

    name: str
    text_widths: frozenset[int]  # hidden sizes of the text encoders; empty where not known
    block_modules: frozenset[str]  # the modules that hold blocks, as "transformer_blocks"
    # Whether hubs have so few adapters of it that the other reading is nearly always right.
    rare: bool = False
    packed: str | None = field(default=None, repr=False)  # the layers, where it is not shipped

    @classmethod
    def from_facts(cls, facts: Facts, packed: str | None = None) -> "Family":
        widths, blocks = frozenset(facts.text_widths), frozenset(facts.blocks)
        return cls(facts.name, widths, blocks, facts.rare, packed)

    @classmethod
    def from_config(
        cls,
        name: str,
        architecture: str,
        config: Mapping[str, Any],
        text_widths: Collection[int] = (),
    ) -> "Family":
        """Return the family of a known class at any size, built without its weights.

        `text_widths` are the hidden sizes of its text encoders, where they are known.

        Raises:
            ValueError: diffusers has no such class, the config is not one of it, or no base
                model known here is of that class.
        """
        packed = json.dumps(pack(read_parameters(architecture, config)))
        alike = (facts for facts in read_facts().values() if facts.architecture == architecture)
        facts = next(alike, None)
        if facts is None:
            raise ValueError(f"no base model known here is a {architecture}: where are its blocks?")
        return cls(name, frozenset(text_widths), frozenset(facts.blocks), packed=packed)

    @cached_property
    def layers(self) -> Mapping[str, Shape]:
        """Every linear layer that an adapter may change, in module order."""
        return {name: (shape[0], shape[1]) for name, shape in self._weights(2)}

    @cached_property
    def block_layers(self) -> Mapping[str, Shape]:
        """Linear layers of the blocks, in their order: what sketches are made of."""
        return {
            name: shape
            for name, shape in self.layers.items()
            if name.partition(".")[0] in self.block_modules
        }

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
        return frozenset(map(block_of, self.block_layers))

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a layer's weight, or of a vector by its parameter's name."""
        if kind_of_name(name) not in self._kinds:
            # Most families have none of a file's layers, and need not be unpacked to tell.
            return None
        shape = self.layers.get(name) or self.convolutions.get(name)
        return shape or self._parameters.get(name)

    @cached_property
    def first_parameters(self) -> Parameters:
        """Parameters of the first of equal blocks: what names there are, but for numbers."""
        return unpack_first(self._tree)

    @cached_property
    def _kinds(self) -> frozenset[str]:
        names = (kind_of_name(name) for name in self.first_parameters)
        return frozenset(kind for name in names for kind in (name, name.removesuffix(".weight")))

    @cached_property
    def _parameters(self) -> Parameters:
        return unpack(self._tree)

    @cached_property
    def _tree(self) -> Tree:
        packed = self.packed or layers_file(self.name).read_text(encoding="utf-8")
        tree: Tree = json.loads(packed)
        return tree

    def _weights(self, sides: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for name, shape in self._parameters.items():
            if len(shape) == sides:
                yield name.removesuffix(".weight"), shape


def layers_file(family: str) -> Path:
    """Return where the layers of a shipped family are."""
    return LAYERS / f"{family}.json"


@lru_cache(maxsize=10_000)
def kind_of_name(name: str) -> str:
    """Return a name without its numbers, the same for all blocks: "blocks.#.attn.to_out.#"."""
    return NUMBER.sub("#", name)


def block_of(layer: str) -> str:
    """Return the block of a layer: "transformer_blocks.3.attn.to_q" -> "transformer_blocks.3"."""
    first, _, rest = layer.partition(".")
    number = rest.partition(".")[0]
    return f"{first}.{number}" if number.isdecimal() else first


_SHAPED = [facts for facts in read_facts().values() if facts.architecture]
FAMILIES = tuple(Family.from_facts(facts) for facts in _SHAPED if facts.read)
# Only known to be told apart; their adapters are not read.
LOOKALIKES = tuple(Family.from_facts(facts) for facts in _SHAPED if not facts.read)


@cache
def find_family(base_model: str) -> Family | None:
    """Return the family of a base model: "flux.1-dev" and "flux.1" are of "flux.1".

    A name not known here belongs to the family that it begins with ("z-image-edit").
    """
    names = family_names(base_model)
    if names is None:
        begun = [family for family in FAMILIES if base_model.startswith(f"{family.name}-")]
        return max(begun, key=lambda family: len(family.name), default=None)
    return next((family for family in FAMILIES if names == (family.name,)), None)


def family_names(base_model: str) -> tuple[str, ...] | None:
    """Return the names of the families that a base model may be of, None if it is not known.

    There are several where a name leaves the size open ("flux.2"), and none where no adapter of
    it is read.
    """
    facts = find_facts(base_model)
    if facts is None:
        return None
    return facts.sizes or ((facts.name,) if facts.architecture and facts.read else ())
