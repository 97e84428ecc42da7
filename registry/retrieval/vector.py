"""Adapters near an embedding: by what their weights do, by what their covers show or is said.

Answers are approximate, for HNSW may miss a true neighbour; where it finds fewer than asked
for, though, what there is is compared one by one; and so it is at once where filters leave so few
that this is quicker.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.models import Adapter, File, Listing
from registry.retrieval.filters import Filters, conditions
from registry.retrieval.knowledge import ByCaptions, ByWeights, know
from registry.retrieval.ranking import Match
from registry.retrieval.statements import (
    UNFILTERED,
    Answer,
    Embedding,
    ask,
    believed,
    filter_sql,
    prepare,
    rows,
    vector,
)

# An adapter has several covers with several captions, and only the best counts: so many
# captions are fetched for every adapter wanted, and this many times more where they are of few.
CAPTIONS_PER_ADAPTER = 1.5
DEEPER = 8
# Going on along the index to another row takes this many times as long as comparing a row that is
# known, as measured (docs/benchmarks/scale.md).
STEP = 2.5
# A search goes so far along the index, if that finds a page or two; deep lists under narrow
# filters would cost more than all else.
STEPS = 400
LEAST_OFFERED = 20
# Up to so many descriptions are counted; of more the index gives enough.
FEW = 1000

WEIGHTS = """
    FROM weight_embeddings
    JOIN listings ON listings.file_sha256 = weight_embeddings.file_sha256
    -- With its value known before, the plan stays one index scan.
    WHERE weight_embeddings.encoder_id = (SELECT id FROM encoders WHERE name = %(encoder)s)
"""
CAPTIONS = """
    FROM caption_embeddings
    JOIN captions ON captions.text_md5 = caption_embeddings.text_md5
    JOIN covers ON covers.id = captions.cover_id
    JOIN listings ON listings.adapter_id = covers.adapter_id
    WHERE NOT captions.superseded AND caption_embeddings.text_encoder = %(text_encoder)s
"""
DESCRIPTIONS = """
    FROM description_embeddings
    JOIN listings ON listings.adapter_id = description_embeddings.adapter_id
    WHERE description_embeddings.text_encoder = %(text_encoder)s
