"""What a person gets who asks: how good the list is, and whether its probabilities hold.

In indexes of every kind that occurs: described in full, half without captions, a quarter lost and
a quarter wrong, not described at all; with the encoder, without one, with one that knows another
world; and with few adapters, of which twelve, one or none has captions.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from rich.progress import track
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.search.asked import (
    LITERAL,
    NOTHING,
    Kind,
    Question,
    captions,
    kinds,
    literal,
    nothing_here,
)
from benchmarks.search.world import (
    FILTERS,
    SETUPS,
    Language,
    Quality,
    World,
    Written,
    as_served,
    captions_of,
    describe,
    fill,
    qualities,
)
from demo.concepts import Art, Concept
from encoder.arrays import Doubles
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.fitness import FITS
from registry.retrieval.hybrid import SearchQuery, rank_all, read
from registry.retrieval.ranking import LEAST_TELLING, Scale, SearchHit
from registry.retrieval.strangers import strangers_of

PAGE = 10
# So many questions of each literal kind, drawn, and of what was taken away.
MOST_LITERAL, MOST_AWAY = 40, 80
FEW = 50
BINS = 10
# Seeds of questions: an odd one has the far-off texts to judge by, and other nonsense.
SEED = 1

Encoding = Literal["real", "none", "foreign"]


@dataclass(frozen=True)
class Situation:
    """An index of one kind; `captioned` of few adapters, or all as `setup` has it."""

    name: str
    setup: Literal["full", "uncaptioned", "sparse", "removed"]
    encoding: Encoding
    languages: tuple[Written, Language] = ("en", "en")  # of adapters, of questions
    captioned: int | None = None


SITUATIONS = (
    Situation("full", "full", "real"),
    Situation("full", "full", "real", ("zh", "zh")),
    Situation("full", "full", "real", ("en", "zh")),
    Situation("quarter lost, quarter wrong", "sparse", "real"),
    Situation("not described", "removed", "real"),
    Situation("full", "full", "none"),
    Situation("full", "full", "none", ("zh", "zh")),
    Situation("full", "full", "none", ("en", "zh")),
    Situation("half without captions", "uncaptioned", "none"),
    Situation("quarter lost, quarter wrong", "sparse", "none"),
    Situation("not described", "removed", "none"),
    Situation("12 of 50 with captions", "full", "none", captioned=12),
    Situation("1 of 50 with captions", "full", "none", captioned=1),
    Situation("none of 50 with captions", "full", "none", captioned=0),
    Situation("full", "full", "foreign"),
    Situation("not described", "removed", "foreign"),
    Situation("full", "full", "real", ("both", "en")),
    Situation("full", "full", "real", ("both", "zh")),
    Situation("full", "full", "none", ("both", "en")),
    Situation("full", "full", "none", ("both", "zh")),
)


@dataclass(frozen=True)
class Answered:
    """A question with its answer: hits in order, the grade of each, and what similarities mean."""

    question: Question
    hits: Sequence[SearchHit]
    grades: Sequence[int]
    scale: Scale


def measure_lists(
    sessions: sessionmaker[Session], world: World, away: Sequence[Concept], art: Art
) -> Iterator[dict[str, Any]]:
    """Yield the figures of every situation; `away` are concepts that have no adapter here."""
    for situation in SITUATIONS:
        answered = list(answers(sessions, world, away, art, situation))
        yield {
            "metadata": situation.name,
            "encoder": situation.encoding,
            "languages": " on ".join(situation.languages[::-1]),
            **list_figures(answered),
        }


def answers(
    sessions: sessionmaker[Session],
    world: World,
    away: Sequence[Concept],
    art: Art,
    situation: Situation,
) -> Iterator[Answered]:
    """Fill the index as the situation has it, and ask everything."""
    if situation.captioned is not None:
        world = world.of(range(min(FEW, len(world.concepts))))
    if situation.encoding == "foreign":
        # What another adapter does: all that is true of embeddings but what they are of.
        mixed = np.random.default_rng(SEED).permutation(len(world.concepts))
        world = replace(world, embeddings=world.embeddings[mixed])
    indexed, language = situation.languages
    known = known_of(situation, len(world.concepts))
    hidden = np.random.default_rng(SEED).integers(0, 3, len(world.concepts)).tolist()
    active = situation.encoding != "none"
    fill(sessions, world, known, indexed, hidden, seed=SEED, active=active)
    space = space_of(as_served(sessions, world), situation.encoding)
    asked = captions(captions_of(world.concepts, language, hidden))
    asked += kinds(world.concepts, art, language)
    if indexed == language:
        records = describe(world.concepts, known, indexed, hidden, seed=SEED)
        asked += drawn_literal(list(literal(records)))
    texts = captions_of(away[:MOST_AWAY], language, [n % 3 for n in range(MOST_AWAY)][: len(away)])
    asked += nothing_here(texts, language, SEED)
    about = f"{situation.name} {situation.encoding} {language} on {indexed}"
    yield from ask(sessions, world, space, asked, about)


def ask(
    sessions: sessionmaker[Session],
    world: World,
    space: Space,
    questions: Sequence[Question],
    about: str,
) -> Iterator[Answered]:
    """Ask an index that is filled; `about` is shown meanwhile."""
    with sessions() as session:
        for question in track(questions, about):
            told = read(session, SearchQuery(question.text, FILTERS), world.text_encoder)
            hits = rank_all(session, told, world.text_encoder, [space])
            grades = [question.grades.get(hit.adapter_id - 1, 0) for hit in hits]
            aimed = space.aim(world.text_encoder.encode([question.text])[0])
            scale = space.scale(aimed, strangers_of(world.text_encoder))
            yield Answered(question, hits, grades, scale)


def known_of(situation: Situation, count: int) -> list[Quality]:
    """What is known of every adapter; which ones lack it is drawn."""
    if situation.setup == "removed":
        return ["removed"] * count
    if situation.captioned is None:
        assert situation.setup in SETUPS
        return qualities(count, situation.setup, seed=SEED)
    known: list[Quality] = [
        "full" if place < situation.captioned else "uncaptioned" for place in range(count)
    ]
    random.Random(SEED).shuffle(known)
    return known


def space_of(served: World, encoding: Encoding) -> Space:
    """What is searched, as the registry has it: an encoder that tells nothing takes no part."""
    telling = served.encoder.calibration.telling >= LEAST_TELLING
    return Space(served.encoder if encoding != "none" and telling else None)


def drawn_literal(asked: Sequence[Question]) -> list[Question]:
    rng = random.Random(SEED)
    found = []
    for kind in LITERAL:
        own = [question for question in asked if question.kind == kind]
        found += rng.sample(own, min(len(own), MOST_LITERAL))
    return found


def list_figures(answered: Sequence[Answered]) -> dict[str, Any]:
    """Figures of a list by the kind of question, and of all first pages' probabilities."""
    by_kind: dict[Kind, list[Answered]] = {}
    for one in answered:
        by_kind.setdefault(one.question.kind, []).append(one)
    probable, right = on_first_pages(answered)
    found = [one for kind in LITERAL for one in by_kind.get(kind, []) if one.question.grades]
    return {
        "ndcg": _mean([ndcg(one) for one in by_kind["kind"]]),
        "recall": _mean([recall(one) for one in by_kind["kind"]]),
        "mrr": _mean([reciprocal(one.grades) for one in by_kind["caption"]]),
        "mrr_by_surety": _mean([reciprocal(by_surety(one)) for one in by_kind["caption"]]),
        "literal": _mean([recall(one) for one in found]),
        "error": calibration_error(probable, right),
        "bins": reliability(probable, right),
        "fits": {kind: _mean([fits(one) for one in own]) for kind, own in by_kind.items()},
        **what_fits([one for kind in ("caption", *NOTHING) for one in by_kind.get(kind, [])]),
        "questions": {kind: len(own) for kind, own in by_kind.items()},
        "nonsense_that_fits": [
            one.question.text for kind in NOTHING[2:] for one in by_kind[kind] if fits(one)
        ],
    }


