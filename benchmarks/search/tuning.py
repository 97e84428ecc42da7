"""Learn the constants of ranking and probability on training and validation adapters.

Prints them, and what they find in galleries that they were not learned on; paste them into
registry/retrieval/ranking.py and probability.py.
Nothing here looks at held-out adapters. One gallery is of adapters that the encoder knows well
and of such that it knows hardly, mixed.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from benchmarks.search.galleries import Gallery, load_galleries
from benchmarks.search.mixed import load_mixed
from benchmarks.search.questions import TURNS, Asked, ask
from benchmarks.search.tables import LANGUAGE_NAMES, SETUP_NAMES
from benchmarks.search.world import LANGUAGES, SETUPS, Setup, open_index
from benchmarks.tables import table
from demo.paths import BUILD, WIDE
from encoder.weight_encoders.checkpoint import load_encoder
from registry.retrieval.probability import NOTHING
from registry.retrieval.ranking import MODELS, RIVALS
from registry.retrieval.terms import SIGNALS

# Hubs say more truth than the sparse set-up, in which half of the adapters say none.
WEIGHTS: dict[Setup, float] = {"full": 2.0, "uncaptioned": 1.0, "sparse": 1.0}
# How many adapters each signal adds to the right one.
NEAREST = 16
PENALTY = 1e-3
FAR = -1e9  # a logarithm of nothing


@dataclass(frozen=True)
class Questions:
    """What signals say of the candidates of many questions.

    The first candidate is the right one; where there is none, it is not `there`.
    """

    z: Tensor  # (signals, questions, candidates), NaN where unknown
    there: Tensor  # (questions, candidates)
    weight: Tensor  # (questions,)
    gallery: Tensor  # (questions,)
    row: npt.NDArray[np.str_]  # (questions,), set-up and languages

    def of(self, wanted: Tensor) -> "Questions":
        """Only some of the questions."""
        return Questions(
            self.z[:, wanted],
            self.there[wanted],
            self.weight[wanted],
            self.gallery[wanted],
            self.row[wanted.numpy()],
        )

    def without_the_right_one(self) -> "Questions":
        there = self.there.clone()
        there[:, 0] = False
        return Questions(self.z, there, self.weight, self.gallery, self.row)


def gather(found: Iterable[Asked]) -> tuple[Questions, Questions]:
    """Return questions about what is here, and about what is far off."""
    kinds: tuple[list[Questions], list[Questions]] = ([], [])
    for one in found:
        count = one.scores.shape[2]
        scores = torch.from_numpy(one.scores)
        nearest = scores.nan_to_num(FAR).topk(NEAREST, dim=2).indices
        ids = nearest.permute(1, 0, 2).flatten(1)
        own = torch.arange(len(ids))
        ids = torch.cat([own.clamp(max=count)[:, None], ids], 1)
        # An adapter counts once, and the right one in the first place only.
        order = ids.sort(dim=1, stable=True)
        again = torch.zeros_like(ids, dtype=torch.bool)
        again.scatter_(1, order.indices[:, 1:], order.values[:, 1:] == order.values[:, :-1])
        z = scores.gather(2, ids.clamp(max=count - 1).expand(len(SIGNALS), -1, -1))
        row = np.repeat(f"{one.setup} {' on '.join(one.languages[::-1])}", len(ids))
        facts = Questions(
            z,
            ~again & (ids < count),
            torch.full((len(ids),), WEIGHTS[one.setup]),
            torch.full((len(ids),), one.gallery),
            row,
        )
        kinds[0].append(facts.of(own[:count]))
        kinds[1].append(facts.of(own[count:]))
    return join(kinds[0]), join(kinds[1])


def join(parts: Sequence[Questions]) -> Questions:
    return Questions(
        torch.cat([part.z for part in parts], 1),
        torch.cat([part.there for part in parts]),
        torch.cat([part.weight for part in parts]),
        torch.cat([part.gallery for part in parts]),
        np.concatenate([part.row for part in parts]),
    )


def evidence(parameters: Tensor, asked: Questions) -> Tensor:
    """registry.retrieval.ranking.evidence, differentiable; (questions, candidates).

    `parameters` (signals, 4) are slope, doubt, floor and weight, as logarithms but for doubt.
    """
    total = torch.zeros(asked.there.shape)
    for signal, z, (slope, doubt, floor, weight) in zip(SIGNALS, asked.z, parameters, strict=True):
        known = asked.there if signal == "words" else asked.there & ~z.isnan()
        odds = torch.where(known, slope.exp() * (z.nan_to_num(0.0) - doubt), 0.0)
        rivals = torch.where(known, odds, FAR).topk(RIVALS, dim=1).values
        everything = F.pad(rivals, (0, 1)).logsumexp(1, keepdim=True)
        above = torch.logaddexp(odds - everything, floor) - torch.logaddexp(-everything, floor)
        total = total + weight.exp() * above
    return torch.where(asked.there, total, FAR)


def learn(asked: Questions, start: Tensor) -> Tensor:
    """Fit the signals' constants: the right adapter is the most probable of all."""
    weight = asked.weight / asked.weight.sum()

    def loss(parameters: Tensor) -> Tensor:
        own = torch.log_softmax(evidence(parameters, asked), 1)[:, 0]
        return PENALTY * (parameters - start).square().sum() - weight @ own

    return minimise(loss, start)


def features(parameters: Tensor, asked: Questions) -> Tensor:
    """What `ranking.fit` goes by, (questions, 3).

    The best candidate's evidence and lead, and whether words match nothing.
    """
    own = evidence(parameters, asked)
    best = own.amax(1)
    everything = F.pad(own, (0, 1), value=NOTHING).logsumexp(1)
    words = asked.z[SIGNALS.index("words")]
    silent = (words.isnan() | ~asked.there).all(1).float()
    return torch.stack([best, best - everything, silent], 1)