"""
DISTANCE = "embedding <=> %(vector)s::halfvec"


def nearest_by_weights(
    session: Session, embedding: Embedding, *, encoder: str, filters: Filters, limit: int
) -> list[Match]:
    """Return up to `limit` adapters whose weights, in `encoder`'s space, are most similar.

    `embedding` (dim,) lies in that space: a query goes through `encode_query` first.
    """
    return ask_weights(session, embedding, encoder=encoder, filters=filters, limit=limit)()


def ask_weights(
    session: Session, embedding: Embedding, *, encoder: str, filters: Filters, limit: int
) -> Answer[list[Match]]:
    """Send what `nearest_by_weights` asks, and return what gives its answer."""
    values = {"vector": vector(embedding), "encoder": encoder}
    return _ask_nearest(session, WEIGHTS, values, filters, limit)


def ask_descriptions(
    session: Session, embedding: Embedding, *, text_encoder: str, filters: Filters, limit: int
) -> Answer[list[Match]]:
    """Ask for up to `limit` adapters of which something like that is said.

    `embedding` (dim,) is a question as captions are compared with it.
    """
    values = {"vector": vector(embedding), "text_encoder": text_encoder}
    return _ask_nearest(session, DESCRIPTIONS, values, filters, limit, among=_described(session))


def _ask_nearest(
    session: Session,
    source: str,
    values: Mapping[str, Any],
    filters: Filters,
    limit: int,
    among: float = math.inf,
) -> Answer[list[Match]]:
    """Send a question to vectors of which an adapter has one; return what gives its answer.

    There are `among` of them, where that is known.
    """
    condition, asked = filter_sql(filters)
    anew = condition != UNFILTERED
    values = {**asked, **values}
    scored = f"SELECT listings.adapter_id, 1 - ({DISTANCE}) AS score {source} AND {condition}"
    # A number, for a plan that is kept to know that few rows are wanted.
    by_index = f"{scored} ORDER BY {DISTANCE} LIMIT {limit:d}"
    # No index has this expression. Hundreds of equal vectors, each other's only
    # neighbours, can hide the rest from a scan of the index; mostly there are no more.
    one_by_one = f"{scored} ORDER BY ({DISTANCE}) + 0 LIMIT {limit:d}"
    prepare(session, anew=anew)
    is_narrow = _is_narrow(session, filters, limit, among)
    first = ask(session, one_by_one if is_narrow else by_index, values)

    def answer() -> list[Match]:
        found = first()
        if len(found) < limit and not is_narrow:
            prepare(session, anew=anew)
            found = rows(session, one_by_one, values)
        return _ordered([Match(row.adapter_id, row.score) for row in found])

    return answer


def nearest_by_captions(
    session: Session, embedding: Embedding, *, text_encoder: str, filters: Filters, limit: int
) -> list[Match]:
    """Return up to `limit` adapters by their cover that suits `embedding` (dim,) best."""
    return ask_captions(
        session, embedding, text_encoder=text_encoder, filters=filters, limit=limit
    )()


def ask_captions(
    session: Session, embedding: Embedding, *, text_encoder: str, filters: Filters, limit: int
) -> Answer[list[Match]]:
    """Send what `nearest_by_captions` asks, and return what gives its answer."""
    condition, values = filter_sql(filters)
    anew = condition != UNFILTERED
    values = {**values, "vector": vector(embedding), "text_encoder": text_encoder}

    def by_index(captions: int) -> str:
        return (
            "SELECT adapter_id, max(score) AS score, sum(count(*)) OVER () AS captions FROM "
            f"(SELECT listings.adapter_id, 1 - ({DISTANCE}) AS score {CAPTIONS} AND {condition} "
            f"ORDER BY {DISTANCE} LIMIT {captions:d}) AS nearest GROUP BY adapter_id"
        )

    one_by_one = (
        f"SELECT listings.adapter_id, max(1 - ({DISTANCE})) AS score {CAPTIONS} "
        f"AND {condition} GROUP BY 1 ORDER BY 2 DESC LIMIT {limit:d}"
    )
    # Where filters leave few, more captions than adapters cost too much.
    wanted = max(limit, worth_offering(session, filters, round(limit * CAPTIONS_PER_ADAPTER)))
    prepare(session, anew=anew)
    is_narrow = _is_narrow(session, filters, wanted)
    first = ask(session, one_by_one if is_narrow else by_index(wanted), values)

    def answer() -> list[Match]:
        found = first()
        if not is_narrow:
            prepare(session, anew=anew)
            found = deeper(found)
        return _ordered([Match(row.adapter_id, row.score) for row in found])[:limit]

    def deeper(found: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
        captions = wanted
        while found and 2 * len(found) <= limit and found[0].captions == captions:
            # A few adapters have all that is near.
            captions *= DEEPER
            found = rows(session, by_index(captions), values)
        if not found or found[0].captions < captions:
            # The index has no more to say.
            found = rows(session, one_by_one, values)
        return found

    return answer


def nearest_by_descriptions(
    session: Session, embedding: Embedding, *, text_encoder: str, filters: Filters, limit: int
) -> list[Match]:
    """Return up to `limit` adapters of which what is said is most similar."""
    return ask_descriptions(
        session, embedding, text_encoder=text_encoder, filters=filters, limit=limit
    )()


def nearest_by_fingerprint(
    session: Session, adapter_id: int, filters: Filters, limit: int
) -> list[Match] | None:
    """Return up to `limit` adapters whose change has the most similar direction, estimated.

    The adapter itself is among them; None where it has no fingerprint.
    """
    own = session.scalar(
        select(File.fingerprint)
        .join(Adapter, Adapter.file_sha256 == File.sha256)
        .where(Adapter.id == adapter_id)
    )
    return None if own is None else nearest_to_fingerprint(session, own, filters, limit)


def nearest_to_fingerprint(
    session: Session, direction: Sequence[float], filters: Filters, limit: int
) -> list[Match]:
    """Return up to `limit` adapters whose change has the most similar direction, estimated."""
    prepare(session, anew=True)
    distance = File.fingerprint.cosine_distance(direction)
    found = session.execute(
        select(Listing.adapter_id.label("id"), distance.label("distance"))
        .select_from(File)
        .join(Listing, Listing.file_sha256 == File.sha256)
        .where(*conditions(filters), File.fingerprint.is_not(None))
        .order_by(distance)
        .limit(limit)
    ).all()
    return _ordered([Match(row.id, 1.0 - row.distance) for row in found])


def weights_similarities(
    session: Session,
    embedding: Embedding,
    *,
    encoder: str,
    adapter_ids: Collection[int],
) -> dict[int, float]:
    """Return the exact similarity of those of `adapter_ids` that have an embedding."""
    found = know(session, adapter_ids, ByWeights(encoder, embedding), None)
    return {row.adapter_id: row.weights for row in found if row.weights is not None}


def captions_similarities(
    session: Session,
    embedding: Embedding,
    *,
    text_encoder: str,
    adapter_ids: Collection[int],
) -> dict[int, float]:
    """Return the exact similarity of the best caption, or of what is said where there is none."""
    found = know(session, adapter_ids, None, ByCaptions(text_encoder, embedding))
    told = {row.adapter_id: row.said for row in found if row.said is not None}
    return told | {row.adapter_id: row.captions for row in found if row.captions is not None}


def weight_embeddings(
    session: Session, *, encoder: str, adapter_ids: Collection[int]
) -> dict[int, Embedding]:
    """Return the stored embeddings (dim,) of those of `adapter_ids` that have one."""
    found = session.execute(
        select(Listing.adapter_id.label("id"), WeightEmbedding.embedding)
        .join(WeightEmbedding, WeightEmbedding.file_sha256 == Listing.file_sha256)
        .join(Encoder, Encoder.id == WeightEmbedding.encoder_id)
        .where(Encoder.name == encoder, Listing.adapter_id.in_(adapter_ids))
    )
    return {row.id: np.asarray(row.embedding, np.float32) for row in found}


def worth_offering(session: Session, filters: Filters, limit: int) -> int:
    """Return how many of up to `limit` adapters the index can find at a bearable cost."""
    left, everything = passing(session, filters)
    return min(limit, max(LEAST_OFFERED, STEPS * left // everything))


def _is_narrow(session: Session, filters: Filters, limit: int, among: float = math.inf) -> bool:
    """Whether filters leave so few adapters that comparing all is quicker than the index.

    Of every so many rows of the index one passes; PostgreSQL estimates how many, which takes no
    time that counts. No more than `among` are compared.
    """
    left, everything = passing(session, filters)
    steps: float = limit * everything / max(left, 1)
    return bool(steps * STEP > min(left, among))


def _described(session: Session) -> float:
    """Return how many descriptions there are, infinitely many for more than a FEW."""
    few = f"SELECT FROM description_embeddings LIMIT {FEW + 1}"

    def count() -> float:
        [[counted]] = rows(session, f"SELECT count(*) FROM ({few}) AS few", {})
        return counted if counted <= FEW else math.inf

    return believed(session, "descriptions", count)


def passing(session: Session, filters: Filters) -> tuple[int, int]:
    """Return how many listings pass and how many there are, about."""
    return believed(session, filters, lambda: _estimate(session, *filter_sql(filters)))


def _estimate(session: Session, condition: str, values: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many listings pass and how many there are, as PostgreSQL takes it."""
    explain = (
        f"EXPLAIN (FORMAT JSON) SELECT 1 FROM listings WHERE {condition} "
        "UNION ALL SELECT 1 FROM listings"
    )
    [[[plan]]] = rows(session, explain, values)
    parts = plan["Plan"].get("Plans", [])
    if len(parts) != 2:
        return 0, 1  # It is plain that nothing passes.
    left, everything = (part["Plan Rows"] for part in parts)
    return left, everything


def _ordered(matches: Sequence[Match]) -> list[Match]:
    """Order equals by id: in the index their order is that of insertion."""
    return sorted(matches, key=lambda match: (-match.score, match.adapter_id))
