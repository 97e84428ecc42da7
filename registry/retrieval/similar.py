"""An adapter -> those with the most similar weights, and those that are it again."""

from sqlalchemy.orm import Session

from encoder.base_models.facts import find_facts
from registry.errors import AdapterNotFoundError
from registry.retrieval.cards import AdapterCard, load_cards
from registry.retrieval.duplicates import contents, find_duplicates
from registry.retrieval.filters import Filters
from registry.retrieval.found import MOST_FOUND, page_of
from registry.retrieval.given_values import Paging
from registry.retrieval.ranking import Match, SearchHit, fold
from registry.retrieval.results import DuplicatesPage, Similar, load_duplicates, load_results
from registry.retrieval.serving_encoders import ServingEncoders
from registry.retrieval.terms import ComparedBy, Maturity
from registry.retrieval.vector import (
    nearest_by_fingerprint,
    nearest_by_weights,
    weight_embeddings,
)


def list_similar(
    session: Session,
    encoders: ServingEncoders,
    adapter_id: int,
    paging: Paging,
    mature: Maturity,
) -> Similar:
    """Return a page of the MOST_FOUND adapters of the same family with most similar weights.

    By fingerprints where no encoder is active, or where it has not embedded the adapter.
    Listings of the same tensors are one result; those of the adapter itself are none.

    Raises:
        AdapterNotFoundError: there is no such adapter.
    """
    card = load_cards(session, [adapter_id]).get(adapter_id)
    if card is None:
        raise AdapterNotFoundError(adapter_id)
    filters = Filters((_family_of(card.base_model),), mature=mature)
    found = _nearest_by_encoder(session, encoders, card, filters, MOST_FOUND + 1)
    by: ComparedBy = "encoder"
    if found is None:
        found = nearest_by_fingerprint(session, adapter_id, filters, MOST_FOUND + 1)
        by = "fingerprints" if found is not None else "nothing"
    hits = _other_adapters(session, adapter_id, found or [])
    ids = list(hits)[:MOST_FOUND]
    page = page_of(session, ("similar", adapter_id, mature), ids, paging)
    results = load_results(session, [hits[id_] for id_ in page.ids])
    return Similar(by, results, page.total, page.next)


def list_duplicates(session: Session, adapter_id: int, paging: Paging) -> DuplicatesPage:
    """Return a page of adapters that are this one again, the most certain most relevant.

    Raises:
        AdapterNotFoundError: there is no such adapter.
    """
    if not load_cards(session, [adapter_id]):
        raise AdapterNotFoundError(adapter_id)
    found = {copy.adapter_id: copy for copy in find_duplicates(session, adapter_id)}
    page = page_of(session, ("duplicates", adapter_id), list(found), paging)
    results = load_duplicates(session, [found[id_] for id_ in page.ids])
    return DuplicatesPage(results, page.total, page.next)


def _nearest_by_encoder(
    session: Session,
    encoders: ServingEncoders,
    card: AdapterCard,
    filters: Filters,
    limit: int,
) -> list[Match] | None:
    """Return the nearest adapters in the encoder's space; None where it lacks this one."""
    encoder, _ = encoders.find(session, card.base_model)
    if encoder is None:
        return None
    weights = weight_embeddings(session, encoder=encoder.name, adapter_ids=[card.id])
    if card.id not in weights:
        return None
    return nearest_by_weights(
        session, weights[card.id], encoder=encoder.name, filters=filters, limit=limit
    )


def _other_adapters(session: Session, adapter_id: int, found: list[Match]) -> dict[int, SearchHit]:
    """Return what was found by id, each tensors once, without the adapter itself.

    The same tensors under another listing are no other adapter; `list_duplicates` tells them.
    """
    near = [
        SearchHit(match.adapter_id, match.score, signals={"weights": match.score})
        for match in found
    ]
    held = contents(session, [adapter_id, *(hit.adapter_id for hit in near)])
    own = held.get(adapter_id)
    return {
        hit.adapter_id: hit
        for hit in fold(near, held)
        if hit.adapter_id != adapter_id and (own is None or held.get(hit.adapter_id) != own)
    }


def _family_of(base_model: str) -> str:
    """Return the name that means a base model's whole family, where it has one."""
    facts = find_facts(base_model)
    return facts.name if facts and facts.name in facts.variants else base_model