def learn_fit(inside: Tensor, outside: Tensor) -> tuple[Tensor, float]:
    """Fit the probability that the best hit is right; return slopes, offset; and a threshold.

    The threshold has the best balanced accuracy of answering.
    """
    x = F.pad(torch.cat([inside, outside]), (0, 1), value=1.0)
    y = torch.cat([torch.ones(len(inside)), torch.zeros(len(outside))])
    line = minimise(
        lambda line: F.binary_cross_entropy_with_logits(x @ line, y),
        torch.tensor([0.3, 0.3, 0.0, -2.0]),
    )
    probability = torch.sigmoid(x @ line)

    def balanced(least: float) -> float:
        answered = (probability >= least).float()
        return float(answered[y == 1].mean() - answered[y == 0].mean())

    return line, float(max(np.arange(0.1, 0.9, 0.01), key=balanced))


def minimise(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    parameters = start.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        value = loss(parameters)
        value.backward()
        return value

    optimiser.step(step)
    return parameters.detach()


def reciprocal_places(found: Tensor) -> Tensor:
    """1 / place of the first candidate (questions,), in the middle of its equals."""
    own, others = found[:, :1], found[:, 1:]
    return 1 / (1 + (others > own).sum(1) + (others == own).sum(1) / 2)


def ranking_rows(parameters: Sequence[Tensor], asked: Questions) -> list[list[str]]:
    """MRR of every signal and of all, with constants learned on the other galleries."""
    found: dict[str, Tensor] = {
        signal: reciprocal_places(torch.where(asked.there & ~z.isnan(), z, FAR)) * ~z[:, 0].isnan()
        for signal, z in zip(SIGNALS, asked.z, strict=True)
    }
    found["all"] = torch.zeros(len(asked.weight))
    for number, own in enumerate(parameters):
        here = asked.gallery == number
        found["all"][here] = reciprocal_places(evidence(own, asked.of(here)))
    rows = []
    for setup, language in row_names():
        here = torch.from_numpy(asked.row == f"{setup} {language}")
        mean = {name: float(own[here].mean()) for name, own in found.items()}
        best = max(SIGNALS, key=lambda name: mean[name])
        figures = [f"{value:.3f}" for value in mean.values()]
        difference = f"{best}, {mean['all'] - mean[best]:+.3f}"
        rows.append([SETUP_NAMES[setup], LANGUAGE_NAMES[language], *figures, difference])
    return rows


def row_names() -> list[tuple[str, str]]:
    return [(setup, f"{asked} on {own}") for setup in SETUPS for own, asked in LANGUAGES]


def abstention_rows(
    parameters: Sequence[Tensor], here: Questions, far: Questions
) -> list[list[str]]:
    """How often each kind of question is answered, by what the other galleries taught."""
    asked = {"here": here, "taken away": here.without_the_right_one(), "far off": far}
    answered = {kind: torch.zeros(len(own.weight)) for kind, own in asked.items()}
    for number, own in enumerate(parameters):
        known = {
            kind: features(own, all_.of(all_.gallery != number)) for kind, all_ in asked.items()
        }
        line, least = learn_fit(known["here"], torch.cat([known["taken away"], known["far off"]]))
        for kind, all_ in asked.items():
            left = all_.gallery == number
            x = F.pad(features(own, all_.of(left)), (0, 1), value=1.0)
            answered[kind][left] = (torch.sigmoid(x @ line) >= least).float()
    rows = []
    for setup, language in row_names():
        shares = [
            own[torch.from_numpy(asked[kind].row == f"{setup} {language}")].mean()
            for kind, own in answered.items()
        ]
        figures = [f"{float(share):.3f}" for share in shares]
        rows.append([SETUP_NAMES[setup], LANGUAGE_NAMES[language], *figures])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=BUILD / "encoder.safetensors")
    parser.add_argument("--wide", type=Path, default=WIDE)
    options = parser.parse_args()
    both = load_mixed("validation", options.checkpoint, BUILD / "zoo", options.wide)
    mixed = both.world
    galleries = [
        *load_galleries(options.checkpoint),
        Gallery(
            mixed.concepts,
            mixed.embeddings,
            load_encoder(options.checkpoint),
            mixed.text_encoder,
            both.also(),
        ),
    ]
    total = len(galleries) * TURNS * len(SETUPS) * len(LANGUAGES)
    with open_index() as sessions:
        here, far = gather(track(ask(sessions, galleries), "Asking", total))
    rows = [[own.slope, own.doubt, own.floor, own.weight] for own in MODELS.values()]
    start = torch.tensor(rows)
    start[:, [0, 2, 3]] = start[:, [0, 2, 3]].log()
    others = [learn(here.of(here.gallery != number), start) for number in range(len(galleries))]
    head = ["metadata", "questions"]
    print(table([*head, *SIGNALS, "all", "all - best signal"], ranking_rows(others, here)))
    print(table([*head, "here", "taken away", "far off"], abstention_rows(others, here, far)))
    parameters = learn(here, start)
    for signal, (slope, doubt, floor, weight) in zip(SIGNALS, parameters, strict=True):
        figures = (slope.exp(), doubt, floor.exp(), weight.exp())
        print(signal, " ".join(f"{float(value):.3g}" for value in figures))
    away = features(parameters, here.without_the_right_one())
    line, least = learn_fit(
        features(parameters, here), torch.cat([away, features(parameters, far)])
    )
    print("FIT_SLOPE, FIT_LEAD, FIT_SILENT, FIT_OFFSET", *(f"{float(own):.3g}" for own in line))
    print(f"LEAST_FIT {least:.2f}")


if __name__ == "__main__":
    main()
