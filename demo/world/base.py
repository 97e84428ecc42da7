"""Train the wide world's base: FLUX's transformer at 3.4 M parameters, on 45,000 pictures.

Flow matching (Lipman et al., 2023, https://arxiv.org/abs/2210.02747) as in `demo.base`. It starts
from the shipped transformer, whose latents the wide autoencoder was held near, with four blocks
more that begin by doing nothing; `--fresh` starts from noise instead.

A rerun resumes, also after a kill; with more `--steps` it goes on from before its last stretch,
in which the learning rate falls to nothing.
"""

import argparse
import random
import re
import shutil
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor

from demo.base import Training, encode_pictures, make_transformer
from demo.effects import on_white
from demo.paths import BUILD, DATA
from demo.training import ignore_states, rate_factor
from demo.vae import to_tensor
from demo.world.art import Art, load_art
from demo.world.prompts import write_prompt
from demo.world.sources import load_looks
from demo.world.splits import base_pictures
from encoder.text_encoder import load_text_encoder
from registry.fusion.backends.prompt import PromptEncoder

BATCH = 128
SINGLE_BLOCKS = 8
TOKENS = (16, 64)
PROMPT_DROPOUT = 0.1
# Sets with their own colours are fewer and are what people look at; flags are many.
COLOUR_WEIGHT, FLAG_WEIGHT = 2.0, 0.6
WARM_UP, FALL = 100, 0.25
# At the rates of a fresh start the old transformer forgets in 300 steps what things look like.
WARM_START_RATE = 0.3
MOST_DECAY = 0.999


def start_from(old: FluxTransformer2DModel, transformer: FluxTransformer2DModel) -> None:
    """Copy a shallower transformer; each of its single blocks is followed by an idle new one."""
    state = transformer.state_dict()
    for name, tensor in old.state_dict().items():
        state[re.sub(r"(single_transformer_blocks)\.(\d)", twice_as_deep, name)] = tensor
    new = range(1, len(transformer.single_transformer_blocks), 2)
    for block in new:
        for part in ("weight", "bias"):
            state[f"single_transformer_blocks.{block}.proj_out.{part}"].zero_()
    transformer.load_state_dict({name: tensor.float() for name, tensor in state.items()})


def twice_as_deep(found: re.Match[str]) -> str:
    return f"{found[1]}.{2 * int(found[2])}"


class Batches:
    """Random training batches of latents, each with a newly written prompt."""

    def __init__(self, art: Art, folder: Path) -> None:
        self.looks = load_looks()
        self.pictures = base_pictures(art)
        self.latents = Latents(art, self.pictures, folder)
        self.art = art
        self.weights = torch.tensor([self._weight(int(k)) for k in art.look[self.pictures]])
        self.encoder = PromptEncoder(load_text_encoder())
        self.rng = random.Random()

    def _weight(self, look: int) -> float:
        if "flag" in self.looks[look].words[0]:
            return FLAG_WEIGHT
        return 1.0 if self.looks[look].inks else COLOUR_WEIGHT

    def prompt(self, place: int) -> str:
        """Write a prompt for one of the pictures, or nothing now and then."""
        if self.rng.random() < PROMPT_DROPOUT:
            return ""
        picture = self.pictures[place]
        entry = self.art.names[self.art.name[picture]]
        look = self.looks[self.art.look[picture]]
        return write_prompt(entry, look, int(self.art.colour[picture]), self.rng)

    def sample(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        picked = torch.multinomial(self.weights, BATCH, replacement=True)
        prompts = [self.prompt(place) for place in picked.tolist()]
        return self.latents.of(picked.numpy()), self.encoder.encode(prompts)


class Latents:
    """Packed latents of pictures, encoded when first asked for and kept on disk."""

    def __init__(self, art: Art, pictures: np.ndarray, folder: Path) -> None:
        self.art, self.pictures = art, pictures
        self.vae = AutoencoderKL.from_pretrained(BUILD / "vae").eval()
        self.vae.to(memory_format=torch.channels_last)
        folder.mkdir(parents=True, exist_ok=True)
        path, shape = folder / "latents.npy", (len(pictures), *TOKENS)
        mode: Literal["r+", "w+"] = "r+" if path.exists() else "w+"
        self.kept = np.lib.format.open_memmap(path, mode=mode, dtype=np.float16, shape=shape)
        assert self.kept.shape == shape, f"{path} is of other art: remove it"

    def of(self, places: np.ndarray) -> Tensor:
        """Give the latents (n, 16, 64) of the pictures at these places."""
        missing = np.unique(places[~self.kept[places, 0].any(1)])
        if len(missing):
            rgba = self.art.rgba[self.pictures[missing]]
            encoded = encode_pictures(self.vae, to_tensor(on_white(rgba)))
            self.kept[missing] = encoded.numpy().astype(np.float16)
        return torch.from_numpy(self.kept[places].astype(np.float32))


def train(steps: int, folder: Path, fresh: bool) -> None:
    """Train to `folder/transformer`; `training.pt` and `held.pt` allow to stop and go on."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformer = make_transformer(SINGLE_BLOCKS)
    if not fresh:
        start_from(FluxTransformer2DModel.from_pretrained(DATA / "base/transformer"), transformer)
    training = Training.start(transformer, MOST_DECAY)
    checkpoint = training.checkpoint(folder / "training.pt")
    start = checkpoint.restore()
    held = training.checkpoint(folder / "held.pt")
    if start and rate_factor(start, steps, WARM_UP, FALL) == 1.0 and held.path.exists():
        start = held.restore()
    if start >= steps:
        return
    batches = Batches(load_art(), folder)
    torch.manual_seed(start)
    batches.rng.seed(start)
    losses: list[float] = []
    began = time.monotonic()
    for step in range(start, steps):
        factor = rate_factor(step, steps, WARM_UP, FALL) * (1.0 if fresh else WARM_START_RATE)
        losses.append(training.step(step, factor, *batches.sample()))
        if step % 100 == 99:
            pace = (time.monotonic() - began) / (step + 1 - start)
            print(f"step {step + 1}: loss {np.mean(losses):.4f}, {pace:.2f} s a step", flush=True)
            losses.clear()
        if step + 1 == int((1 - FALL) * steps):
            held.save(step + 1)
        if checkpoint.due() or step + 1 == steps:
            checkpoint.save(step + 1)
            training.average.save_pretrained(folder / "transformer")
    finish(folder)


def finish(folder: Path) -> None:
    """Lay the folder out as a diffusers model."""
    FlowMatchEulerDiscreteScheduler(shift=1.0).save_pretrained(folder / "scheduler")
    shutil.copytree(BUILD / "vae", folder / "vae", dirs_exist_ok=True, ignore=ignore_states)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--fresh", action="store_true", help="start from noise")
    arguments = parser.parse_args()
    train(arguments.steps, BUILD / "base", arguments.fresh)
