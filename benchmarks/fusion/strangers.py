"""The wide zoo as gates see it: pictures that two adapters of strangers are about together.

They are of adapters that the encoder has not learned from, so prompts favour them as far as they
favour what a hub brings next.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from demo.base import encode_pictures, image_ids
from demo.effects import apply_effect, on_white
from demo.fusion_data import Cell
from demo.paths import DATA
from demo.relevance import Relevance
from demo.vae import to_tensor
from demo.world.concepts import Concept, Planner
from demo.world.sources import Split
from demo.world.splits import is_stranger
from demo.world.zoo import World
from encoder.adapter.lora_file import read
from encoder.training.train import sketch_files
from encoder.weight_encoders.checkpoint import load_encoder
from registry.fusion.training.adapter_bank import AdapterBank
from registry.fusion.training.train import GateBatch


@dataclass(frozen=True)
class StyleCell:
    """A thing in a style: which adapters, and a picture that neither has seen."""

    what: int
    how: int
    picture: int


@dataclass(frozen=True)
class Strangers:
    """Adapters of one split side by side, with what each is about."""

    world: World
    planner: Planner
    files: list[str]
    concepts: list[Concept]
    bank: AdapterBank
    relevance: Relevance

    @classmethod
    def load(cls, world: World, folder: Path, split: Split, first_group: int = 0) -> "Strangers":
        """Read the adapters of a split's groups from the first one on."""
        rows = [json.loads(line) for line in (folder / "zoo.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["split"] == split and row["group"] >= first_group]
        rows = [row for row in rows if is_stranger(row["sources"])]
        paths = [folder / row["file"] for row in rows]
        loaded = load_encoder(DATA / "encoder.safetensors")
        embeddings = torch.from_numpy(loaded.encode(sketch_files(paths)))
        files = [str(row["file"]) for row in rows]
        planner = Planner.load(split)
        return cls(
            world,
            planner,
            files,
            planner.concepts_of(rows),
            AdapterBank([read(path) for path in paths], torch.float16),
            Relevance(
                loaded,
                world.prompts.text_encoder,
                dict(zip(files, embeddings, strict=True)),
            ),
        )

    def members(self, *kinds: str) -> list[int]:
        """Return the places in the bank of adapters of some kinds."""
        return [k for k, concept in enumerate(self.concepts) if concept.kind in kinds]

    def gate_batch(
        self,
        latents: Tensor,
        prompts: list[str],
        sets: Tensor,
    ) -> GateBatch:
        """Join images (B, ...), their prompts and the sets (G, n) of which they show two."""
        files = [[self.files[k] for k in own] for own in sets.tolist()]
        each = len(prompts) // len(sets)
        embedded = self.relevance.embeddings
        return GateBatch(
            latents,
            *self.world.prompts.encode(prompts),
            image_ids(),
            sets,
            self.relevance.of(prompts, [own for own in files for _ in range(each)]),
            torch.stack([torch.stack([embedded[file] for file in own]) for own in files]),
            asked=2,
        )

    def effect_cell(self, rng: np.random.Generator) -> Cell:
        """Draw a thing, and an effect on a picture of it that the effect's adapter lacks."""
        left: list[int] = []
        while not left:
            what = int(rng.choice(self.members("object", "thing")))
            how = int(rng.choice(self.members("effect")))
            left = sorted(set(self.concepts[what].pictures) - set(self.concepts[how].pictures))
        picture, effect = int(rng.choice(left)), self.concepts[how].effect
        assert effect is not None
        drawn = apply_effect(*effect, self.planner.art.rgba[[picture]])
        return self._cell(what, how, picture, drawn)

    @cached_property
    def style_cells(self) -> list[StyleCell]:
        """All pairs of a thing and a style with a picture that neither adapter has seen."""
        found = []
        for how in self.members("style"):
            [look] = self.concepts[how].looks
            for what in self.members("object"):
                seen = {*self.concepts[what].pictures, *self.concepts[how].pictures}
                left = set(self._pictures[self.concepts[what].thing, look]) - seen
                found += [StyleCell(what, how, picture) for picture in sorted(left)[:1]]
        return found

    def style_cell(self, cell: StyleCell) -> Cell:
        drawn = on_white(self.planner.art.rgba[[cell.picture]])
        return self._cell(cell.what, cell.how, cell.picture, drawn)

    @cached_property
    def _pictures(self) -> dict[tuple[str, str], list[int]]:
        """Pictures by what they show and how they are drawn."""
        art, found = self.planner.art, defaultdict(list)
        for picture, (name, look) in enumerate(zip(art.name, art.look, strict=True)):
            style = self.planner.looks[int(look)].style
            found[str(art.names[int(name)]["label"]), style].append(picture)
        return found

    def _cell(self, what: int, how: int, picture: int, drawn: npt.NDArray[np.uint8]) -> Cell:
        """Ask in plain words, and by the second adapter's trigger where it needs one."""
        about = self.concepts[how]
        label = str(self.planner.art.names[int(self.planner.art.name[picture])]["label"])
        words = dict.fromkeys([label, about.told.captions[0], about.trigger])
        latents = encode_pictures(self.world.vae, to_tensor(drawn))[0]
        return Cell(picture, (what, how), latents, ", ".join(words))
