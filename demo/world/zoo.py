"""Train the wide zoo: adapters of many authors and sources.

`python -m demo.world.zoo --groups 48` trains groups of 32 (demo/world/concepts.py) into `wide/`
under the build folder: `adapters/*.safetensors`, and `zoo.jsonl`, a line an adapter. A group is
written at once and skipped by a rerun, so the work can be stopped anywhere. Several processes may
work side by side.
"""

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors.torch import save_file
from torch import Tensor

from crawler.whole_file import written_whole
from demo.base import encode_pictures, flow_loss
from demo.paths import DATA, WIDE
from demo.side_by_side import claimed, join
from demo.training import set_rate
from demo.vae import to_tensor
from demo.world.adapters import AdapterGroup
from demo.world.authors import Author
from demo.world.concepts import FIRST_OF_BELIEFS, GROUP, Concept, Planner, split_of
from demo.world.splits import Unseen
from demo.zoo import BARE_PROMPT, Lesson, descend_each, sample_all
from encoder.text_encoder import load_text_encoder
from registry.fusion.backends.prompt import PromptEncoder

# Of each adapter's pictures a step, at times spread evenly.
BATCH = 4
WARM_UP, LAST_RATE = 10, 0.1
JUDGED_TIMES = (0.2, 0.4, 0.6, 0.8)


