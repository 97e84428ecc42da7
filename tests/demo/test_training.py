"""What the trainings of the demo's world stand on."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from demo.base import pack, unpack
from demo.paths import DATA
from demo.training import Checkpoint, rate_factor
from demo.world.sample import pick_things


def test_64_pixels_are_16_tokens() -> None:
    shipped = AutoencoderKL.from_pretrained(DATA / "base/vae").float()
    with torch.no_grad():
        latents = shipped.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mean
    assert pack(latents).shape == (1, 16, 64)


def test_unpacking_undoes_packing() -> None:
    latents = torch.randn(2, 16, 8, 8)
    assert torch.equal(unpack(pack(latents)), latents)


def test_the_rate_warms_up_holds_and_falls() -> None:
    factors = [rate_factor(step, 1000, 100, 0.25) for step in (0, 500, 999)]
    assert factors[0] < 0.1
    assert factors[1] == 1.0
    assert factors[2] < 0.01


def test_training_resumes_where_it_was_saved(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 2)
    checkpoint = Checkpoint(tmp_path / "training.pt", {"layer": layer})
    assert checkpoint.restore() == 0
    checkpoint.save(7)
    saved = layer.weight.detach().clone()
    torch.nn.init.zeros_(layer.weight)
    assert checkpoint.restore() == 7
    assert torch.equal(layer.weight, saved)


def test_the_things_to_draw_depend_on_the_seed_only() -> None:
    assert pick_things(36, 7) == pick_things(36, 7)
    assert len(set(pick_things(100, 1))) == 100
