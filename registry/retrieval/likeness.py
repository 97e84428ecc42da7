"""More like these, less like those: adapters and texts added and subtracted.

As Rocchio did [1], in every space that has vectors: the mean of what results should be like, less
a share of the mean of what they should be unlike. Spaces are the active encoders', where texts and
weights meet; that of captions, which all base models share, so that an adapter of one leads to
those of another; and where what is given is in neither, that of fingerprints.

- [1] Rocchio, 1971, "Relevance feedback in information retrieval"
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.db.models import Adapter
from registry.errors import AdapterNotFoundError
from registry.retrieval.duplicates import contents, find_duplicates
from registry.retrieval.filters import Filters
from registry.retrieval.fitness import SAID_NONSENSE
from registry.retrieval.given_values import Likes
from registry.retrieval.ranking import Match, SearchHit, fold
from registry.retrieval.selection import NEAR_COPY
from registry.retrieval.spaces import (
    CaptionSpace,
    FingerprintSpace,
    Space,
    Vector,
    WeightSpace,
    mean_direction,
    unit,
)
from registry.retrieval.strangers import strangers_of
from registry.retrieval.terms import Compared, Signal
from registry.retrieval.words import matching_adapters

# How much of the mean of what is not wanted is taken away, against 1 of what is wanted: measured
# on the demo (docs/search.md). With much more, nothing of the question is left.
LESS = 0.5
# Adapters that each space offers.
DEPTH = 100
# How many hits are looked at for each one wanted, to fold those that hold the same tensors.
FOLDING = 5
# Near copies of one adapter that are looked for.
MOST_COPIES = 20
# How much captions count beside weights, and a literal match of the whole text, in deviations.
# Captions say what a cover shows, which for most adapters of a style is not the style.
CAPTIONS = 0.25
WORDS = 1.5
# How many of the adapters that stand so many deviations above others have in common what those
# given have: half at HALF, by a logistic curve of this slope, fitted to the demo.
HALF, SLOPE = 3.2, 2.0


@dataclass(frozen=True, slots=True)
class Alike:
    """Adapters that are like what was asked for, and by what they were compared.

    `unknown` are adapters that were given and that nothing is known of to compare.
    """

    hits: list[SearchHit]
    compared_by: tuple[Compared, ...]
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Spaces:
    """Where adapters are compared: by each active encoder, and by captions."""

    weights: Sequence[WeightSpace]
    captions: CaptionSpace


@dataclass(frozen=True, slots=True)
class _Asked:
    """A space, with the direction (dim,) that is asked for there."""

    space: Space
    direction: Vector


def search_alike(
    session: Session, text: str, likes: Likes, filters: Filters, limit: int, spaces: Spaces
) -> Alike:
    """Return up to `limit` adapters, most like what is wanted first.

    What is given is not among them, nor copies of it, nor near copies of what is not wanted.

    Raises:
        LikenessError: this cannot be asked.
        AdapterNotFoundError: one of the adapters is not there.
    """
    likes.check(text)
    _check_ids(session, likes.ids)
    asked, known = _directions(session, text, likes, spaces)
    if not asked:
        asked, known = _by_fingerprints(session, likes)
    depth = DEPTH + limit
    near = [
        match
        for one in asked
        for match in one.space.nearest(session, one.direction, filters, depth)
    ]
    words = matching_adapters(session, text, filters=filters, limit=depth) if text else []
    out = _left_out(session, likes, spaces.weights)
    hits = _rank(session, asked, {match.adapter_id for match in (*near, *words)} - out, words)
    # Copies of an adapter stand near each other.
    head = hits[: limit * FOLDING]
    hits = fold(head, contents(session, [hit.adapter_id for hit in head]))
    compared = [_name_of(one.space) for one in asked]
    unknown = tuple(sorted(set(likes.ids) - known))
    return Alike(hits[:limit], tuple(dict.fromkeys(compared)), unknown)


def _check_ids(session: Session, ids: Collection[int]) -> None:
    there = set(session.scalars(select(Adapter.id).where(Adapter.id.in_(ids))))
    for id_ in ids:
        if id_ not in there:
            raise AdapterNotFoundError(id_)


def _directions(
    session: Session, text: str, likes: Likes, spaces: Spaces
) -> tuple[list[_Asked], set[int]]:
    """Return where to look in each space, and which of the adapters given are known there."""
    captions = spaces.captions
    embedded = _texts(text, likes, captions.text_encoder)
    described = captions.vectors(session, likes.ids)
    known = set(described)
    asked = []
    every: list[Space] = [*spaces.weights, captions]
    for space in every:
        own = dict(space.vectors(session, likes.ids))
        known |= own.keys()
        # What an encoder has not seen, as of another base model, is asked for as its captions say.
        for id_ in described.keys() - own.keys():
            own[id_] = space.of_texts(described[id_][None])[0]
        texts = {said: space.of_texts(embedding)[0] for said, embedding in embedded.items()}
        like = [own[id_] for id_ in likes.like if id_ in own]
        unlike = [own[id_] for id_ in likes.unlike if id_ in own]
        direction = direction_of(
            [*like, *(texts[said] for said in (text,) if said in texts)],
            [*unlike, *(texts[said] for said in (likes.unlike_text,) if said in texts)],
        )
        if direction is not None:
            asked.append(_Asked(space, direction))
    return asked, known


def _texts(text: str, likes: Likes, text_encoder: TextEncoder) -> dict[str, Vector]:
    """Return the embeddings (1, dim) of the texts that are added and taken away.

    What is near gibberish is near nothing else: beside adapters it would only make what they have
    in common stand out less from strangers, by which scores are told. It is asked for where it is
    all that results should be like, and as a word it counts always.
    """
    embedded = {said: text_encoder.encode([said]) for said in (text, likes.unlike_text) if said}
    if not likes.like:
        return embedded
    strangers = strangers_of(text_encoder) if embedded else None
    return {
        said: embedding
        for said, embedding in embedded.items()
        if strangers and strangers.gibberish_of(embedding[0]) <= SAID_NONSENSE
    }


def direction_of(like: Sequence[Vector], unlike: Sequence[Vector]) -> Vector | None:
    """Return where to look (dim,), by vectors (dim,) each; None where nothing wanted is known."""
    if not like:
        return None
    wanted = mean_direction(like)
    return unit(wanted - np.float32(LESS) * mean_direction(unlike)) if unlike else wanted


def _by_fingerprints(session: Session, likes: Likes) -> tuple[list[_Asked], set[int]]:
    space = FingerprintSpace()
    own = space.vectors(session, likes.ids)
    direction = direction_of(
        [own[id_] for id_ in likes.like if id_ in own],
        [own[id_] for id_ in likes.unlike if id_ in own],
    )
    return ([] if direction is None else [_Asked(space, direction)]), set(own)


def _left_out(session: Session, likes: Likes, weights: Sequence[WeightSpace]) -> set[int]:
    """Return what is no answer: what was given, that again, and near copies of what is unlike."""
    out = set(likes.ids)
    for id_ in likes.ids:
        out |= {
            copy.adapter_id
            for copy in find_duplicates(session, id_)
            if copy.kind != "near" or id_ in likes.unlike
        }
    for space in weights:
        for vector in space.vectors(session, likes.unlike).values():
            near = space.nearest(session, vector, Filters(), MOST_COPIES)
            out |= {match.adapter_id for match in near if match.score >= NEAR_COPY}
    return out


def _rank(
    session: Session, asked: Sequence[_Asked], ids: Collection[int], words: Sequence[Match]
) -> list[SearchHit]:
    """Order adapters by how far above others they stand, over the spaces that know them."""
    similarities: dict[Signal, dict[int, float]] = {}
    total = dict.fromkeys(ids, 0.0)
    weight = dict.fromkeys(ids, 0.0)
    for one in asked:
        own = one.space.similarities(session, one.direction, ids)
        mean, deviation = one.space.usual(session, one.direction)
        share = CAPTIONS if one.space.signal == "captions" else 1.0
        for id_, similarity in own.items():
            total[id_] += share * (similarity - mean) / deviation
            weight[id_] += share
        similarities.setdefault(one.space.signal, {}).update(own)
    similarities["words"] = {match.adapter_id: match.score for match in words}
    strength = {
        id_: (total[id_] / weight[id_] if weight[id_] else 0.0)
        + WORDS * similarities["words"].get(id_, 0.0)
        for id_ in ids
    }
    return [
        SearchHit(
            id_,
            score=1 / (1 + math.exp(-SLOPE * (strength[id_] - HALF))),
            signals={signal: own.get(id_) for signal, own in similarities.items()},
        )
        for id_ in sorted(ids, key=lambda id_: (-strength[id_], id_))
    ]


def _name_of(space: Space) -> Compared:
    if isinstance(space, FingerprintSpace):
        return "fingerprints"
    return "captions" if isinstance(space, CaptionSpace) else "weights"