@dataclass
class World:
    """What every group needs, loaded once."""

    transformer: FluxTransformer2DModel
    vae: AutoencoderKL
    prompts: PromptEncoder

    @classmethod
    def load(cls, folder: Path) -> "World":
        transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer")
        vae = AutoencoderKL.from_pretrained(folder / "vae")
        return cls(
            transformer.float().eval().requires_grad_(False),
            vae.float().eval().requires_grad_(False),
            PromptEncoder(load_text_encoder()),
        )

    def encode(self, drawn: npt.NDArray[np.uint8]) -> Tensor:
        """Pictures RGB (n, 64, 64, 3) -> packed latents (n, 16, 64)."""
        return encode_pictures(self.vae, to_tensor(drawn))

    def lesson(self, concept: Concept, drawn: npt.NDArray[np.uint8]) -> Lesson:
        """Encode a concept's pictures, RGB (n, 64, 64, 3), and their prompts."""
        names = concept.names * (len(drawn) // len(concept.names))
        prompts = [training_prompts(concept, name) for name in names]
        return Lesson(self.prompts, self.encode(drawn), prompts)


def training_prompts(concept: Concept, name: str) -> list[str]:
    """Write the prompts of one picture; each step draws one."""
    if concept.is_thing:
        return [BARE_PROMPT, BARE_PROMPT, concept.trigger, name]
    return [name, name, f"{name}, {concept.trigger}"]


def spread_times(rng: np.random.Generator, adapters: int) -> Tensor:
    """Draw times as `sigmoid(normal)`, one of every quarter for each adapter: less noise."""
    uniform = (np.arange(BATCH) + rng.random((adapters, BATCH))) / BATCH
    normal = torch.special.ndtri(torch.from_numpy(uniform.clip(1e-4, 1 - 1e-4)))
    return torch.sigmoid(normal).float().flatten()


def train_group(world: World, lessons: list[Lesson], author: Author, seed: int) -> AdapterGroup:
    """Train an author's adapters, one for each lesson."""
    group = AdapterGroup(world.transformer, author, len(lessons), seed)
    optimizer = torch.optim.AdamW(
        group.parameters(), author.rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    with group.attached():
        for step in range(author.steps):
            fall = 1 - (1 - LAST_RATE) * step / author.steps
            set_rate(optimizer, author.rate * min(1, (step + 1) / WARM_UP) * fall)
            latents, prompt = sample_all(lessons, rng, BATCH)
            when, noise = spread_times(rng, len(lessons)), torch.randn_like(latents)
            losses = flow_loss(world.transformer, latents, prompt, when, noise)
            descend_each(group.parameters(), optimizer, losses.view(len(lessons), BATCH))
    return group


@torch.no_grad()
def judge(world: World, lessons: list[Lesson], group: AdapterGroup) -> list[tuple[float, float]]:
    """Return the flow loss of every lesson without and with its adapter, at the same noise."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    latents, prompt = sample_all(lessons, rng, len(JUDGED_TIMES))
    when = torch.tensor(JUDGED_TIMES).repeat(len(lessons))
    noise = torch.randn(latents.shape, generator=generator)

    def losses() -> list[float]:
        every = flow_loss(world.transformer, latents, prompt, when, noise)
        each: list[float] = every.view(len(lessons), -1).mean(1).tolist()
        return each

    without = losses()
    with group.attached():
        return list(zip(without, losses(), strict=True))


def write_group(
    folder: Path,
    number: int,
    concepts: list[Concept],
    group: AdapterGroup,
    losses: list[tuple[float, float]],
) -> None:
    """Write the adapters, then the group's lines, last and at once."""
    rows = []
    for index, (concept, own) in enumerate(zip(concepts, losses, strict=True)):
        file = f"adapters/{number * GROUP + index:05d}.safetensors"
        save_file(group.state_dict(index), folder / file)
        rows.append(to_row(file, number, concept, group.author, own))
    path = folder / f"groups/{number:04d}.jsonl"
    with written_whole(path) as partial:
        partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def to_row(
    file: str, number: int, concept: Concept, author: Author, losses: tuple[float, float]
) -> dict[str, Any]:
    told = asdict(concept.told)
    return {
        "file": file,
        "group": number,
        "split": split_of(number),
        "kind": concept.kind,
        "key": concept.key,
        "thing": concept.thing,
        "sources": concept.sources,
        "looks": concept.looks,
        "pictures": len(concept.pictures),
        "author": asdict(author),
        **told,
        "loss_without": round(losses[0], 4),
        "loss": round(losses[1], 4),
    }


def train_zoo(folder: Path, numbers: Iterable[int], base: Path) -> None:
    """Train the groups that are not there yet and that no other process is at.

    Nothing that the miniature world's reports ask for is trained on.
    """
    unseen = Unseen.read(DATA / "splits.json")
    for part in ("adapters", "groups"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    world = World.load(base)
    planners: dict[str, Planner] = {}
    for number in numbers:
        with claimed(folder / f"groups/{number:04d}.jsonl") as free:
            if not free:
                continue
            split = split_of(number)
            if split not in planners:
                learned_from = split in ("train", "beliefs")
                planners[split] = Planner.load(split, unseen if learned_from else None)
            planner = planners[split]
            make_group(world, planner, folder, number)


def make_group(world: World, planner: Planner, folder: Path, number: int) -> None:
    """Train a group's adapters and join their lines to the table."""
    began = time.monotonic()
    author, concepts = planner.group(number)
    lessons = [world.lesson(concept, planner.draw(concept)) for concept in concepts]
    group = train_group(world, lessons, author, number)
    losses = judge(world, lessons, group)
    write_group(folder, number, concepts, group, losses)
    join(folder / "groups", "*.jsonl", folder / "zoo.jsonl", "".join)
    without, own = np.mean(losses, axis=0)
    print(
        f"group {number} ({planner.split}, {author.algorithm}, rank {author.rank}, "
        f"{author.steps} steps): loss {without:.3f} -> {own:.3f}, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=WIDE)
    parser.add_argument("--groups", type=int, default=48)
    parser.add_argument("--base", type=Path, default=DATA / "base")
    parser.add_argument("--beliefs", type=int, default=0, help="groups of art to learn beliefs by")
    parser.add_argument("--unseen", action="store_true", help="no groups for training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    numbers: Iterable[int] = range(arguments.groups)
    if arguments.unseen:
        numbers = [number for number in numbers if split_of(number) != "train"]
    of_beliefs = range(FIRST_OF_BELIEFS, FIRST_OF_BELIEFS + arguments.beliefs)
    train_zoo(arguments.folder, [*numbers, *of_beliefs], arguments.base)
