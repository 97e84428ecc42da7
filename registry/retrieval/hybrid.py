"""A question -> adapters: every signal asked, their answers merged."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.measures import timed
from registry.retrieval.corrections import corrections, put_right
from registry.retrieval.duplicates import content_of
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.filters import Filters
from registry.retrieval.fitness import ELSEWHERE, LITERAL, PERHAPS
from registry.retrieval.heard_texts import embed_heard
from registry.retrieval.knowledge import ByCaptions, ByWeights, Knowledge, know
from registry.retrieval.pointed import find_pointed
from registry.retrieval.ranking import (
    Facts,
    Match,
    Scale,
    SearchHit,
    best_of_each,
    fold,
    less,
    rank,
)
from registry.retrieval.statements import Answer, together
from registry.retrieval.strangers import Strangers, strangers_of
from registry.retrieval.terms import SIMILARITIES, Signal
from registry.retrieval.vector import (
    ask_captions,
    ask_descriptions,
    ask_weights,
    worth_offering,
)
from registry.retrieval.without import that_say_so
from registry.retrieval.word_marks import is_one_ordinary_word
from registry.retrieval.words import (
    Wording,
    ask_exact,
    ask_words,
    score_words,
    without_ending,
)
from registry.text.labels import without_labels
from registry.text.question_parts import parts_of
from registry.text.request_frames import what_is_asked
from registry.text.unwanted import read_wish
from registry.text.word_segmentation import IS_HAN

# How many adapters every signal offers to the merge.
DEPTH = 50
# A pasted prompt calls for a few adapters by name; each is a question of its own.
MOST_CALLED = 10


@dataclass(frozen=True, slots=True)
class SearchQuery:
    text: str
    filters: Filters
    limit: int = 10
    # Fewer than all three to measure one alone.
    signals: Sequence[Signal] = ("weights", "captions", "words")
    # Names that were asked for beside what `text` says; none where it may be one itself.
    called: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A query, encoded, and what gives who uses its words and who is asked for exactly."""

    query: SearchQuery
    text: str  # what is wanted, beside addresses, hashes and names of files that are here
    embedding: npt.NDArray[np.float32]  # (dim,)
    parts: Sequence[str]  # what it says of what is wanted and of how, part by part
    wording: Wording | None  # None where words are not asked
    exact: Answer[Sequence[int]]
    unwanted: Sequence["Question"] = ()  # what results should not be, each asked by itself
    corrected: Mapping[str, str] = field(default_factory=dict)  # misspelt words, and what was meant


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as it is put to one space."""

    space: Space
    filters: Filters
    aimed: npt.NDArray[np.float32]  # (dim,)
    projected: npt.NDArray[np.float32] | None  # (dim,), None where no encoder knows the space


@dataclass(frozen=True, slots=True)
class _Offers:
    """What each signal offers, all that it scored, and adapters that were asked for exactly.

    `said` are similarities of what is said of adapters; in `lists` it is among captions.
    """

    lists: dict[Signal, list[Match]]
    scores: dict[Signal, dict[int, float]]
    said: dict[int, float]
    exact: Sequence[int]


def search(
    session: Session,
    query: SearchQuery,
    text_encoder: TextEncoder,
    spaces: Sequence[Space],
) -> list[SearchHit]:
    """Return up to `query.limit` adapters, best first, with every signal's score."""
    question = read(session, query, text_encoder)
    return rank_all(session, question, text_encoder, spaces)[: query.limit]


def read(session: Session, query: SearchQuery, text_encoder: TextEncoder) -> Question:
    """Ask what a query's words and names tell, once those that are misspelt are put right."""
    return correct(session, put(session, query, text_encoder), text_encoder)


