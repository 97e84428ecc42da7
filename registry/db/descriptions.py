"""What is said of adapters: their listing's own words, embedded.

Folders and most repositories bring names, tags and trigger words and no prompt, and most of a
prompt is what somebody drew with an adapter, not what it does. Compared as texts the words of a
listing are found in other words and in another language. Where captions and weights are known,
these say more of what an adapter does than what it is called.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Text, delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.db.adapters import label
from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.models import Adapter, Caption, Cover, DescriptionEmbedding

# Some have lists of prompts for trigger words, and pages for a description: characters of each.
MOST_EACH = 300


class PendingDescription(NamedTuple):
    adapter_id: int
    text: str
    text_md5: str
    adapter: str


def _part(words: ColumnElement[str] | InstrumentedAttribute[str]) -> ColumnElement[str]:
    return func.nullif(func.left(words, MOST_EACH), "", type_=Text)


# Of orders and choices tried this one finds most by one vector (docs/benchmarks/search.md).
TEXT: ColumnElement[str] = func.concat_ws(
    ". ",
    _part(Adapter.name),
    _part(func.array_to_string(Adapter.trigger_words, ", ", type_=Text)),
    _part(func.array_to_string(Adapter.tags, ", ", type_=Text)),
    _part(Adapter.description),
    type_=Text,
)
MD5: ColumnElement[str] = func.md5(TEXT, type_=Text)
# A name such as x, v1 or my_lora says nothing, and lies near whatever else nobody knows: x is .58
# like "hongxin", and as near to "fox" as cat is.
_SAID_OF_ALL = r"(?<![a-zA-Z])(my|loras?)(?![a-zA-Z])"
_SAYS_SOMETHING: ColumnElement[bool] = func.regexp_replace(
    TEXT, _SAID_OF_ALL, "", "gi", type_=Text
).regexp_match(r"[a-zA-Z]{3}|[^\x01-\x7f]")
# Captions and an active encoder tell more.
_IS_NEEDLESS = exists().where(
    Cover.adapter_id == Adapter.id, Caption.cover_id == Cover.id, Caption.superseded.is_(False)
) & exists().where(
    WeightEmbedding.file_sha256 == Adapter.file_sha256,
    WeightEmbedding.encoder_id == Encoder.id,
    Encoder.active,
)


def _to_describe(text_encoder: str) -> ColumnElement[bool]:
    is_there = exists().where(
        DescriptionEmbedding.adapter_id == Adapter.id,
        DescriptionEmbedding.text_encoder == text_encoder,
        DescriptionEmbedding.text_md5 == MD5,
    )
    return (Adapter.state == "ready") & ~_IS_NEEDLESS & ~is_there & _SAYS_SOMETHING


def count_to_describe(session: Session, text_encoder: str) -> int:
    """Return how many ready adapters lack an embedding of what is said of them."""
    query = select(func.count(Adapter.id)).where(_to_describe(text_encoder))
    return session.scalar(query) or 0


def keys_to_describe(session: Session, text_encoder: str, after: int, limit: int) -> list[int]:
    query = select(Adapter.id).where(_to_describe(text_encoder), Adapter.id > after)
    return list(session.scalars(query.order_by(Adapter.id).limit(limit)))


def list_to_describe(
    session: Session, text_encoder: str, adapter_ids: Collection[int]
) -> list[PendingDescription]:
    rows = session.execute(
        select(Adapter.id, Adapter.repo, Adapter.version, TEXT.label("text"), MD5.label("md5"))
        .where(_to_describe(text_encoder), Adapter.id.in_(adapter_ids))
        .order_by(Adapter.id)
    )
    return [
        PendingDescription(row.id, row.text, row.md5, label(row.repo, row.version)) for row in rows
    ]


def store_descriptions(
    session: Session,
    text_encoder: str,
    described: Sequence[PendingDescription],
    embeddings: Sequence[Sequence[float]],
) -> None:
    """Store the embeddings of what is said of adapters, in place of those of what was said."""
    # An adapter that is removed meanwhile is waited for, and left out.
    there = set(
        session.scalars(
            select(Adapter.id)
            .where(Adapter.id.in_([one.adapter_id for one in described]))
            .with_for_update(read=True, key_share=True)
        )
    )
    rows: list[Mapping[str, object]] = [
        {
            "adapter_id": one.adapter_id,
            "text_encoder": text_encoder,
            "text_md5": one.text_md5,
            "embedding": embedding,
        }
        for one, embedding in zip(described, embeddings, strict=True)
        if one.adapter_id in there
    ]
    if rows:
        query = insert(DescriptionEmbedding)
        fresh = {name: query.excluded[name] for name in ("text_md5", "embedding")}
        key = ("adapter_id", "text_encoder")
        session.execute(query.on_conflict_do_update(index_elements=key, set_=fresh), rows)


def forget_needless(session: Session) -> None:
    """Delete the embeddings of adapters of which captions and weights tell by now, or nothing."""
    is_needless = _IS_NEEDLESS | ~_SAYS_SOMETHING
    needless = exists().where(Adapter.id == DescriptionEmbedding.adapter_id, is_needless)
    session.execute(delete(DescriptionEmbedding).where(needless))
