"""The judge of pictures: what it is shown, and what it calls recognised."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.fusion.recogniser import (
    EFFECTS,
    NOTHING,
    PAINTS,
    UNPAINTED,
    Judge,
    disturb,
    draw_batch,
)
from demo.art import STYLES
from demo.concepts import Art, Concept


@pytest.fixture
def art() -> Art:
    rng = np.random.default_rng(0)
    rgba = rng.integers(256, size=(6, 64, 64, 4)).astype(np.uint8)
    names = [{"label": f"thing {k}"} for k in range(3)]
    return Art(rgba, np.arange(6) % 2, np.arange(6) % 3, names)


def concept(kind: str, image: int, **facts: object) -> Concept:
    words = ("a", "b", "c")
    made = Concept(f"{kind}/{image}", kind, "x", (image,), (), words, words, "t", "s", "s")
    return dataclasses.replace(made, **facts)  # type: ignore[arg-type]


def test_half_of_the_pictures_are_under_an_effect_and_labelled_so(art: Art) -> None:
    pictures, labels = draw_batch(art, np.random.default_rng(0), 200)

    plain = labels.effect == NOTHING
    assert pictures.shape == (200, 64, 64, 3)
    assert 70 < int(plain.sum()) < 130
    assert torch.equal(plain, labels.colour == UNPAINTED)
    first = int(plain.nonzero()[0])
    of = (art.name == int(labels.name[first])) & (art.style == int(labels.style[first]))
    rgba = art.rgba[of][0].astype(np.float32)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(pictures[first].numpy() - expected).max() <= 1


def test_disturbed_pictures_are_the_same_ones_moved_by_two_pixels_at_most() -> None:
    dots = -torch.ones(20, 3, 32, 32)
    dots[:, :, 16, 16] = 100.0

    found = disturb(dots, torch.Generator().manual_seed(0))

    at = found.mean(1).flatten(1).argmax(1)
    assert ((at // 32 - 16).abs() <= 3).all()
    assert ((at % 32 - 16).abs() <= 3).all()
    assert len(set(at.tolist())) > 5


class Certain(nn.Module):
    """Sees the same in every picture."""

    def __init__(self, name: int, style: int, effect: int, colour: int) -> None:
        super().__init__()
        self.seen = (name, 3), (style, 8), (effect, NOTHING + 1), (colour, UNPAINTED + 1)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        return [torch.eye(count)[place].expand(len(pictures), -1) for place, count in self.seen]


def test_an_effect_is_recognised_by_its_pattern_and_its_colour(
    art: Art, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.fusion.recogniser.load_art", lambda: art)
    things = [concept("object", k) for k in range(3)]
    kind, pattern = EFFECTS[4]
    right = concept(kind, 9, effect=(pattern, PAINTS[2]))
    other = concept(kind, 9, effect=(pattern, PAINTS[3]))
    style = concept("style", 8, style=STYLES[5])
    judge = Judge(Certain(1, 5, 4, 2), things)  # type: ignore[arg-type]
    pairs = [(things[1], right), (things[1], other), (things[0], right), (things[1], style)]

    found = judge.sees(np.zeros((4, 64, 64, 3), np.uint8), pairs)

    assert found.tolist() == [[True, True], [True, False], [False, True], [True, True]]
