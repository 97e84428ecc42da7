"""A synthetic zoo: adapters whose weights follow from what their captions say."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import settings

from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.training.dataset import Dataset
from tests.encoder.builders import planted_factors, write_adapter

# The matrices are small; more threads only wait for each other.
torch.set_num_threads(1)
# Machines are shared: how long one example takes says nothing.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

COLOURS = ("red", "blue", "green", "yellow", "purple", "white")
THINGS = (
    "cat", "house", "tree", "car", "fish", "guitar", "pizza", "rocket", "umbrella", "ghost",
)  # fmt: skip


@dataclass(frozen=True)
class SyntheticZoo:
    dataset: Dataset
    text_encoder: TextEncoder


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> SyntheticZoo:
    """60 adapters, every colour with every thing; unseen pairs of seen words are held out."""
    folder = tmp_path_factory.mktemp("zoo")
    pairs = list(itertools.product(COLOURS, THINGS))
    order = np.random.default_rng(0).permutation(len(pairs))
    paths, captions, splits = [], [], []
    for place, index in enumerate(order):
        colour, thing = pairs[index]
        latent = np.zeros(len(COLOURS) + len(THINGS), np.float32)
        latent[COLOURS.index(colour)] = latent[len(COLOURS) + THINGS.index(thing)] = 1
        path = folder / f"{index:02d}.safetensors"
        paths.append(write_adapter(path, planted_factors(latent, seed=int(index))))
        captions.append([f"{colour} {thing}", f"a picture of a {colour} {thing}"])
        splits.append("train" if place < 40 else "validation" if place < 48 else "held-out")
    return SyntheticZoo(Dataset(paths, captions, splits), load_text_encoder())
