"""Learn the constants of the list's probabilities on validation adapters.

Prints how well probabilities hold on questions that were not learned from, then the constants to
paste into registry/retrieval/fitness.py. Nothing here looks at held-out adapters. Indexes of the
miniature world alone take part, and those in which it is mixed with art from outside.
"""

import argparse
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.search.lists import (
    FEW,
    PAGE,
    SITUATIONS,
    Answered,
    answers,
    calibration_error,
    known_of,
)
from benchmarks.search.mixed import SITUATIONS as MIXED
from benchmarks.search.mixed import answers as mixed_answers
from benchmarks.search.mixed import load_mixed
from benchmarks.search.tuning import minimise
from benchmarks.search.world import Quality, load_world, open_index
from benchmarks.tables import table
from demo.concepts import plan
from demo.paths import BUILD, WIDE
from registry.retrieval import fitness
from registry.retrieval.fitness import FITNESS, SILENCE, Fitness, has_every_word
from registry.retrieval.ranking import behind_first, evidence, is_told, scores_in_deviations
from registry.retrieval.terms import SIGNALS

OF_SIGNALS = tuple(field.name for field in fields(Fitness))
OF_ALL = ("OFFSET", "SILENT", "UNTOLD", "WRITTEN", "ONLY_WRITTEN", "EVIDENCE_LAG", "EVIDENCE_PACE")
# How much a constant that is e times the present one has to bring.
PENALTY = 1e-3
# How much the order of questions with one answer counts beside all probabilities.
ORDER = 0.1
JUDGED = 1 / 3
UNCAPTIONED = ("uncaptioned", "removed")


@dataclass(frozen=True)
class Pages:
    """What tells of the hits of first pages, all in a row; exact ones need no probability."""

    z: Tensor  # (signals, hits), NaN where unknown
    behind: Tensor  # (signals, hits), the best z of the answer less the own one
    evidence_behind: Tensor  # (hits,)
    gibberish: Tensor  # (hits,)
    silent: Tensor  # (hits,) bool, as are the next three
    untold: Tensor
    written: Tensor
    right: Tensor
    question: Tensor  # (hits,), which one it answers
    single: Tensor  # (hits,) bool, the question has one answer

    def of(self, wanted: Tensor) -> "Pages":
        """Only some of the hits (hits,)."""
        return Pages(*(getattr(self, field.name)[..., wanted] for field in fields(self)))


def gather(answered: Iterable[Answered], known: Sequence[Quality]) -> Pages:
    """Return what was known of each hit; `known` is what is said of every adapter."""
    silent = {place + 1 for place, own in enumerate(known) if own in UNCAPTIONED}
    parts = [_page(number, one, silent) for number, one in enumerate(answered) if one.hits]
    return Pages(
        *(torch.cat([getattr(p, field.name) for p in parts], -1) for field in fields(Pages))
    )


def _page(number: int, one: Answered, uncaptioned: Collection[int]) -> Pages:
    ids = [hit.adapter_id for hit in one.hits]
    scores = {
        signal: {
            hit.adapter_id: own for hit in one.hits if (own := hit.signals[signal]) is not None
        }
        for signal in SIGNALS
    }
    # A hit without captions shows how near it is by what is said of it, which speaks by itself.
    scores["captions"] = {
        id_: own for id_, own in scores["captions"].items() if id_ not in uncaptioned
    }
    scores = {signal: own for signal, own in scores.items() if own or signal == "words"}
    scales = [one.scale] * len(ids)
    found = evidence(scores, ids, [scale.calibration for scale in scales])
    known = scores_in_deviations(scores, ids, scales)
    z = np.array([known.get(signal, np.full(len(ids), np.nan)) for signal in SIGNALS])
    best = np.where(np.isnan(z), -np.inf, z).max(1, keepdims=True)
    words = z[SIGNALS.index("words")]
    mute = np.array([hit.mute for hit in one.hits])
    evidence_behind = behind_first(found, words, mute, is_told(known))
    if (words >= SILENCE).any():
        z[SIGNALS.index("words"), mute] = 0.0
    # Where words say nothing, no adapter is behind one of which they tell.
    best = np.broadcast_to(best, z.shape).copy()
    best[SIGNALS.index("words"), mute] = z[SIGNALS.index("words"), mute].max(initial=0.0)
    untold = np.isnan(np.delete(z, SIGNALS.index("words"), 0)).all(0)
    every = np.ones(len(ids))
    page = Pages(
        z=torch.tensor(z),
        behind=torch.tensor(np.where(np.isnan(z), 0.0, best - z)),
        evidence_behind=torch.tensor(evidence_behind),
        gibberish=torch.tensor(max(one.scale.gibberish, 0.0) * every),
        silent=torch.tensor(mute),
        untold=torch.tensor(untold),
        written=torch.tensor(has_every_word(words)),
        right=torch.tensor(np.array(one.grades) > 0),
        question=torch.tensor(number * every).long(),
        single=torch.tensor((one.question.kind == "caption") * every > 0),
    )
    exact = torch.tensor([hit.exact for hit in one.hits])
    return page.of(~exact & (torch.arange(len(ids)) < PAGE))


def present() -> Tensor:
    """Return the constants that are in use, in the order of OF_SIGNALS for each signal, OF_ALL."""
    own = [getattr(FITNESS[signal], name) for signal in SIGNALS for name in OF_SIGNALS]
    return torch.tensor([*own, *(getattr(fitness, name) for name in OF_ALL)], dtype=torch.float64)


