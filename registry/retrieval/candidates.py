"""A prompt -> adapters that may be fused for its parts."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.db.models import Adapter, File
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.filters import Filters
from registry.retrieval.hybrid import SearchQuery, rank_all, read
from registry.retrieval.ranking import SearchHit
from registry.retrieval.selection import Candidate
from registry.retrieval.vector import weight_embeddings
from registry.text.prompt_phrases import spans_of
from registry.text.unwanted import read_wish

# How many adapters are found for a part, to stand in for the best one where another part needs
# that, or where it cannot be fused.
CANDIDATES = 5


def find_candidates(
    session: Session,
    prompt: str,
    filters: Filters,
    text_encoder: TextEncoder,
    space: Space,
) -> list[Candidate]:
    """Return what search finds for every part of `prompt`, of what can be fused.

    The surest, not the most probable: many may suit a part, and one of them is meant.
    """
    hits = [
        (span, hit)
        for span in spans_of(read_wish(prompt).wanted)
        for hit in _surest(session, SearchQuery(span.text, filters), text_encoder, space)
    ]
    encoder = space.encoder
    hashes = _fusable(session, [hit for _, hit in hits])
    embeddings = (
        weight_embeddings(session, encoder=encoder.name, adapter_ids=hashes.keys())
        if encoder is not None
        else {}
    )
    return [
        Candidate(
            hit.adapter_id, hashes[hit.adapter_id], span, hit.surety, embeddings.get(hit.adapter_id)
        )
        for span, hit in hits
        if hit.adapter_id in hashes
    ]


def _surest(
    session: Session, query: SearchQuery, text_encoder: TextEncoder, space: Space
) -> list[SearchHit]:
    question = read(session, query, text_encoder)
    hits = rank_all(session, question, text_encoder, [space])
    # What is for another base model was named exactly, and cannot be drawn with here.
    here = [hit for hit in hits if not hit.elsewhere]
    return sorted(here, key=lambda hit: -hit.surety)[:CANDIDATES]


def _fusable(session: Session, hits: list[SearchHit]) -> dict[int, str]:
    """Return the file's hash of those adapters that can be fused."""
    rows = session.execute(
        select(Adapter.id, File.sha256)
        .join(File, File.sha256 == Adapter.file_sha256)
        .where(
            Adapter.id.in_({hit.adapter_id for hit in hits}), File.verdict["fusable"].as_boolean()
        )
    )
    return {row.id: row.sha256 for row in rows}