def correct(session: Session, question: Question, text_encoder: TextEncoder) -> Question:
    """Return a question as it was meant where it has misspelt words; else as it is."""
    unwanted = [correct(session, one, text_encoder) for one in question.unwanted]
    corrected = {typed: meant for one in unwanted for typed, meant in one.corrected.items()}
    if (
        question.wording is not None
        and not question.exact()
        and (alike := question.wording.alike())
    ):
        own = corrections(session, question.text, alike, text_encoder)
        if own:
            right = replace(question.query, text=put_right(question.text, own), called=())
            told = put(session, right, text_encoder)
            question = replace(told, query=question.query)
            corrected = own | corrected
    return replace(question, unwanted=unwanted, corrected=corrected) if corrected else question


def put(session: Session, query: SearchQuery, text_encoder: TextEncoder) -> Question:
    """Ask what a query's words and names tell, and encode it meanwhile."""
    asks_words = "words" in query.signals
    named, text = _ask_named(session, query) if asks_words else ([], query.text)
    wish = read_wish(what_is_asked(text))
    wording = None
    if asks_words:
        wording = ask_words(session, without_ending(wish.wanted), filters=query.filters)
        # Beside what is asked for exactly, words say what it is like, and are no name.
        named = named or _ask_as_name(session, without_ending(text), query)
    with timed("encode"):
        embedding = text_encoder.encode([wish.wanted])[0]
    unwanted = [
        put(session, replace(query, text=text, called=()), text_encoder) for text in wish.unwanted
    ]
    parts, exact = parts_of(wish.wanted), cache(partial(_each_once, named))
    return Question(query, wish.wanted, embedding, parts, wording, exact, unwanted)


def _ask_named(session: Session, query: SearchQuery) -> tuple[list[Answer[Sequence[int]]], str]:
    """Ask for what a question calls for or points to; return also what else it says."""
    anywhere = _anywhere(query)
    asked = [
        _ask_called(session, name, anywhere, query.limit) for name in query.called[:MOST_CALLED]
    ]
    pointed = find_pointed(session, query.text, filters=anywhere)
    if pointed is None:
        return asked, query.text
    return [*asked, lambda: pointed.ids], pointed.rest


def _ask_as_name(session: Session, text: str, query: SearchQuery) -> list[Answer[Sequence[int]]]:
    return [
        ask_exact(session, name, filters=_anywhere(query), limit=query.limit)
        for name in dict.fromkeys((text, without_labels(text)))
    ]


def _anywhere(query: SearchQuery) -> Filters:
    """Return a query's filters, but for the base model: what has its name may be for another."""
    return replace(query.filters, base_models=(), families=())


def _ask_called(session: Session, name: str, filters: Filters, limit: int) -> Answer[Sequence[int]]:
    """Ask for adapters that a prompt calls for: exports end their names with a hash."""
    pointed = find_pointed(session, name, filters=filters)
    if pointed is not None:
        return lambda: pointed.ids
    return ask_exact(session, name, filters=filters, limit=limit)


def rank_all(
    session: Session,
    question: Question,
    text_encoder: TextEncoder,
    spaces: Sequence[Space],
    *,
    known: Collection[int] = (),
    literal: Collection[int] = (),
) -> list[SearchHit]:
    """Return all that any signal offers, best first, copies of the same tensors folded.

    `spaces` part the adapters that the query's filters let through. Where one has no encoder the
    weights take no part, and captions are compared plainly. `known` adapters are ranked too,
    whichever signal finds them, and `literal` ones, which have every word. An adapter of another
    base model comes first all the same if it is asked for exactly. What the question does not want
    is asked by itself, and makes what it finds less probable. The session needs to be in no
    particular transaction: settings are local to it.
    """
    heard = _heard(question, text_encoder, spaces)
    asked = [_aim(space, question, heard) for space in spaces]
    offers = _offers(session, question, asked, text_encoder, known)
    scores = offers.scores
    if all(space.encoder is None for space in spaces):
        scores.pop("weights", None)
    if literal:
        scores["words"] = dict.fromkeys(literal, ELSEWHERE) | scores["words"]
    ids = {id_ for own in (*scores.values(), offers.said) for id_ in own}
    ids.update(offers.exact, known)
    with timed("facts"):
        rows = list(_known(session, ids, asked, scores, text_encoder))
    with timed("merge"):
        hits = _merge(offers, rows, asked, strangers_of(text_encoder), question.text)
    for unwanted in question.unwanted:
        every = [hit.adapter_id for hit in hits]
        found = rank_all(session, unwanted, text_encoder, spaces, known=every)
        hits = less(hits, _doubts(session, unwanted.text, found))
    return hits