def log_odds(constants: Tensor, pages: Pages) -> Tensor:
    """registry.retrieval.fitness.probabilities as log-odds, differentiable; (hits,)."""
    count = len(SIGNALS) * len(OF_SIGNALS)
    offset, silent, untold, written, only, lag, pace = constants[count:]
    total: Tensor = (
        offset + silent * pages.silent - lag * (1 - (-pace * pages.evidence_behind).exp())
    )
    models = constants[:count].view(len(SIGNALS), -1)
    for place, (model, z, behind) in enumerate(zip(models, pages.z, pages.behind, strict=True)):
        own = dict(zip(OF_SIGNALS, model, strict=True))
        above = z.nan_to_num(0.0) - own["gibberish"] * pages.gibberish - own["doubt"]
        near = torch.sigmoid(own["slope"] * above)
        odds = own["weight"] * ((own["floor"] + near) / (own["floor"] + 1)).log()
        odds = odds - own["lag"] * (1 - (-own["pace"] * behind).exp())
        alone = own["alone"] + own["only"] * _only(pages, place)
        odds = odds + alone * above.clamp(max=fitness.FARTHEST) * pages.silent
        total = total + torch.where(z.isnan(), own["unknown"], odds)
    words = pages.z[SIGNALS.index("words")]
    total = total + untold * (pages.untold & (words <= 0) & pages.silent)
    return total + torch.where(pages.untold, only, written) * pages.written


def _only(pages: Pages, place: int) -> Tensor:
    """Which hits no other signal than that at `place`, and words, knows."""
    others = [i for i, signal in enumerate(SIGNALS) if signal != "words" and i != place]
    return pages.z[others].isnan().all(0)


def learn(situations: Sequence[Pages], start: Tensor) -> Tensor:
    """Fit the constants, every situation alike; none changes its sign, and what is 0 stays."""

    def loss(factors: Tensor) -> Tensor:
        constants = start * factors.exp()
        own = torch.stack([_loss(log_odds(constants, pages), pages) for pages in situations])
        return own.mean() + PENALTY * factors.square().sum()

    return start * minimise(loss, torch.zeros_like(start)).exp()


def _loss(odds: Tensor, pages: Pages) -> Tensor:
    """Return how wrong probabilities are, and the order where one answer is right."""
    total = F.binary_cross_entropy_with_logits(odds, pages.right.to(odds))
    best = pages.single & pages.right
    if not best.any():
        return total
    # All hits of a question share its belief.
    size = int(pages.question.max()) + 1
    shares = torch.zeros(size, dtype=odds.dtype).index_add(0, pages.question, odds.exp())
    return total - ORDER * (odds - shares[pages.question].log())[best].mean()


def drawn(pages: Pages, seed: int) -> tuple[Pages, Pages]:
    """Part the questions: those to learn from, and those to judge by."""
    count = int(pages.question.max()) + 1
    judged = torch.from_numpy(np.random.default_rng(seed).random(count) < JUDGED)
    return pages.of(~judged[pages.question]), pages.of(judged[pages.question])


def error(constants: Tensor, pages: Pages) -> float:
    said = torch.sigmoid(log_odds(constants, pages))
    return calibration_error(said.numpy(), pages.right.double().numpy())


def to_python(constants: Tensor) -> str:
    """Write the constants as registry/retrieval/fitness.py has them."""
    values = iter(constants.tolist())
    lines = ["FITNESS: Mapping[Signal, Fitness] = {"]
    for signal in SIGNALS:
        own = {name: next(values) for name in OF_SIGNALS}
        given = ", ".join(f"{name}={value:.3g}" for name, value in own.items() if value)
        lines.append(f'    "{signal}": Fitness({given}),')
    return "\n".join(
        [
            *lines,
            "}",
            *(f"{name} = {value:.3g}" for name, value in zip(OF_ALL, values, strict=True)),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=BUILD / "encoder.safetensors")
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo", help="its listing and files")
    parser.add_argument("--wide", type=Path, default=WIDE)
    parser.add_argument("--seed", type=int, default=0, help="draws the questions to judge by")
    parser.add_argument("--situations", type=int, nargs="+", default=[*range(len(SITUATIONS))])
    options = parser.parse_args()
    world = load_world("validation", options.checkpoint, options.zoo)
    planned = plan()
    keys = {concept.key for concept in world.concepts}
    # Also concepts that adapters were trained on: here they are only texts that nothing answers.
    away = [c for c in planned.concepts if c.split != "held-out" and c.key not in keys]
    chosen = [SITUATIONS[place] for place in options.situations]
    with open_index() as sessions:
        count = len(world.concepts)
        asked = [
            gather(
                answers(sessions, world, away, planned.art, one),
                known_of(one, count if one.captioned is None else min(FEW, count)),
            )
            for one in chosen
        ]
        mixed = load_mixed("validation", options.checkpoint, options.zoo, options.wide)
        asked += [
            gather(mixed_answers(sessions, mixed, one), known_of(one, len(mixed.world.concepts)))
            for one in MIXED
        ]
        chosen += [replace(one, name=f"mixed, {one.name}") for one in MIXED]
    parts = [drawn(pages, options.seed) for pages in asked]
    start = present()
    learned = learn([own for own, _ in parts], start)
    rows = [
        [one.name, one.encoding, " on ".join(one.languages[::-1])]
        + [f"{error(constants, judged):.3f}" for constants in (start, learned)]
        for one, (_, judged) in zip(chosen, parts, strict=True)
    ]
    print(table(["metadata", "encoder", "questions", "error now", "error learned"], rows))
    print(to_python(learned))


if __name__ == "__main__":
    main()
