"""Adapters by what people wrote about them: whole words, words with typos, exact names."""

import re
from collections.abc import Collection

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Float,
    TableValuedAlias,
    Text,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.orm import Session

from registry.db.models import Adapter, File, Listing
from registry.retrieval.filters import Filters, conditions
from registry.retrieval.ranking import Match
from registry.text.word_segmentation import IS_HAN, QueryWord, query_words, segment

# How much a word counts that stands in tags, author or description, against 1 for one
# in the name or the trigger words.
ELSEWHERE = 0.6
# What a word counts that only resembles one: less than any whole word.
TYPO = 0.5
# pg_trgm's similarity from which a word is a typo of another: one wrong letter in a word
# of six leaves 0.5 (`watercolr` is 0.64 like `watercolor`). Shorter words have too few
# trigrams for it.
TYPO_SIMILARITY = 0.5
# A word that e^COMMON adapters have counts half as much as one that a single adapter has.
COMMON = 10.0
SHORTEST_TYPO = 4
# Civitai's AutoV2 is the first 10 digits of a file's sha256, AutoV3 the first 12 of its body's.
HASH = re.compile(r"[0-9a-f]{10,64}")
# What is not the stem of a path, for PostgreSQL: its folders and its suffix.
STEM_ENDS = r"^.*/|\.[^./]*$"


def matching_adapters(
    session: Session, words_asked: str, *, filters: Filters, limit: int
) -> list[Match]:
    """Return up to `limit` adapters that have any of the words, best first.

    The score is the share of the question that an adapter answers, 0..1: words count
    the more, the fewer adapters have them, and less outside of names and for typos.
    """
    words = query_words(words_asked)
    if not words:
        return []
    # The operator <<% can use the trigram index; the function of the same meaning cannot.
    session.execute(
        text("SELECT set_config('pg_trgm.strict_word_similarity_threshold', :least, true)"),
        {"least": str(TYPO_SIMILARITY)},
    )
    asked = _asked(words)
    whole = _whole_words(asked, filters)
    similarity = func.strict_word_similarity(asked.c.word, Adapter.words)
    resembling = (
        select(Adapter.id, asked.c.word, (TYPO * similarity).label("closeness"))
        .join(asked, asked.c.word.bool_op("<<%")(Adapter.words))
        .join(Listing, Listing.adapter_id == Adapter.id)
        # A word that somebody uses is no typo; besides, this is the slow part.
        .where(asked.c.fuzzy, asked.c.word.not_in(select(whole.c.word)), *conditions(filters))
    )
    found = union_all(select(whole), resembling).cte("found")
    rarity = (
        select(found.c.word, (1.0 / (1.0 + func.ln(func.count()) / COMMON)).label("rarity"))
        .group_by(found.c.word)
        .cte("rarity")
    )
    everything = (
        select(func.sum(asked.c.weight * func.coalesce(rarity.c.rarity, 1.0)))
        .select_from(asked.outerjoin(rarity, rarity.c.word == asked.c.word))
        .scalar_subquery()
    )
    score = func.sum(found.c.closeness * asked.c.weight * rarity.c.rarity) / everything
    rows = session.execute(
        select(found.c.id, score.label("score"))
        .join(asked, asked.c.word == found.c.word)
        .join(rarity, rarity.c.word == found.c.word)
        .group_by(found.c.id)
        .order_by(score.desc(), found.c.id)
        .limit(limit)
    )
    return [Match(row.id, min(1.0, float(row.score))) for row in rows]


def _asked(words: list[QueryWord]) -> TableValuedAlias:
    fuzzy = [len(word.text) >= SHORTEST_TYPO and not IS_HAN.match(word.text) for word in words]
    return (
        func.unnest(
            literal([word.text for word in words], ARRAY(Text)),
            literal([word.weight for word in words], ARRAY(Float)),
            literal(fuzzy, ARRAY(Boolean)),
        )
        .table_valued("word", "weight", "fuzzy")
        .render_derived(name="asked")
    )


def _whole_words(asked: TableValuedAlias, filters: Filters) -> CTE:
    """Adapters that have a word as it was asked for, the closer where it is in their name."""
    query = func.plainto_tsquery("simple", asked.c.word)
    names = func.lower(Adapter.name + " " + func.array_to_string(Adapter.trigger_words, " "))
    in_name = func.strpos(names, asked.c.word) > 0
    return (
        select(
            Adapter.id,
            asked.c.word,
            case((in_name, 1.0), else_=ELSEWHERE).label("closeness"),
        )
        .join(asked, Adapter.words_vector.bool_op("@@")(query))
        .join(Listing, Listing.adapter_id == Adapter.id)
        .where(*conditions(filters))
        .cte("whole")
    )


def exact_adapters(session: Session, asked: str, *, filters: Filters, limit: int) -> list[int]:
    """Return adapters of which `asked` is a trigger word, the name, the file's or its hash."""
    wanted = asked.strip().lower().removesuffix(".safetensors")
    ids: list[int] = []
    if HASH.fullmatch(wanted):
        # A range, because LIKE would not use an index under most collations.
        by_body = select(File.sha256).where(
            File.body_sha256 >= wanted, File.body_sha256 < wanted + "g"
        )
        by_hash = (Adapter.file_sha256 >= wanted) & (Adapter.file_sha256 < wanted + "g")
        ids = _ids(session, filters, limit, by_hash | Adapter.file_sha256.in_(by_body))
    words = segment(wanted)
    if ids or not words:
        return ids
    trigger_words = func.string_to_array(
        func.lower(func.array_to_string(Adapter.trigger_words, "\n")), "\n"
    )
    stem = func.regexp_replace(Adapter.file_name, STEM_ENDS, "", "g")
    is_named = or_(
        func.lower(Adapter.name) == wanted,
        func.lower(stem) == wanted,
        trigger_words.bool_op("@>")(literal([wanted], ARRAY(Text))),
    )
    # Whoever bears the name has its words; this finds them by the index.
    has_words = Adapter.words_vector.bool_op("@@")(func.plainto_tsquery("simple", words))
    return _ids(session, filters, limit, and_(has_words, is_named))


def literal_adapters(
    session: Session,
    asked: str,
    *,
    filters: Filters,
    after: int,
    without: Collection[int],
    limit: int,
) -> list[int]:
    """Return up to `limit` adapters, by id, that have every word of the question.

    Those `after` an id, and not `without` those that are known already.
    """
    words = [word.text for word in query_words(asked)]
    if not words:
        return []
    return list(
        session.scalars(
            select(Adapter.id)
            .join(Listing, Listing.adapter_id == Adapter.id)
            .where(
                Adapter.words_vector.bool_op("@@")(func.plainto_tsquery("simple", " ".join(words))),
                Adapter.id > after,
                Adapter.id.not_in(without),
                *conditions(filters),
            )
            .order_by(Adapter.id)
            .limit(limit)
        )
    )


def _ids(
    session: Session, filters: Filters, limit: int, condition: ColumnElement[bool]
) -> list[int]:
    return list(
        session.scalars(
            select(Adapter.id)
            .join(Listing, Listing.adapter_id == Adapter.id)
            .where(condition, *conditions(filters))
            .order_by(Adapter.id)
            .limit(limit)
        )
    )