def _doubts(session: Session, thing: str, found: Sequence[SearchHit]) -> dict[int, float]:
    """Return how probably adapters are a thing, but for those that say to be without it."""
    doubts = {id_: hit.score for hit in found for id_ in (hit.adapter_id, *hit.also)}
    doubtful = [id_ for id_, doubt in doubts.items() if doubt >= PERHAPS]
    return {id_: doubts[id_] for id_ in {*doubtful} - that_say_so(session, thing, doubtful)}


def _merge(
    offers: _Offers,
    rows: Sequence[Sequence[Knowledge]],
    asked: Sequence[_Asked],
    strangers: Strangers,
    text: str,
) -> list[SearchHit]:
    """Rank all that was offered, by what is known of it: `rows` of every space that was `asked`.

    `text` is what the question wants.
    """
    found: dict[int, Knowledge] = {}
    scales: dict[int, Scale] = {}
    for one, own in zip(asked, rows, strict=True):
        found |= {row.adapter_id: row for row in own}
        scale = one.space.scale(one.aimed, strangers)
        scales |= dict.fromkeys((row.adapter_id for row in own), scale)
    facts = _facts(found, offers, asked, text)
    positions = {signal: _places(own) for signal, own in offers.lists.items()}
    hits = rank(_completed(offers.scores, found.values()), scales, facts, positions)
    return fold(hits, {id_: content_of(row) for id_, row in found.items()})


def _facts(
    found: Mapping[int, Knowledge], offers: _Offers, asked: Sequence[_Asked], text: str
) -> dict[int, Facts]:
    """Return what ranking is to know of what was `found`, which a question for `text` offered."""
    in_han = bool(IS_HAN.search(text))
    within = {name for one in asked for name in one.space.base_models}
    authored = _by_author(text, found, offers.scores.get("words", {}))
    exact = {*offers.exact}
    return {
        id_: Facts(
            base_model=row.base_model,
            downloads=row.downloads,
            said=row.said,
            exact=id_ in exact,
            elsewhere=bool(within) and row.base_model not in within,
            unheard=not row.in_han if in_han else row.in_han and not row.in_latin,
            authored=id_ in authored,
        )
        for id_, row in found.items()
    }


def _by_author(text: str, facts: Mapping[int, Knowledge], words: Mapping[int, float]) -> set[int]:
    """Return the adapters of the author whose name a question is, as it is written.

    One who is called by an ordinary word is not meant where others have the word, too.
    """
    author = text.strip().lower()
    found = {id_ for id_, row in facts.items() if author and row.author == author}
    if not found or not is_one_ordinary_word(text):
        return found
    literal = {id_ for id_, score in words.items() if score >= LITERAL}
    return found if literal and literal <= found else set()


def _completed(
    scores: Mapping[Signal, dict[int, float]], facts: Collection[Knowledge]
) -> dict[Signal, dict[int, float]]:
    """Return each signal's scores with those that it has for what only others found."""
    completed = dict(scores)
    for signal in SIMILARITIES:
        if signal in scores:
            asked = ((row.adapter_id, getattr(row, signal)) for row in facts)
            told = {id_: score for id_, score in asked if score is not None}
            completed[signal] = scores[signal] | told
    return completed


def _heard(
    question: Question, text_encoder: TextEncoder, spaces: Sequence[Space]
) -> npt.NDArray[np.float32]:
    """Return what an encoder hears of a question, the whole and its parts: (n, dim)."""
    if all(space.encoder is None for space in spaces):
        return question.embedding[None]
    return embed_heard(question.text, question.embedding, question.parts, text_encoder)


