"""AutoLoRA's encoder and W2T, trained on the same adapters and captions as the ridge.

Both see the eight strongest parts of every layer's change: more of them are a matter of hours.
Every epoch is kept, so that a stopped run goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from benchmarks.arrays import digest
from benchmarks.results import RESULTS
from benchmarks.retrieval.networks import BATCH, W2T_EPOCHS
from benchmarks.retrieval.w2t import W2T, canonical, stack_canonical
from benchmarks.retrieval.zoo import Space
from benchmarks.wide.zoo import WideZoo, of
from encoder.adapter.layers import Layer, LoraLayer
from encoder.adapter.lora_file import LoraWeights
from encoder.arrays import Ints
from encoder.training.contrastive import Adapters, Examples, Schedule, Trainer
from encoder.weight_encoders.autolora import AutoLora, AutoLoraConfig
from encoder.weight_encoders.layer_batch import stack_weights
from encoder.weight_encoders.text_space import TextSpace

FOLDER = RESULTS / "wide_networks"
PARTS = 8
AUTOLORA_EPOCHS = 40

Stack = Callable[[list[LoraWeights]], Adapters]


def strongest_parts(weights: LoraWeights) -> LoraWeights:
    """Cut every layer's change down to its leading singular parts."""
    return replace(weights, layers={name: cut(own) for name, own in weights.layers.items()})


def cut(layer: Layer) -> LoraLayer:
    """Return the leading parts of a layer's change; nothing is lost where it has no more."""
    left, right, strengths = canonical(*layer.factors(), layer.scale)
    up = (left[:PARTS] * strengths[:PARTS, None]).T.contiguous()
    return LoraLayer(right[:PARTS].contiguous(), up, 1.0)


@dataclass(frozen=True)
class Rival:
    """A network to be trained by contrast."""

    name: str
    build: Callable[[WideZoo], nn.Module]
    stack: Callable[[WideZoo], Stack]
    epochs: int


def autolora(zoo: WideZoo) -> AutoLora:
    config = AutoLoraConfig(zoo.family.name, dim=zoo.text_encoder.dim)
    return AutoLora(config, zoo.family)


RIVALS = (
    Rival(
        "AutoLoRA's encoder",
        autolora,
        lambda zoo: lambda adapters: stack_weights(zoo.family, adapters),
        AUTOLORA_EPOCHS,
    ),
    Rival(
        "W2T",
        lambda zoo: W2T(zoo.family, zoo.text_encoder.dim),
        lambda zoo: lambda adapters: stack_canonical(zoo.family, adapters),
        W2T_EPOCHS,
    ),
)


def train_rivals(zoo: WideZoo, train: Ints, seeds: int) -> Iterator[tuple[str, Space]]:
    """Train every network `seeds` times, stopped early by the zoo's validation adapters."""
    cut_down = [strongest_parts(own) for own in zoo.adapters]
    for rival in RIVALS:
        for seed in range(seeds):
            name = f"{rival.name}, seed {seed}"
            yield name, train_rival(zoo, cut_down, rival, train, zoo.indices("validation"), seed)


def train_rival(
    zoo: WideZoo,
    adapters: Sequence[LoraWeights],
    rival: Rival,
    train: Ints,
    validation: Ints,
    seed: int = 0,
) -> Space:
    """Train a network, stopped early by the validation adapters, and embed everybody.

    `adapters` are the zoo's, by their `strongest_parts`.
    """
    stack = rival.stack(zoo)
    space = TextSpace.fit(of(zoo.captions, train))
    captions = [torch.from_numpy(space.project(own)) for own in zoo.captions]

    def examples(rows: Ints) -> Examples:
        return Examples(stack(of(adapters, rows)), of(captions, rows))

    torch.manual_seed(seed)
    network = rival.build(zoo)
    learned, judged = examples(train), examples(validation)
    if isinstance(network, AutoLora):
        network.standardise(learned.adapters)  # type: ignore[arg-type]
    folder = FOLDER / f"{type(network).__name__.lower()}-{seed}"
    schedule = Schedule(epochs=rival.epochs, seed=seed)
    learned_from = digest(train, validation, *of(zoo.captions, train))
    trainer = Trainer(network, schedule, folder, trained_on=learned_from)
    trainer.run(learned, judged, lambda done, total, what: print(done, total, what, flush=True))
    with torch.no_grad():
        parts = [
            network(stack(list(adapters[start : start + BATCH]))).numpy()
            for start in range(0, len(adapters), BATCH)
        ]
    return Space(np.concatenate(parts), space.project)
