"""What similarities mean, calibrated on the index itself."""

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.models import Caption, Cover
from registry.retrieval.calibration import FEWEST, calibrate
from registry.retrieval.ranking import DEFAULT_CALIBRATION
from tests.builders import active_encoder, add_adapter


class Plain:
    """Queries lie in the space of the texts."""

    def encode_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return embeddings

    def encode_question(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(self.encode_query(embeddings[:1])[0])

    def encode_caption_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return embeddings


def near(seed: int, share: float) -> list[float]:
    """A unit vector whose similarity to another of another seed is about `share`."""
    own = np.random.default_rng(seed).normal(size=512)
    own[0] = 0
    own *= np.sqrt(1 - share) / np.linalg.norm(own)
    own[0] = np.sqrt(share)
    return [float(value) for value in own]


def test_it_is_what_unrelated_adapters_have(session: Session) -> None:
    """In a family of portraits all weights are alike; .6 means nothing there."""
    for seed in range(40):
        add_adapter(session, embedding=near(seed, 0.6), captions=[("a portrait", near(0, 0.6))] * 2)
    encoder = active_encoder(session, "demo-flux-tiny")

    found = calibrate(session, encoder, Plain())

    # All captions are one text here: similarity 1, but no deviation of 0 to divide by.
    assert found.weights[0] == pytest.approx(0.6, abs=0.05)
    assert found.captions[0] == pytest.approx(1, abs=0.01)
    assert 0 < found.captions[1] < 0.01


def test_few_adapters_say_nothing(session: Session) -> None:
    for seed in range(FEWEST - 1):
        add_adapter(session, embedding=near(seed, 0.6), captions=[(f"{seed}", near(seed, 0.6))])

    found = calibrate(session, active_encoder(session, "demo-flux-tiny"), Plain())

    assert found == DEFAULT_CALIBRATION


def test_a_cover_that_came_late_changes_nothing(session: Session) -> None:
    """Else an index would rank otherwise only because a hub did not answer once."""
    for seed in range(FEWEST):
        captions = [(f"{seed}", near(seed, 0.6)), (f"{seed} again", near(seed, 0.2))]
        add_adapter(session, embedding=near(seed, 0.6), captions=captions)
    encoder = active_encoder(session, "demo-flux-tiny")
    before = calibrate(session, encoder, Plain())

    first = session.scalars(select(Caption).join(Cover).where(Cover.position == 0)).all()
    late = [Caption(cover_id=c.cover_id, text=c.text, source=c.source) for c in first]
    for caption in first:
        session.delete(caption)
    session.flush()
    session.add_all(late)
    session.flush()

    assert calibrate(session, encoder, Plain()) == before
