"""A question -> all that the signals say of it, and the facts that ranking needs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from registry.retrieval.duplicates import contents_of
from registry.retrieval.filters import Filters
from registry.retrieval.ranking import SIGNALS, Match, Signal
from registry.retrieval.statements import Embedding, prepare, rows
from registry.retrieval.vector import (
    captions_similarities,
    nearest_by_captions,
    nearest_by_weights,
    weights_similarities,
)
from registry.retrieval.words import exact_adapters, matching_adapters

# How many adapters every signal offers to the merge.
DEPTH = 60


@dataclass(frozen=True, slots=True)
class Aim:
    """How the adapters that `filters` leave are compared with a question.

    `captions` (dim,) is the question as their captions compare with it. `weights` (dim,) is it in
    the space of `encoder`; both are None where no encoder knows them.
    """

    filters: Filters
    captions: Embedding
    encoder: str | None = None
    weights: Embedding | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: words of whatever `filters` leave, and vectors of each aim's adapters.

    Aims part what `filters` leave, by base models: each has an encoder of its own, or none.
    """

    text: str
    filters: Filters
    aims: Sequence[Aim]
    text_encoder: str
    signals: Collection[Signal] = SIGNALS
    depth: int = DEPTH


@dataclass(frozen=True, slots=True)
class Facts:
    base_model: str
    downloads: int
    # Equals another's if both hold the same tensors, and change the base as much.
    contents: str


@dataclass(slots=True)
class Gathered:
    """Scores and places (from 1) by signal and adapter; who is called so; facts of all of them.

    A place is only given to what the signal found by itself. Whatever one signal found has the
    others' scores too, where it has any.
    """

    scores: dict[Signal, dict[int, float]] = field(default_factory=dict)
    positions: dict[Signal, dict[int, int]] = field(default_factory=dict)
    exact: list[int] = field(default_factory=list)
    facts: dict[int, Facts] = field(default_factory=dict)

    def ids(self) -> set[int]:
        return {id_ for own in self.scores.values() for id_ in own}.union(self.exact)


def gather(session: Session, question: Question) -> Gathered:
    """Ask every signal, best adapters first, `question.depth` of each."""
    gathered = Gathered()
    for signal in ("weights", "captions"):
        if signal in question.signals:
            _take(gathered, signal, _nearest(session, question, signal), question.depth)
    if "words" in question.signals:
        gathered.exact = exact_adapters(
            session, question.text, filters=question.filters, limit=question.depth
        )
        found = matching_adapters(
            session,
            question.text,
            filters=question.filters,
            limit=question.depth,
            also=gathered.ids(),
        )
        _take(gathered, "words", found, question.depth)
    _fill_in(session, question, gathered)
    gathered.facts = load_facts(session, gathered.ids())
    return gathered


def _take(gathered: Gathered, signal: Signal, found: Sequence[Match], depth: int) -> None:
    gathered.scores[signal] = {match.adapter_id: match.score for match in found}
    gathered.positions[signal] = {
        match.adapter_id: place for place, match in enumerate(found[:depth], start=1)
    }


def _nearest(session: Session, question: Question, signal: Signal) -> list[Match]:
    found: list[Match] = []
    for aim in question.aims:
        if signal == "captions":
            found += nearest_by_captions(
                session,
                aim.captions,
                text_encoder=question.text_encoder,
                filters=aim.filters,
                limit=question.depth,
            )
        elif aim.encoder is not None and aim.weights is not None:
            found += nearest_by_weights(
                session,
                aim.weights,
                encoder=aim.encoder,
                filters=aim.filters,
                limit=question.depth,
            )
    return sorted(found, key=lambda match: (-match.score, match.adapter_id))


def _fill_in(session: Session, question: Question, gathered: Gathered) -> None:
    """Give what one signal found far down in another's list, or not at all, its score there."""
    ids = gathered.ids()
    captions, weights = gathered.scores.get("captions"), gathered.scores.get("weights")
    for aim in question.aims:
        if captions is not None and (unknown := ids - captions.keys()):
            captions |= captions_similarities(
                session,
                aim.captions,
                text_encoder=question.text_encoder,
                adapter_ids=unknown,
                filters=aim.filters,
            )
        known = aim.encoder is not None and aim.weights is not None
        if known and weights is not None and (unknown := ids - weights.keys()):
            assert aim.encoder is not None
            assert aim.weights is not None
            weights |= weights_similarities(
                session,
                aim.weights,
                encoder=aim.encoder,
                adapter_ids=unknown,
                filters=aim.filters,
            )


def load_facts(session: Session, adapter_ids: Collection[int]) -> dict[int, Facts]:
    """Return what ranking and folding ask of adapters, those that are ready."""
    prepare(session)
    statement = """
        SELECT adapter_id, listings.base_model, downloads, sha256, body_sha256, log_norm
        FROM listings JOIN files ON files.sha256 = listings.file_sha256
        WHERE adapter_id = ANY (%(ids)s)
    """
    return {
        row.adapter_id: Facts(
            row.base_model,
            row.downloads,
            contents_of(row.sha256, row.body_sha256, row.log_norm),
        )
        for row in rows(session, statement, {"ids": list(adapter_ids)})
    }