def _aim(space: Space, question: Question, heard: npt.NDArray[np.float32]) -> _Asked:
    """Aim a question at one space; `heard` (n, dim) is what its encoder hears of it."""
    projected = None if space.encoder is None else space.encoder.loaded.encode_question(heard)
    narrowed = space.narrow(question.query.filters)
    return _Asked(space, narrowed, space.aim(question.embedding), projected)


def _offers(
    session: Session,
    question: Question,
    asked: Sequence[_Asked],
    text_encoder: TextEncoder,
    known: Collection[int],
) -> _Offers:
    """Ask every signal; words are also asked of `known` adapters, and of what the others offer."""
    query = question.query
    depth = max(DEPTH, query.limit)
    lists: dict[Signal, list[Match]] = {signal: [] for signal in query.signals}
    said: list[Match] = []
    with timed("nearest"):
        with together(session):
            nearest = [
                n for one in asked for n in _nearest(session, one, query, text_encoder, depth)
            ]
        for signal, offer in nearest:
            (said if signal == "said" else lists[signal]).extend(offer())
    scored = dict(lists)
    if said:
        lists["captions"] = best_of_each([*lists["captions"], *said])
    if question.wording is not None:
        also = {match.adapter_id for own in lists.values() for match in own}.union(known)
        with timed("words"):
            scored["words"] = score_words(session, question.wording, limit=depth, also=also)
        lists["words"] = scored["words"][:depth]
    scores = {signal: {m.adapter_id: m.score for m in own} for signal, own in scored.items()}
    return _Offers(lists, scores, {m.adapter_id: m.score for m in said}, question.exact())


def _nearest(
    session: Session,
    asked: _Asked,
    query: SearchQuery,
    text_encoder: TextEncoder,
    depth: int,
) -> Iterator[tuple[Signal | Literal["said"], Answer[list[Match]]]]:
    """Ask the similarities of one space; yield what gives the offer of each."""
    encoder, filters = asked.space.encoder, asked.filters
    depth = max(query.limit, worth_offering(session, filters, depth))
    if "weights" in query.signals and encoder is not None and asked.projected is not None:
        yield (
            "weights",
            ask_weights(
                session, asked.projected, encoder=encoder.name, filters=filters, limit=depth
            ),
        )
    if "captions" in query.signals:
        name = text_encoder.name
        yield (
            "captions",
            ask_captions(session, asked.aimed, text_encoder=name, filters=filters, limit=depth),
        )
        yield (
            "said",
            ask_descriptions(session, asked.aimed, text_encoder=name, filters=filters, limit=depth),
        )


def _known(
    session: Session,
    ids: Collection[int],
    asked: Sequence[_Asked],
    scores: Mapping[Signal, Mapping[int, float]],
    text_encoder: TextEncoder,
) -> Iterator[Sequence[Knowledge]]:
    """Yield for every space what is known of its adapters: what one signal found, others score too.

    One that was asked for exactly may belong to none: it is compared as in the first.
    """
    elsewhere = [name for one in asked[1:] for name in one.space.base_models]
    for one in asked:
        encoder = one.space.encoder
        by_weights = by_captions = None
        if "weights" in scores and encoder is not None and one.projected is not None:
            by_weights = ByWeights(encoder.name, one.projected, scores["weights"].keys())
        if "captions" in scores:
            by_captions = ByCaptions(text_encoder.name, one.aimed, scores["captions"].keys())
        yield know(
            session,
            ids,
            by_weights,
            by_captions,
            base_models=None if one is asked[0] else one.space.base_models,
            but=elsewhere,
        )


def _each_once(asked: Sequence[Answer[Sequence[int]]]) -> list[int]:
    return list(dict.fromkeys(id_ for answer in asked for id_ in answer()))


def _places(matches: Sequence[Match]) -> dict[int, int]:
    """Return at which place each adapter stands in one signal's list."""
    order = sorted(matches, key=lambda match: (-match.score, match.adapter_id))
    return {match.adapter_id: place for place, match in enumerate(order, start=1)}
