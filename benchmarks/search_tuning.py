"""Learn the constants of registry/search/ranking.py on the zoo's validation adapters.

Prints them; paste them there. Nothing here looks at held-out adapters.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy.orm import Session, sessionmaker
from torch import Tensor
from torch.nn import functional as F

from benchmarks.search_texts import FAR_OFF
from benchmarks.search_world import (
    ENCODER,
    SETUPS,
    Language,
    Setup,
    World,
    calibrated,
    fill,
    load_world,
    open_index,
    qualities,
)
from demo.listing import BASE_MODEL
from demo.paths import BUILD
from registry.search.filters import Filters
from registry.search.ranking import SIGNALS, Calibration
from registry.search.vector import nearest_by_captions, nearest_by_weights
from registry.search.words import matching_adapters

# (language of captions and words, of questions)
LANGUAGES: tuple[tuple[Language, Language], ...] = (("en", "en"), ("zh", "zh"), ("en", "zh"))
# Hubs say more truth than the sparse set-up, in which half of the adapters say none.
FULL_WEIGHT = 2.0
# slope, offset, lead, pull of each signal; slopes, leads and pulls as logarithms.
START = [0.0, -2.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.0, 1.8, -1.0, 0.0, 0.0]
PENALTY = 1e-3


@dataclass(frozen=True)
class Asked:
    """One set-up: similarities (signals, questions, adapters), NaN where there is none.

    The first questions are about the adapters in their order, the others about nothing here.
    """

    scores: npt.NDArray[np.float32]
    setup: Setup
    calibration: Calibration

    def standard(self) -> Tensor:
        """Similarities in deviations above those of strangers."""
        pairs = np.array([self.calibration.of(signal) for signal in SIGNALS], np.float32)
        centre, spread = pairs[:, :1, None], pairs[:, 1:, None]
        return torch.from_numpy((self.scores - centre) / spread)


def ask(sessions: sessionmaker[Session], world: World) -> list[Asked]:
    """Ask for every adapter by the caption its covers do not show, in all set-ups."""
    found = []
    for setup in SETUPS:
        for indexed, language in LANGUAGES:
            for turn in range(3):
                known = qualities(len(world.concepts), setup, seed=turn)
                # Every length is asked for, among covers that show captions of every length.
                hidden = [(place + turn) % 3 for place in range(len(world.concepts))]
                fill(sessions, world, known, indexed, hidden, seed=turn)
                texts = [
                    (c.captions_zh if language == "zh" else c.captions)[place]
                    for c, place in zip(world.concepts, hidden, strict=True)
                ]
                # Half of the far-off texts; the others are for reporting.
                texts += [pair[language == "zh"] for pair in FAR_OFF[::2]]
                found.append(
                    Asked(similarities(sessions, world, texts), setup, calibrated(sessions, world))
                )
    return found


def similarities(
    sessions: sessionmaker[Session], world: World, texts: list[str]
) -> npt.NDArray[np.float32]:
    """Return what each signal finds, (signals, texts, adapters)."""
    count, filters = len(world.concepts), Filters(BASE_MODEL)
    found = np.full((len(SIGNALS), len(texts), count), np.nan, np.float32)
    embeddings = world.text_encoder.encode(texts)
    projected = world.encoder.encode_query(embeddings)
    name = world.text_encoder.name
    with sessions() as session:
        for place, text in enumerate(texts):
            lists = (
                nearest_by_weights(
                    session, projected[place], encoder=ENCODER, filters=filters, limit=count
                ),
                nearest_by_captions(
                    session, embeddings[place], text_encoder=name, filters=filters, limit=count
                ),
                matching_adapters(session, text, filters=filters, limit=count),
            )
            for signal, matches in enumerate(lists):
                for match in matches:
                    found[signal, place, match.adapter_id - 1] = match.score
    return found


def evidence(parameters: Tensor, scores: Tensor) -> Tensor:
    """registry.search.ranking.evidence, differentiable; scores (signals, questions, adapters)."""
    p = parameters
    weights, captions, words = p[0:4], p[4:8], p[8:12]
    strongest = torch.zeros(scores.shape[1:])
    behind = torch.zeros(scores.shape[1:])
    for own, z in zip((weights, captions, words), scores, strict=True):
        known = ~z.isnan()
        filled = z.nan_to_num(0.0)
        heard = F.softplus(own[0].exp() * filled + own[1])
        strongest = torch.maximum(strongest, torch.where(known, heard, torch.zeros(())))
        best = torch.where(known, filled, torch.full((), -9.0)).amax(1, keepdim=True)
        far = 1 - torch.exp(-own[3].exp() * (best - filled).clamp(min=0))
        behind = behind + own[2].exp() * far
    return strongest - behind


def learn(asked: list[Asked], standard: list[Tensor]) -> Tensor:
    """Fit the signals' constants: the right adapter is the most probable of all."""
    parameters = torch.tensor(START, requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=400, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = torch.zeros(())
        for one, scores in zip(asked, standard, strict=True):
            own = evidence(parameters, scores[:, : scores.shape[2]])
            weight = FULL_WEIGHT if one.setup == "full" else 1.0
            total = total - weight * torch.log_softmax(own, 1).diagonal().mean()
        total = total / len(asked) + PENALTY * parameters.square().sum()
        total.backward()
        return total

    optimiser.step(loss)
    return parameters.detach()


def learn_fit(parameters: Tensor, standard: list[Tensor]) -> tuple[float, float, float]:
    """Fit the probability that the best hit is right; return slope, offset, and the threshold.

    Out of the pool are far-off texts and each adapter's caption once the adapter is taken
    away. The threshold has the best balanced accuracy of answering.
    """
    right, wrong = [], []
    for scores in standard:
        count = scores.shape[2]
        right.append(evidence(parameters, scores[:, :count]).amax(1))
        without = scores[:, :count].clone()
        without[:, range(count), range(count)] = float("nan")
        alone = evidence(parameters, without)
        alone[range(count), range(count)] = -1e9
        wrong += [alone.amax(1), evidence(parameters, scores[:, count:]).amax(1)]
    value = torch.cat([*right, *wrong])
    fits = torch.cat([torch.ones(sum(map(len, right))), torch.zeros(sum(map(len, wrong)))])
    line = torch.tensor([0.3, -2.0], requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = F.binary_cross_entropy_with_logits(line[0] * value + line[1], fits)
        total.backward()
        return total

    optimiser.step(loss)
    probability = torch.sigmoid(line[0] * value + line[1]).detach()

    def balanced(least: float) -> float:
        answered = (probability >= least).float()
        return float(answered[fits == 1].mean() + 1 - answered[fits == 0].mean()) / 2

    threshold = max(np.arange(0.1, 0.9, 0.01), key=balanced)
    print(f"balanced accuracy at {threshold:.2f}: {balanced(float(threshold)):.3f}")
    slope, offset = line.tolist()
    return slope, offset, float(threshold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=BUILD / "encoder.safetensors")
    options = parser.parse_args()
    world = load_world("validation", options.checkpoint)
    with open_index() as sessions:
        asked = ask(sessions, world)
    standard = [one.standard() for one in asked]
    parameters = learn(asked, standard)
    values = parameters.tolist()
    for name in ("weights", "captions"):
        print(name, np.mean([getattr(one.calibration, name) for one in asked], axis=0).round(3))
    mrrs: dict[str, list[float]] = {}
    for one, scores in zip(asked, standard, strict=True):
        found = evidence(parameters, scores[:, : scores.shape[2]])
        place = 1 + (found > found.diagonal()[:, None]).sum(1)
        mrrs.setdefault(one.setup, []).append(float((1 / place).mean()))
    print({setup: np.reshape(own, (3, 3)).mean(1).round(3).tolist() for setup, own in mrrs.items()})
    for signal, start in zip(SIGNALS, (0, 4, 8), strict=True):
        own = values[start : start + 4]
        shown = [np.exp(own[0]), own[1], *(np.exp(value) for value in own[2:])]
        print(signal, " ".join(f"{value:.3g}" for value in shown))
    slope, offset, threshold = learn_fit(parameters, standard)
    print(f"FIT_SLOPE, FIT_OFFSET = {slope:.3g}, {offset:.3g}; LEAST_FIT = {threshold:.2f}")


if __name__ == "__main__":
    main()
