"""Which encoder search may use, and that it never uses two at once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from registry.db.encoder_models import Encoder, EncoderPromotion, Sketch, WeightEmbedding
from registry.db.encoders import EncoderFacts, find_active, list_encoders, register_encoder
from registry.db.promotion import promote, roll_back, unmet_thresholds
from registry.errors import EncoderRejectedError, PromotionError
from registry.retrieval.filters import Filters
from registry.retrieval.finder import Finder
from registry.retrieval.given_values import Paging
from registry.service import Registry
from tests.builders import add_adapter, add_encoder, axis
from tests.registry.conftest import GOOD, embed, save_checkpoint


def measured(mrr: float, gallery: int = 120, **more: Any) -> dict[str, Any]:
    return {"validation": {"mrr": mrr}, "adapters": {"validation": gallery}, **more}


@pytest.mark.parametrize(
    ("metrics", "active", "words"),
    [
        (measured(0.7), None, None),
        (measured(0.7), measured(0.71), None),
        (measured(0.1), None, "random order of 120 adapters"),
        (measured(0.7), measured(0.73), "a loss of more than 0.02"),
        (measured(0.9), measured(0.3, gallery=40), "not comparable"),
        (measured(0.9, split="a"), measured(0.3, split="b"), "not comparable"),
        ({}, None, "does not say"),
        ({"validation": {"mrr": "high"}, "adapters": {"validation": 10}}, None, "does not say"),
    ],
)
def test_thresholds(
    metrics: dict[str, Any], active: dict[str, Any] | None, words: str | None
) -> None:
    unmet = unmet_thresholds(metrics, active)

    assert words in "; ".join(unmet) if words else unmet == []


def test_an_encoder_that_has_not_embedded_all_is_not_promoted(session: Session) -> None:
    """Its adapters would vanish from search by weights until somebody noticed."""
    adapter = add_adapter(session, embedding=axis(0))
    current = session.scalars(select(Encoder)).one()
    waiting = add_encoder(session, name="waiting", active=False, metrics=GOOD)
    session.add(Sketch(file_sha256=adapter.file_sha256, version="1", data=b""))
    session.flush()

    with pytest.raises(PromotionError, match=r"not embedded 1 adapter file .*backfill waiting"):
        promote(session, "waiting", reason="I want it")
    session.add(embedding_by(waiting, adapter.file_sha256))
    promote(session, "waiting", reason="no measure of the active one")

    assert find_active(session, "demo-flux-tiny") is waiting
    session.refresh(current)
    assert not current.active


def test_files_without_a_sketch_that_it_reads_are_not_lost(session: Session) -> None:
    add_adapter(session, embedding=axis(0))
    add_encoder(session, name="other sketches", active=False, metrics=GOOD, sketch_version="2")

    with pytest.raises(PromotionError, match=r"no sketch of version 2.*autolora encode"):
        promote(session, "other sketches", reason="I want it")


def test_thresholds_can_be_overridden_and_the_reason_is_kept(session: Session) -> None:
    add_encoder(session, name="poor", active=False, metrics=measured(0.05))

    with pytest.raises(PromotionError, match="--force"):
        promote(session, "poor")
    promote(session, "poor", reason="a demonstration")

    assert session.scalars(select(EncoderPromotion.reason)).one() == "a demonstration"


def test_rolling_back_goes_to_the_one_before(session: Session) -> None:
    for name in ("a", "b", "c"):
        add_encoder(session, name=name, active=False, metrics=GOOD)
        promote(session, name)

    def active() -> str:
        [found] = [encoder.name for encoder in list_encoders(session) if encoder.active]
        return found

    assert active() == "c"
    roll_back(session, "demo-flux-tiny")
    assert active() == "b"
    roll_back(session, "demo-flux-tiny")
    assert active() == "a"
    assert roll_back(session, "demo-flux-tiny") is None
    assert find_active(session, "demo-flux-tiny") is None
    with pytest.raises(PromotionError, match="no encoder is active"):
        roll_back(session, "demo-flux-tiny")


def test_a_name_that_is_taken_gets_the_hash_behind_it(registry: Registry) -> None:
    """Embeddings by one checkpoint say nothing in the space of another."""
    names = []
    for negated in (False, True, True):
        path = save_checkpoint(registry, "ridge", negated=negated)
        with registry.sessions.begin() as session:
            names.append(register_encoder(session, registry.blobs, path).name)

    assert names[0] == "ridge"
    assert names[1].startswith("ridge-")
    assert names[1] == names[2], "the same checkpoint is the same encoder"


def test_an_encoder_of_another_familys_adapters_is_refused(registry: Registry) -> None:
    """It could embed no adapter of the base that it is said to be for."""
    path = save_checkpoint(registry, "ridge", "flux.1-dev", family="sdxl-1.0")

    with (
        registry.sessions.begin() as session,
        pytest.raises(
            EncoderRejectedError, match=r"is for flux\.1-dev, and reads adapters of sdxl-1\.0"
        ),
    ):
        register_encoder(session, registry.blobs, path)


def test_a_variant_of_the_family_is_searched_by_the_familys_encoder(session: Session) -> None:
    encoder = add_encoder(session, base_model="flux.1-dev")

    assert find_active(session, "flux.1-schnell") is encoder
    assert find_active(session, "sdxl-1.0") is None


@pytest.fixture
def fox_in_two_spaces(registry: Registry) -> None:
    """One space is the other negated: a query of one among embeddings of the other is at -1."""
    fox = embed(registry, "a fox")
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, name="v1")
        for name, sign in (("plain", 1), ("negated", -1)):
            path = save_checkpoint(registry, name, negated=sign < 0)
            encoder = register_encoder(session, registry.blobs, path)
            row = embedding_by(encoder, adapter.file_sha256, [sign * value for value in fox])
            session.add(row)
        session.flush()
        promote(session, "plain")


def similarity_of_the_fox(finder: Finder | Registry) -> float:
    page = (
        finder.search("a fox", Filters(), Paging())
        if isinstance(finder, Finder)
        else finder.search("a fox")
    )
    [result] = page.results
    score = result.hit.signals["weights"]
    assert score is not None
    return score


@pytest.mark.usefixtures("fox_in_two_spaces")
def test_no_search_sees_two_encoders_while_they_change(registry: Registry) -> None:
    stop = Event()

    def searches() -> Iterator[float]:
        while not stop.is_set():
            yield similarity_of_the_fox(registry)

    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(lambda: list(searches())) for _ in range(2)]
        try:
            for _ in range(10):
                registry.promote("negated")
                registry.roll_back("demo-flux-tiny")
        finally:
            stop.set()
        scores = [score for future in found for score in future.result()]

    assert scores
    assert min(scores) == pytest.approx(1, abs=1e-2)


@pytest.mark.usefixtures("fox_in_two_spaces")
def test_a_search_ends_with_the_encoder_it_began_with(registry: Registry) -> None:
    """Although another is promoted, and its embeddings removed, while the question is encoded."""

    class Meddling:
        name, dim = registry.text_encoder.name, registry.text_encoder.dim

        def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
            registry.promote("negated")
            with registry.sessions.begin() as session:
                plain = select(Encoder.id).where(Encoder.name == "plain").scalar_subquery()
                session.execute(delete(WeightEmbedding).where(WeightEmbedding.encoder_id == plain))
            return registry.text_encoder.encode(texts)

    finder = Finder(registry.settings, registry.sessions, registry.blobs, Meddling())

    assert similarity_of_the_fox(finder) == pytest.approx(1, abs=1e-2)
    assert similarity_of_the_fox(registry) == pytest.approx(1, abs=1e-2)
    assert not any(facts.embedded for facts in listed(registry) if facts.name == "plain")


def listed(registry: Registry) -> list[EncoderFacts]:
    with registry.sessions() as session:
        return list_encoders(session)


def embedding_by(
    encoder: Encoder, file_sha256: str | None, embedding: list[float] | None = None
) -> WeightEmbedding:
    return WeightEmbedding(
        file_sha256=file_sha256, encoder_id=encoder.id, embedding=embedding or axis(0)
    )
