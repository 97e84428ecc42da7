"""The zoo as gates see it: sets of adapters, and pictures that one or several of them are about.

Gates are trained and judged on two things: a picture of one adapter of a set, seen or unseen by
it; and a picture that two adapters are about together, a cell: an object in a style, or either
of them in a colour, a texture or before a background.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from demo.base import encode_pictures, image_ids
from demo.concepts import Concept
from demo.effects import apply_effect, on_white
from demo.relevance import Relevance
from demo.vae import to_tensor
from demo.zoo import World
from encoder.adapter.lora_file import read
from registry.fusion.training.adapter_bank import AdapterBank
from registry.fusion.training.train import GateBatch

EFFECTS = ("colour", "texture", "background")


@dataclass
class Zoo:
    """Adapters of the zoo side by side, with the pictures and prompts they are about."""

    world: World
    concepts: list[Concept]  # of every adapter in the bank
    bank: AdapterBank
    relevance: Relevance
    _members: dict[tuple[str, ...], npt.NDArray[np.int64]] = field(default_factory=dict)
    _latents: dict[tuple[str, bool], Tensor] = field(default_factory=dict)
    _prompts: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def load(cls, world: World, folder: Path, splits: Sequence[str]) -> "Zoo":
        """Read the adapters of some splits, as many as the zoo has so far."""
        listing = json.loads((folder / "listing.json").read_text())
        by_key = {concept.key: concept for concept in world.plan.concepts}
        entries = [entry for entry in listing if entry["_split"] in splits]
        # Half precision, as they lie on disk: hundreds of adapters stay in memory.
        bank = AdapterBank([read(folder / entry["file"]) for entry in entries], torch.float16)
        concepts = [by_key[entry["_key"]] for entry in entries]
        return cls(world, concepts, bank, Relevance.load(world.prompts.text_encoder))

    def members(self, split: str, *kinds: str) -> npt.NDArray[np.int64]:
        """Return the places in the bank of a split's adapters, of some kinds or of all."""
        key = (split, *kinds)
        if key not in self._members:
            chosen = [
                k
                for k, concept in enumerate(self.concepts)
                if concept.split == split and (not kinds or concept.kind in kinds)
            ]
            self._members[key] = np.array(chosen, np.int64)
        return self._members[key]

    def embeddings(self, adapters: npt.NDArray[np.int64] | Tensor) -> Tensor:
        """Return the weight embeddings of adapters (...,), by an encoder they are new to."""
        places = torch.as_tensor(adapters)
        own = [self.relevance.embeddings[self.concepts[k].key] for k in places.flatten().tolist()]
        return torch.stack(own).view(*places.shape, -1)

    def latents(self, adapter: int, *, unseen: bool = False) -> Tensor:
        """Latents of the pictures an adapter was trained on, or of those kept from it."""
        concept = self.concepts[adapter]
        key = (concept.key, unseen)
        if key not in self._latents:
            images = concept.unseen if unseen else concept.images
            self._latents[key] = self.world.latents(concept, images)
        return self._latents[key]

    def prompts(self, adapter: int, image: int) -> tuple[str, str]:
        """Two prompts for a picture: one that asks for the adapter, and a plainer one."""
        concept = self.concepts[adapter]
        if concept.kind == "object":
            return concept.trigger, concept.subject
        label = self.world.label(image)
        return f"{label}, {concept.trigger}", label

    def encode(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        unknown = sorted(set(prompts) - self._prompts.keys())
        tokens, pooled = self.world.prompts.encode(unknown)
        self._prompts |= {text: (tokens[k], pooled[k]) for k, text in enumerate(unknown)}
        known = [self._prompts[text] for text in prompts]
        return torch.stack([t for t, _ in known]), torch.stack([p for _, p in known])

    def batch(
        self,
        rng: np.random.Generator,
        among: npt.NDArray[np.int64],
        sets: tuple[int, int],
        size: int,
        unseen_share: float = 0.0,
        plain_share: float = 0.5,
    ) -> GateBatch:
        """Draw `sets` (how many, images of each) of adapters, with images of the first of each.

        A share of the images is of those kept from the adapter, and a share of the prompts does
        not ask for it.
        """
        count, each = sets
        chosen = np.stack([rng.choice(among, size, replace=False) for _ in range(count)])
        latents, prompts = [], []
        for first in chosen[:, 0].tolist():
            unseen = bool(rng.random() < unseen_share)
            images = self.concepts[first].unseen if unseen else self.concepts[first].images
            picked = rng.integers(len(images), size=each).tolist()
            latents.append(self.latents(first, unseen=unseen)[picked])
            plain = (rng.random(each) < plain_share).tolist()
            prompts += [
                self.prompts(first, images[k])[is_plain]
                for k, is_plain in zip(picked, plain, strict=True)
            ]
        return self.gate_batch(torch.cat(latents), prompts, torch.from_numpy(chosen))

    def gate_batch(
        self,
        latents: Tensor,
        prompts: list[str],
        sets: Tensor,
        asked: int = 1,
        boldness: float = 0.0,
        name: str | None = None,
    ) -> GateBatch:
        """Join images (B, ...), their prompts and the sets (G, n) of which they show `asked`."""
        return GateBatch(
            latents,
            *self.encode(prompts),
            image_ids(),
            sets,
            self.relevance_of(prompts, sets),
            self.embeddings(sets),
            asked,
            boldness,
            name,
        )

    def relevance_of(self, prompts: list[str], sets: Tensor) -> Tensor:
        """Return how far prompts favour the adapters of their sets (G, n): (prompts, n)."""
        each = len(prompts) // len(sets)
        keys = [[self.concepts[k].key for k in own] for own in sets.tolist() for _ in range(each)]
        return self.relevance.of(prompts, keys)


@dataclass(frozen=True)
class Cell:
    """A picture that two adapters are about together."""

    image: int
    adapters: tuple[int, int]
    latents: Tensor  # (places, channels)
    prompt: str


def withheld_cells(zoo: Zoo, split: str) -> list[Cell]:
    """Return the pictures of an object in a style that nothing has seen, the base included."""
    place = {concept.key: k for k, concept in enumerate(zoo.concepts)}
    return [
        style_cell(zoo, image, (place[object_key], place[style_key]))
        for image, object_key, style_key, its_split in zoo.world.plan.withheld
        if its_split == split and {object_key, style_key} <= place.keys()
    ]


def kept_cells(zoo: Zoo, split: str) -> list[Cell]:
    """Return those that the base has seen, and neither the object's adapter nor the style's."""
    of_object, of_style = (
        {image: int(k) for k in zoo.members(split, kind) for image in zoo.concepts[k].unseen}
        for kind in ("object", "style")
    )
    return [
        style_cell(zoo, image, (of_object[image], of_style[image]))
        for image in sorted(of_object.keys() & of_style.keys())
    ]


def style_cell(zoo: Zoo, image: int, adapters: tuple[int, int]) -> Cell:
    picture = to_tensor(on_white(zoo.world.plan.art.rgba[[image]]))
    prompt = f"{zoo.world.label(image)}, {zoo.concepts[adapters[1]].trigger}"
    return Cell(image, adapters, encode_pictures(zoo.world.vae, picture)[0], prompt)


def effect_cell(zoo: Zoo, rng: np.random.Generator, split: str, kind: str) -> Cell:
    """Draw an object, or a style, with an effect that its adapter has never seen.

    Nor has the effect's adapter seen the picture; that of a style is new to its adapter as well.
    """
    hidden = {image for image, _, _, _ in zoo.world.plan.withheld}
    while True:
        first = int(rng.choice(zoo.members(split, kind)))
        second = int(rng.choice(zoo.members(split, *EFFECTS)))
        what, effect = zoo.concepts[first], zoo.concepts[second]
        taken = hidden.union(effect.images)
        images = [i for i in (what.unseen if kind == "style" else what.images) if i not in taken]
        if images:
            break
    image = int(rng.choice(images))
    assert effect.effect is not None
    picture = apply_effect(effect.kind, *effect.effect, zoo.world.plan.art.rgba[[image]])
    words = [zoo.world.label(image), effect.trigger]
    if kind == "style":
        words.insert(1, what.trigger)
    latents = encode_pictures(zoo.world.vae, to_tensor(picture))[0]
    return Cell(image, (first, second), latents, ", ".join(words))


def cells_batch(
    zoo: Zoo,
    cells: Sequence[Cell],
    each: int,
    others: Sequence[Sequence[int]] | None = None,
    boldness: float = 0.0,
    name: str | None = None,
) -> GateBatch:
    """Take every cell's picture `each` times, with its two adapters and `others` of its own."""
    beside = [()] * len(cells) if others is None else others
    return zoo.gate_batch(
        torch.stack([cell.latents for cell in cells]).repeat_interleave(each, 0),
        [cell.prompt for cell in cells for _ in range(each)],
        torch.tensor([(*c.adapters, *more) for c, more in zip(cells, beside, strict=True)]),
        2,
        boldness,
        name,
    )
