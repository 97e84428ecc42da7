"""Nearest by weights and by captions, through pgvector's HNSW."""

import numpy as np
import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from registry.db.models import Caption
from registry.retrieval import vector
from registry.retrieval.errors import EmbeddingDimensionError
from registry.retrieval.filters import Filters
from registry.retrieval.vector import (
    captions_similarities,
    nearest_by_captions,
    nearest_by_weights,
    weight_embeddings,
    weights_similarities,
)
from tests.builders import TEXT_ENCODER, active_encoder, add_adapter, add_encoder, axis

TINY = Filters(("demo-flux-tiny",))
EAST = np.array(axis(0), np.float32)


@pytest.fixture(params=[0.0, vector.STEP], ids=["by the index", "one by one"], autouse=True)
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are compared one by one, and here are few: the index must answer alike."""
    monkeypatch.setattr(vector, "STEP", request.param)


def between(share: float, seed: int = 0) -> list[float]:
    """A unit vector whose similarity to EAST is `share`; another one for every seed."""
    vector = np.random.default_rng(seed).normal(size=512)
    vector[0] = 0
    vector *= np.sqrt(1 - share**2) / np.linalg.norm(vector)
    vector[0] = share
    return [float(value) for value in vector]


def test_weights_never_return_another_base_model(session: Session) -> None:
    """Flux weights cannot load into SDXL, however well the description fits."""
    tiny = add_adapter(session, embedding=axis(0))
    encoder = active_encoder(session, "demo-flux-tiny")
    # The same encoder, so that only the filter keeps it out.
    add_adapter(session, base_model="sdxl-1.0", embedding=axis(0), encoder=encoder)

    matches = nearest_by_weights(session, EAST, encoder=encoder.name, filters=TINY, limit=10)

    assert [match.adapter_id for match in matches] == [tiny.id]


def test_captions_never_return_another_base_model(session: Session) -> None:
    tiny = add_adapter(session, captions=[("a fox", axis(0))])
    add_adapter(session, base_model="sdxl-1.0", captions=[("a fox", axis(0))])

    matches = nearest_by_captions(session, EAST, text_encoder=TEXT_ENCODER, filters=TINY, limit=10)

    assert [match.adapter_id for match in matches] == [tiny.id]


def test_a_rare_base_model_loses_no_hits_to_a_common_one(session: Session) -> None:
    """A plain HNSW scan stops at ef_search neighbours, all of the common base model here."""
    encoder = active_encoder(session, "demo-flux-tiny")
    # All different: thousands of equal vectors would be neighbours of nothing but each other.
    for seed in range(300):
        add_adapter(session, base_model="sdxl-1.0", embedding=between(0.9, seed), encoder=encoder)
    rare = [add_adapter(session, embedding=between(0.1 - seed / 50)).id for seed in range(3)]
    session.execute(text("SET LOCAL enable_seqscan = off"))
    session.execute(text("SET LOCAL enable_sort = off"))

    matches = nearest_by_weights(session, EAST, encoder=encoder.name, filters=TINY, limit=3)

    assert [match.adapter_id for match in matches] == rare


def test_the_plan_scans_the_hnsw_index(session: Session) -> None:
    """`alembic check` does not see a wrong operator class; a plan does."""
    for setting in ("enable_sort", "enable_seqscan"):
        session.execute(text(f"SET LOCAL {setting} = off"))
    for table in ("weight_embeddings", "caption_embeddings"):
        plan = session.scalars(
            text(f"EXPLAIN SELECT 1 FROM {table} ORDER BY embedding <=> :vector LIMIT 5"),
            {"vector": str(axis(0))},
        ).all()
        assert f"ix_{table}_embedding_hnsw" in "\n".join(plan)


def test_another_encoder_is_another_space(session: Session) -> None:
    """Two encoders coexist while one is back-filled; their vectors must never mix."""
    old = add_encoder(session, active=False)
    add_adapter(session, embedding=axis(0), encoder=old)
    new = add_adapter(session, embedding=between(0.2))
    encoder = active_encoder(session, "demo-flux-tiny")

    matches = nearest_by_weights(session, EAST, encoder=encoder.name, filters=TINY, limit=10)

    assert [match.adapter_id for match in matches] == [new.id]
    assert matches[0].score == pytest.approx(0.2, abs=1e-3)


def test_filters_that_nothing_can_pass_find_nothing(session: Session) -> None:
    """PostgreSQL sees it without looking, and says so in another form of plan."""
    add_adapter(session, embedding=axis(0), captions=[("a fox", axis(0))])
    encoder = active_encoder(session, "demo-flux-tiny").name
    nobody = Filters(families=("nobody",))

    assert nearest_by_weights(session, EAST, encoder=encoder, filters=nobody, limit=3) == []
    assert (
        nearest_by_captions(session, EAST, text_encoder=TEXT_ENCODER, filters=nobody, limit=3) == []
    )


def test_the_best_cover_counts(session: Session) -> None:
    """A gallery shows several things; one that fits is what was looked for."""
    mixed = add_adapter(session, captions=[("a car", axis(5)), ("a fox", between(0.9))])
    even = add_adapter(session, captions=[("fox-like", between(0.6)), ("too", between(0.6))])

    matches = nearest_by_captions(session, EAST, text_encoder=TEXT_ENCODER, filters=TINY, limit=10)

    assert [match.adapter_id for match in matches] == [mixed.id, even.id]
    assert [match.score for match in matches] == pytest.approx([0.9, 0.6], abs=1e-3)


def test_superseded_captions_are_not_compared(session: Session) -> None:
    """A newer model said it anew; both texts stay, and one is searched."""
    adapter = add_adapter(session, captions=[("a fix", between(0.9)), ("a fox", between(0.6))])
    session.execute(update(Caption).where(Caption.text == "a fix").values(superseded=True))

    found = nearest_by_captions(session, EAST, text_encoder=TEXT_ENCODER, filters=TINY, limit=10)
    given = captions_similarities(
        session, EAST, text_encoder=TEXT_ENCODER, adapter_ids=[adapter.id]
    )

    assert [match.score for match in found] == pytest.approx([0.6], abs=1e-3)
    assert given == {adapter.id: pytest.approx(0.6, abs=1e-3)}


def test_similarities_of_given_adapters_are_those_of_the_search(session: Session) -> None:
    adapter = add_adapter(
        session, embedding=between(0.3), captions=[("a", between(0.5)), ("b", axis(9))]
    )
    bare = add_adapter(session)
    encoder = active_encoder(session, "demo-flux-tiny").name
    ids = [adapter.id, bare.id]

    weights = weights_similarities(session, EAST, encoder=encoder, adapter_ids=ids)
    captions = captions_similarities(session, EAST, text_encoder=TEXT_ENCODER, adapter_ids=ids)

    assert weights == {adapter.id: pytest.approx(0.3, abs=1e-3)}
    assert captions == {adapter.id: pytest.approx(0.5, abs=1e-3)}
    embeddings = weight_embeddings(session, encoder=encoder, adapter_ids=ids)
    assert embeddings.keys() == {adapter.id}
    assert embeddings[adapter.id] @ EAST == pytest.approx(0.3, abs=1e-3)


def test_equals_come_in_order_of_id(session: Session) -> None:
    ids = [add_adapter(session, embedding=axis(0)).id for _ in range(5)]
    encoder = active_encoder(session, "demo-flux-tiny").name

    matches = nearest_by_weights(session, EAST, encoder=encoder, filters=TINY, limit=5)

    assert [match.adapter_id for match in matches] == ids


def test_many_equal_vectors_hide_nothing(session: Session) -> None:
    """Equal vectors are each other's only neighbours; 300 prompts are `masterpiece`."""
    # What other tests took back is in the graphs still, and leads nowhere.
    session.execute(text("TRUNCATE weight_embeddings, caption_embeddings"))
    for _ in range(300):
        add_adapter(session, embedding=axis(7), captions=[("masterpiece", axis(7))])
    others = [
        add_adapter(session, embedding=between(share), captions=[(f"{share}", between(share))]).id
        for share in (0.5, 0.4, 0.3)
    ]
    encoder = active_encoder(session, "demo-flux-tiny").name
    session.execute(text("SET LOCAL enable_seqscan = off"))
    session.execute(text("SET LOCAL enable_sort = off"))

    weights = nearest_by_weights(session, EAST, encoder=encoder, filters=TINY, limit=3)
    captions = nearest_by_captions(session, EAST, text_encoder=TEXT_ENCODER, filters=TINY, limit=3)

    assert [match.adapter_id for match in weights] == others
    assert [match.adapter_id for match in captions] == others


def test_one_large_gallery_hides_nothing(session: Session) -> None:
    """An adapter with a hundred fitting covers is one answer, not all of them."""
    covers = [(f"cover {number}", between(0.9, number)) for number in range(100)]
    large = add_adapter(session, captions=covers)
    small = add_adapter(session, captions=[("one", between(0.5))])

    matches = nearest_by_captions(session, EAST, text_encoder=TEXT_ENCODER, filters=TINY, limit=2)

    assert [match.adapter_id for match in matches] == [large.id, small.id]


def test_an_embedding_of_another_width_is_refused(session: Session) -> None:
    with pytest.raises(EmbeddingDimensionError, match="384 dimensions; the index stores 512"):
        nearest_by_weights(session, np.zeros(384, np.float32), encoder="any", filters=TINY, limit=1)
