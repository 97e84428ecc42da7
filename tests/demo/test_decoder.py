"""The autoencoder of 64 pixels: effects keep their measures, squares fit their latents, and the
decoder learns from what the base draws while latents stay."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from demo import decoder
from demo.art import SIZE
from demo.concepts import Art, Plan
from demo.effects import COLOURS, PATTERNS, apply_effect, pattern_mask
from demo.paths import DATA
from demo.vae import CUT, FACTOR, changed_pictures, cut, visible_images
from demo.zoo import World

NAMES = [{"label": "cat"}, {"label": "red heart"}]


@pytest.fixture
def art() -> Art:
    rgba = np.random.default_rng(0).integers(256, size=(3, SIZE, SIZE, 4)).astype(np.uint8)
    return Art(rgba, np.zeros(3, np.int64), np.array([0, 1, 0]), NAMES)


@pytest.fixture
def base(tmp_path: Path, art: Art, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(DATA / "base", tmp_path / "base")
    world = Plan(art, [], np.arange(3), [(1, "object/a", "style/b", "held-out")])
    monkeypatch.setattr("demo.zoo.plan", lambda: world)
    return tmp_path / "base"


@pytest.mark.parametrize("pattern", ["stripes", "bars", "checker", "grid", "solid"])
def test_a_pattern_is_as_wide_in_a_larger_picture(pattern: str) -> None:
    halved = pattern_mask(pattern, 64).reshape(32, 2, 32, 2).mean((1, 3))

    assert np.array_equal(halved, pattern_mask(pattern, 32))


def test_what_is_withheld_is_not_seen(base: Path) -> None:
    assert visible_images(World.load(base).plan).tolist() == [0, 2]


def test_each_changed_picture_is_its_own_under_some_effect() -> None:
    rgba = np.random.default_rng(0).integers(256, size=(5, 8, 8, 4)).astype(np.uint8)
    options = [(k, p, c) for k, patterns in PATTERNS.items() for p in patterns for c in COLOURS]

    changed = changed_pictures(rgba)

    for place, picture in enumerate(changed):
        own = rgba[place : place + 1]
        assert any(np.array_equal(apply_effect(*o, own)[0], picture) for o in options)


def test_a_square_of_a_picture_is_that_of_its_latents() -> None:
    latents = torch.arange(64.0).view(1, 1, 8, 8).repeat(2, 1, 1, 1)
    pictures = latents.repeat_interleave(FACTOR, 2).repeat_interleave(FACTOR, 3)
    corners = [[0, 3], [4, 1]]

    small, large = cut(latents, corners, 1), cut(pictures, corners, FACTOR)

    assert small.shape == (2, 1, CUT, CUT)
    assert torch.equal(large[:, :, ::FACTOR, ::FACTOR], small)
    assert small[1, 0, 0, 0] == 4 * 8 + 1


def test_the_decoder_learns_and_latents_stay(base: Path) -> None:
    before = AutoencoderKL.from_pretrained(base / "vae").float().state_dict()

    decoder.train(4, base)

    after = AutoencoderKL.from_pretrained(base / "vae").state_dict()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith("encoder."), name


def test_what_the_base_drew_is_kept_for_a_rerun(base: Path) -> None:
    world = World.load(base)
    latents = torch.randn(2, 16, 64)
    first = decoder.redraw_all(world, np.array([0, 2]), latents, base / "redrawn.pt")
    again = decoder.redraw_all(world, np.array([0, 2]), torch.randn(2, 16, 64), base / "redrawn.pt")

    assert torch.equal(first, again)
    near, far = (first - latents).square().mean((1, 2, 3))
    assert 0 < near < far
