"""Train the networks that the shipped encoder is held against: AutoLoRA's encoder and W2T.

Some minutes each; every epoch is kept, so that a stopped run goes on.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.arrays import digest
from benchmarks.results import RESULTS
from benchmarks.retrieval.w2t import W2T, Canonical, stack_canonical
from benchmarks.retrieval.zoo import BASE_MODEL, Space, Zoo
from demo.paths import BUILD
from encoder.adapter.lora_file import LoraWeights, read
from encoder.arrays import Floats
from encoder.training.contrastive import Examples, Schedule, Trainer
from encoder.training.train import TrainingRun, train_autolora
from encoder.weight_encoders.autolora import AutoLoraConfig, family_of
from encoder.weight_encoders.text_space import TextSpace

FOLDER = RESULTS / "networks"
BATCH = 64
# An epoch of W2T takes three times one of AutoLoRA's.
W2T_EPOCHS = 20

# Is told (epoch, epochs, what).
Listener = Callable[[int, int, str], None]


def say(done: int, total: int, what: str) -> None:
    Console(stderr=True).print(f"{done}/{total} {what}")


def autolora_space(
    zoo: Zoo, adapters: Sequence[LoraWeights], folder: Path, seed: int, listener: Listener = say
) -> Space:
    """Train AutoLoRA's encoder on whole factors."""
    encoder = train_autolora(
        zoo.dataset,
        zoo.text_encoder,
        name=f"autolora-{seed}",
        base_model=BASE_MODEL,
        config=AutoLoraConfig(BASE_MODEL),
        schedule=Schedule(seed=seed),
        run=TrainingRun(
            folder / f"autolora-{seed}",
            progress=lambda done, total, what: (
                listener(done, total, what) if "Tr" in what else None
            ),
        ),
    )
    return Space(encoder.encode_weights(adapters), encoder.encode_query)


def w2t_space(
    zoo: Zoo, adapters: Sequence[LoraWeights], folder: Path, seed: int, listener: Listener = say
) -> Space:
    """Train W2T with the same schedule, captions and text space."""
    family = family_of(BASE_MODEL)
    space = TextSpace.fit([zoo.both[i] for i in zoo.indices("train")])
    captions = [torch.from_numpy(space.project(own)) for own in zoo.both]

    def examples(split: str) -> Examples:
        own = zoo.indices(split)
        stacked = stack_canonical(family, [adapters[i] for i in own])
        return Examples(stacked, [captions[i] for i in own])

    torch.manual_seed(seed)
    network = W2T(family, zoo.text_encoder.dim)
    schedule = Schedule(epochs=W2T_EPOCHS, seed=seed)
    learned_from = digest(*(zoo.both[i] for i in zoo.indices("train")))
    trainer = Trainer(network, schedule, folder / f"w2t-{seed}", trained_on=learned_from)
    trainer.run(examples("train"), examples("validation"), listener)
    batches = (
        stack_canonical(family, adapters[i : i + BATCH]) for i in range(0, len(adapters), BATCH)
    )
    return Space(np.concatenate([embed(network, batch) for batch in batches]), space.project)


@torch.no_grad()
def embed(network: W2T, batch: Canonical) -> Floats:
    found: Floats = network(batch).numpy()
    return found


NETWORKS = {"W2T": w2t_space, "AutoLoRA's encoder": autolora_space}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    zoo = Zoo.load(options.zoo)
    adapters = [read(path) for path in zoo.paths]
    for name, train in NETWORKS.items():
        for seed in range(options.seeds):
            started = time.monotonic()
            train(zoo, adapters, options.folder, seed)
            print(f"{name}, seed {seed}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
