"""Nights let an index learn when there is more to learn from, and tell of it once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from registry.db.encoder_models import SketchBasis
from registry.db.examples import count_examples, list_examples
from registry.db.models import Caption, CaptionEmbedding
from registry.db.nights import list_nights
from registry.refresh import learn
from registry.refresh.night import NightWatch
from registry.service import Registry
from tests.builders import TEXT_ENCODER
from tests.registry.refresh.test_learn import FAMILY, LAYOUT, add_taught

FIRST = datetime(2026, 1, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are about what is worth it, not about what can be computed."""
    monkeypatch.setattr(learn, "FEWEST_ADAPTERS", 60)
    monkeypatch.setattr(learn, "FEWEST_HELD_BACK", 10)


def learned_at_night(registry: Registry, due_at: datetime) -> Any:
    """Do a night whose source adds nothing; return what its report says of lessons."""
    settings = registry.settings.model_copy(update={"sources": ["/no/such/folder"]})
    night = NightWatch(registry.sessions, registry.blobs, settings, registry.text_encoder)
    for _ in night.run(due_at):
        pass
    with registry.sessions() as session:
        last = list_nights(session)[0]
    assert last.error is None
    return last.report["learn"]


def keep_captions(registry: Registry, count: int | None) -> int:
    """Let captions of so many adapters be used, or all; return how many examples that makes."""
    with registry.sessions.begin() as session:
        ids = session.scalars(select(Caption.id).order_by(Caption.id)).all()
        # Each adapter has two.
        used = ids if count is None else ids[: 2 * count]
        session.execute(update(Caption).values(superseded=Caption.id.not_in(used)))
    with registry.sessions() as session:
        wanted = ["demo-flux-tiny"], LAYOUT.version, TEXT_ENCODER
        examples = count_examples(session, *wanted)
        assert examples == len(list_examples(session, *wanted))
    return examples


def test_what_is_captioned_later_is_learned_from(registry: Registry) -> None:
    """Not the adapters must grow, but what can be learned from: a crawl's captions come after."""
    with registry.sessions.begin() as session:
        add_taught(session, 100)
    assert keep_captions(registry, 20) == 20

    few = learned_at_night(registry, FIRST)["demo-flux-tiny"]

    assert "are needed" in few["outcome"]
    assert "examples" not in few
    assert keep_captions(registry, None) == 100

    learned = learned_at_night(registry, FIRST + DAY)["demo-flux-tiny"]

    assert learned["examples"] == 100
    assert learned["encoder"] == "demo-flux-tiny-learned"

    # Of a night without a lesson nothing is told but where growth is counted from.
    assert learned_at_night(registry, FIRST + 2 * DAY) == {"demo-flux-tiny": {"examples": 100}}

    with registry.sessions.begin() as session:
        add_taught(session, 4, seed=1)
    assert learned_at_night(registry, FIRST + 3 * DAY) == {"demo-flux-tiny": {"examples": 100}}
    with registry.sessions.begin() as session:
        add_taught(session, 2, seed=2)
    again = learned_at_night(registry, FIRST + 4 * DAY)["demo-flux-tiny"]
    assert again["examples"] == 106
    assert "outcome" in again


def test_a_lesson_that_failed_is_tried_again_and_forgets_no_lesson(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry.sessions.begin() as session:
        add_taught(session, 100)
    assert learned_at_night(registry, FIRST)["demo-flux-tiny"]["examples"] == 100
    with registry.sessions.begin() as session:
        add_taught(session, 20, seed=1)
    monkeypatch.setattr(learn, "FEWEST_ADAPTERS", 1000)

    for night in (1, 2):
        failed = learned_at_night(registry, FIRST + night * DAY)["demo-flux-tiny"]
        assert failed["examples"] == 100
        assert "are needed" in failed["outcome"]


def test_what_nobody_foresaw_in_a_lesson_does_not_end_the_night(registry: Registry) -> None:
    """The blob store has kept something else as the basis that the family's sketches are in."""
    with registry.sessions.begin() as session:
        add_taught(session, 100)
        basis = registry.blobs.put_bytes(b"no basis")
        session.add(SketchBasis(family=FAMILY.name, version="2", basis_sha256=basis, files=100))

    lesson = learned_at_night(registry, FIRST)["demo-flux-tiny"]

    assert lesson.keys() == {"outcome"}
    assert "SafetensorError" in lesson["outcome"]
    with registry.sessions() as session:
        assert "canaries" in list_nights(session)[0].report


def test_captions_by_another_text_encoder_are_no_examples(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_taught(session, 3)
        session.execute(update(CaptionEmbedding).values(text_encoder="another"))

    assert keep_captions(registry, None) == 0
