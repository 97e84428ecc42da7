"""What ranking has to know of adapters that some signal found: facts, and what others say of them.

One statement for each space tells all of it, so that what was found costs one round trip.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from encoder.chinese import HAN
from registry.retrieval.duplicates import CONTENTS
from registry.retrieval.statements import Embedding, bigints, prepare, rows, vector

# What tells the content of a file, as statements name it.
CONTENT = ", ".join(str(column.expression) for column in CONTENTS)
# What Chinese names have in Latin letters as well, and what nobody asks for.
GENERIC = "lora|loha|lokr|locon|lycoris|flux|sdxl|pony|illustrious|noobai|qwen|kontext|dreambooth"
# Of which scripts a listing's name has a word.
SCRIPTS = rf"""
    listings.name ~ '[{HAN}]' AS in_han,
    listings.name ~ '\m(?!{GENERIC})[a-z]{{3}}' AS in_latin
"""
# adapter_id, downloads, base_model, author, what tells its content (`duplicates.content_of`),
# SCRIPTS, and the similarities `weights`, `captions` and `said`, of what its listing says.
Knowledge = Any

WEIGHTS = """CASE WHEN listings.adapter_id <> ALL (%(weighed)s::bigint[]) THEN (
    SELECT 1 - (embedding <=> %(projected)s::halfvec) FROM weight_embeddings
    WHERE weight_embeddings.file_sha256 = listings.file_sha256
        AND encoder_id = (SELECT id FROM encoders WHERE name = %(encoder)s)
) END"""
CAPTIONS = """CASE WHEN listings.adapter_id <> ALL (%(described)s::bigint[]) THEN (
    SELECT max(1 - (embedding <=> %(aimed)s::halfvec))
    FROM covers
        JOIN captions ON captions.cover_id = covers.id
        JOIN caption_embeddings ON caption_embeddings.text_md5 = captions.text_md5
    WHERE covers.adapter_id = listings.adapter_id AND NOT captions.superseded
        AND caption_embeddings.text_encoder = %(text_encoder)s
) END"""
SAID = """(
    SELECT 1 - (embedding <=> %(aimed)s::halfvec) FROM description_embeddings
    WHERE description_embeddings.adapter_id = listings.adapter_id
        AND description_embeddings.text_encoder = %(text_encoder)s
)"""
NOTHING = "NULL::float"


@dataclass(frozen=True, slots=True)
class ByWeights:
    """A question in the space of an encoder, (dim,), and adapters whose score is known already."""

    encoder: str
    projected: Embedding
    weighed: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class ByCaptions:
    """A question as captions are compared with it, (dim,), and adapters whose score is known."""

    text_encoder: str
    aimed: Embedding
    described: Collection[int] = ()


def know(
    session: Session,
    adapter_ids: Collection[int],
    by_weights: ByWeights | None,
    by_captions: ByCaptions | None,
    *,
    base_models: Collection[str] | None = None,
    but: Collection[str] = (),
) -> Sequence[Knowledge]:
    """Return what is known of those of `adapter_ids` that are ready, with exact similarities.

    Only of `base_models`, where they are given, and of none that is in `but`. A similarity is None
    where an adapter has no such vector, where nothing was asked for it, and where it is known.
    """
    prepare(session)
    asked: dict[str, Any] = {"ids": bigints(adapter_ids), "but": list(but)}
    condition = "listings.base_model <> ALL (%(but)s::text[])"
    if base_models is not None:
        condition = "listings.base_model = ANY (%(base_models)s::text[])"
        asked["base_models"] = list(base_models)
    if by_weights is not None:
        asked |= {
            "encoder": by_weights.encoder,
            "projected": vector(by_weights.projected),
            "weighed": bigints(by_weights.weighed),
        }
    if by_captions is not None:
        asked |= {
            "text_encoder": by_captions.text_encoder,
            "aimed": vector(by_captions.aimed),
            "described": bigints(by_captions.described),
        }
    return rows(
        session,
        f"""
        SELECT listings.adapter_id, listings.downloads, listings.base_model, listings.author,
            {CONTENT}, {SCRIPTS},
            {WEIGHTS if by_weights else NOTHING} AS weights,
            {CAPTIONS if by_captions else NOTHING} AS captions,
            {SAID if by_captions else NOTHING} AS said
        FROM listings JOIN files ON files.sha256 = listings.file_sha256
        WHERE listings.adapter_id = ANY (%(ids)s::bigint[]) AND {condition}
        """,
        asked,
    )
