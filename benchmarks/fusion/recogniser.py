"""A judge of pictures: which object, style or effect of the miniature world they show.

Loss says little of what people recognise, and a person sees few pictures. This small network is
trained on the art itself, held-out concepts too, since it is the judge and not judged; it never
sees a generated picture. Trained once and kept; a stopped run goes on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.results import RESULTS
from crawler.whole_file import written_whole
from demo.art import STYLES
from demo.concepts import Art, Concept, load_art
from demo.effects import COLOURS, PATTERNS, apply_effect, on_white
from encoder.arrays import Bools

PATH = RESULTS / "recogniser.pt"
STEPS, BATCH, RATE, SMOOTHING = 2400, 128, 3e-3, 0.1
WIDTHS = (24, 48, 96, 192, 192)
SHIFT = 2  # pixels
CHECKPOINT_STEPS = 200
TESTED = 1024
EFFECTS = [(kind, pattern) for kind, patterns in PATTERNS.items() for pattern in patterns]
PAINTS = list(COLOURS)
NOTHING = len(EFFECTS)  # in place of an effect
UNPAINTED = len(PAINTS)  # in place of its colour


@dataclass(frozen=True)
class Labels:
    """What pictures show, (n,) each."""

    name: Tensor
    style: Tensor
    effect: Tensor
    colour: Tensor

    def parts(self) -> tuple[Tensor, ...]:
        return self.name, self.style, self.effect, self.colour


class Recogniser(nn.Module):
    """Halved pictures (n, 3, 32, 32) in [-1, 1] -> scores of names, styles, effects and colours."""

    def __init__(self, names: int, styles: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, width in enumerate(WIDTHS):
            before = WIDTHS[place - 1] if place else 3
            stride = 2 if before != width and place else 1
            layers += [
                nn.Conv2d(before, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.trunk = nn.Sequential(*layers)
        counts = (names, styles, NOTHING + 1, UNPAINTED + 1)
        # Places matter: where a pattern is and where it is not.
        self.heads = nn.ModuleList(nn.Linear(4 * WIDTHS[-1], count) for count in counts)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features = functional.adaptive_avg_pool2d(self.trunk(pictures), 2).flatten(1)
        return [head(features) for head in self.heads]


def draw_batch(art: Art, rng: np.random.Generator, size: int) -> tuple[Tensor, Labels]:
    """Draw pictures uint8 (size, 64, 64, 3) with their labels; half are under an effect."""
    images = rng.integers(len(art.name), size=size)
    effects = np.where(rng.random(size) < 0.5, NOTHING, rng.integers(NOTHING, size=size))
    colours = np.where(effects == NOTHING, UNPAINTED, rng.integers(UNPAINTED, size=size))
    pictures = on_white(art.rgba[images])
    for place in np.flatnonzero(effects != NOTHING).tolist():
        kind, pattern = EFFECTS[effects[place]]
        own = art.rgba[images[[place]]]
        pictures[place] = apply_effect(kind, pattern, PAINTS[colours[place]], own)[0]
    labels = (art.name[images], art.style[images], effects, colours)
    return torch.from_numpy(pictures), Labels(*(torch.from_numpy(part) for part in labels))


def prepare(pictures: Tensor) -> Tensor:
    """Pictures uint8 (n, 64, 64, 3) -> float (n, 3, 32, 32) in [-1, 1]: halves tell enough."""
    return functional.avg_pool2d(pictures.permute(0, 3, 1, 2).float(), 2) / 127.5 - 1


def disturb(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, blur and speckle pictures, as generated ones are inexact."""
    count, _, side, _ = pictures.shape
    padded = functional.pad(pictures, (SHIFT,) * 4, mode="replicate")
    offsets = torch.randint(2 * SHIFT + 1, (count, 2), generator=generator)
    rows = offsets[:, :1] + torch.arange(side)
    columns = offsets[:, 1:] + torch.arange(side)
    at = torch.arange(count)[:, None, None]
    # Indices between slices put the channels last.
    shifted = padded[at, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
    blurred = functional.avg_pool2d(functional.pad(shifted, (1,) * 4, mode="replicate"), 3, 1)
    share = torch.rand(count, 1, 1, 1, generator=generator)
    speckle = torch.randn(shifted.shape, generator=generator)
    level = 0.25 * torch.rand(count, 1, 1, 1, generator=generator)
    return shifted.lerp(blurred, share) + level * speckle


def train_recogniser(path: Path) -> Recogniser:
    """Train to `path`, or take up what is there."""
    art = load_art()
    torch.manual_seed(0)
    network = Recogniser(len(art.names), int(art.style.max()) + 1)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS + 1, pct_start=0.1)
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        start = state["step"]
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    path.parent.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    for step in track(range(start, STEPS), "Recogniser", console=console):
        generator = torch.Generator().manual_seed(step)
        pictures, labels = draw_batch(art, np.random.default_rng((0, step)), BATCH)
        scores = network(disturb(prepare(pictures), generator))
        loss = sum(
            functional.cross_entropy(own, wanted, label_smoothing=SMOOTHING)
            for own, wanted in zip(scores, labels.parts(), strict=True)
        )
        assert isinstance(loss, Tensor)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == STEPS:
            state = {"step": step + 1, "network": network.state_dict()}
            state |= {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
            with written_whole(path) as partial:
                torch.save(state, partial)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def examine(network: Recogniser) -> dict[str, float]:
    """Return how often each label of disturbed pictures is told right, among all there are."""
    generator = torch.Generator().manual_seed(10**6)
    pictures, labels = draw_batch(load_art(), np.random.default_rng(10**6), TESTED)
    scores = network(disturb(prepare(pictures), generator))
    return {
        name: float((own.argmax(1) == wanted).float().mean())
        for name, own, wanted in zip(
            ("name", "style", "effect", "colour"), scores, labels.parts(), strict=True
        )
    }


class Judge:
    """Says which of some objects, and which look, pictures show."""

    def __init__(self, network: Recogniser, objects: Sequence[Concept]) -> None:
        """Tell the objects of these concepts from each other, and all styles and effects."""
        self._network = network
        art = load_art()
        self._names = torch.tensor([int(art.name[concept.images[0]]) for concept in objects])
        self._place = {concept.key: k for k, concept in enumerate(objects)}
        self._styles = {style: k for k, style in enumerate(STYLES)}

    @torch.no_grad()
    def sees(
        self, pictures: npt.NDArray[np.uint8], pairs: Sequence[tuple[Concept, Concept]]
    ) -> Bools:
        """Return whether pictures (n, 64, 64, 3) show their pairs' objects and looks, (n, 2)."""
        names, styles, effects, colours = self._network(prepare(torch.from_numpy(pictures)))
        found = names[:, self._names].argmax(1)
        objects = [int(found[k]) == self._place[thing.key] for k, (thing, _) in enumerate(pairs)]
        looks = []
        for k, (_, look) in enumerate(pairs):
            if look.effect is None:
                looks.append(int(styles[k].argmax()) == self._styles[str(look.style)])
                continue
            pattern, colour = look.effect
            # The choice includes no effect: a picture under none shows none.
            is_effect = int(effects[k].argmax()) == EFFECTS.index((look.kind, pattern))
            looks.append(is_effect and int(colours[k].argmax()) == PAINTS.index(colour))
        return np.array([objects, looks]).T


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PATH)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(examine(train_recogniser(options.output)))