def on_first_pages(answered: Sequence[Answered]) -> tuple[Doubles, Doubles]:
    """Return the probabilities of all results on first pages, and which are right (1 or 0)."""
    shown = [
        (hit.score, float(grade > 0))
        for one in answered
        for hit, grade in zip(one.hits[:PAGE], one.grades[:PAGE], strict=True)
    ]
    probable, right = np.array(shown).T
    return probable, right


def what_fits(answered: Sequence[Answered]) -> dict[str, Any]:
    """Return how many results on first pages are said to fit, with which probability, and truly."""
    probable, right = on_first_pages(answered)
    fit = probable >= FITS
    return {
        "said_to_fit": int(fit.sum()),
        "said": _mean(probable[fit].tolist()),
        "true": _mean(right[fit].tolist()),
    }


def ndcg(one: Answered) -> float:
    """Discounted gain of the first ten, 2^grade - 1 each, of the best there could be [1].

    - [1] Järvelin and Kekäläinen, 2002, https://doi.org/10.1145/582415.582418
    """
    ideal = sorted(one.question.grades.values(), reverse=True)
    return _gain(one.grades) / _gain(ideal)


def _gain(grades: Sequence[int]) -> float:
    return sum((2.0**grade - 1) / math.log2(2 + place) for place, grade in enumerate(grades[:PAGE]))


def recall(one: Answered) -> float:
    """The share of right answers on the first page, of as many as it holds."""
    right = sum(grade > 0 for grade in one.grades[:PAGE])
    return right / min(PAGE, len(one.question.grades))


def reciprocal(grades: Sequence[int]) -> float:
    """1 / place of the first right answer."""
    return next((1 / place for place, grade in enumerate(grades, start=1) if grade), 0.0)


def by_surety(one: Answered) -> list[int]:
    """The grades in the order of how surely each is the one that is meant."""
    pairs = zip(one.hits, one.grades, strict=True)
    return [grade for _, grade in sorted(pairs, key=lambda pair: -pair[0].surety)]


def calibration_error(probable: Doubles, right: Doubles) -> float:
    """How far probabilities are from what is right, on average over equally wide bins."""
    return sum(
        share * abs(said - true) for share, said, true in reliability(probable, right).values()
    )


def reliability(probable: Doubles, right: Doubles) -> dict[str, tuple[float, float, float]]:
    """For each bin its share, the mean probability, and the share that is right."""
    places = np.minimum((probable * BINS).astype(int), BINS - 1)
    return {
        str(place): (
            float((places == place).mean()),
            float(probable[places == place].mean()),
            float(right[places == place].mean()),
        )
        for place in np.unique(places).tolist()
    }


def fits(one: Answered) -> bool:
    """Whether the first result is said to fit."""
    return any(hit.score >= FITS for hit in one.hits[:1])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
