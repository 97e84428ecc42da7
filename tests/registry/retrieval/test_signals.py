"""All that is gathered for a question, of one base model or several."""

import numpy as np
import pytest
from sqlalchemy.orm import Session

from registry.retrieval.filters import Filters
from registry.retrieval.signals import Aim, Question, gather
from tests.builders import TEXT_ENCODER, active_encoder, add_adapter, axis

EAST, NORTH = np.array(axis(0), np.float32), np.array(axis(1), np.float32)
TINY, SDXL = Filters(("demo-flux-tiny",)), Filters(("sdxl-1.0",))


def test_every_base_model_is_asked_by_its_own_encoder(session: Session) -> None:
    """What points east in one encoder's space points anywhere in another's."""
    tiny = add_adapter(session, embedding=axis(0), captions=[("a", axis(0))])
    sdxl = add_adapter(session, base_model="sdxl-1.0", embedding=axis(1), captions=[("b", axis(1))])
    bare = add_adapter(session, base_model="sd-1.5", captions=[("c", axis(0))])
    aims = [
        Aim(TINY, EAST, active_encoder(session, "demo-flux-tiny").name, EAST),
        Aim(SDXL, NORTH, active_encoder(session, "sdxl-1.0").name, NORTH),
        Aim(Filters(("sd-1.5",)), EAST),
    ]

    found = gather(session, Question("nothing", Filters(), aims, TEXT_ENCODER))

    assert found.scores["weights"] == pytest.approx({tiny.id: 1, sdxl.id: 1})
    assert found.scores["captions"] == pytest.approx({tiny.id: 1, sdxl.id: 1, bare.id: 1})
    assert {id_: facts.base_model for id_, facts in found.facts.items()} == {
        tiny.id: "demo-flux-tiny",
        sdxl.id: "sdxl-1.0",
        bare.id: "sd-1.5",
    }


def test_what_one_signal_finds_has_the_scores_of_all(session: Session) -> None:
    """Else an adapter that is second by everything loses to one that is first by something."""
    add_adapter(session, embedding=axis(0), captions=[("a", axis(0))])
    named = add_adapter(
        session, name="fox", words="fox", embedding=axis(1), captions=[("b", axis(1))]
    )
    encoder = active_encoder(session, "demo-flux-tiny").name

    found = gather(
        session, Question("fox", TINY, [Aim(TINY, EAST, encoder, EAST)], TEXT_ENCODER, depth=1)
    )

    assert found.positions["weights"].keys() == found.positions["captions"].keys() != {named.id}
    for signal in ("weights", "captions"):
        assert found.scores[signal][named.id] == pytest.approx(0, abs=1e-3)
    assert found.scores["words"] == {named.id: 1.0}


def test_signals_that_are_not_asked_say_nothing(session: Session) -> None:
    add_adapter(session, name="fox", words="fox", captions=[("a", axis(0))])

    found = gather(
        session, Question("fox", TINY, [Aim(TINY, EAST)], TEXT_ENCODER, signals=["words"])
    )

    assert found.scores.keys() == {"words"}


def test_the_same_tensors_have_equal_contents(session: Session) -> None:
    one = add_adapter(session, name="fox", words="fox")
    same = add_adapter(session, name="fox", words="fox", file_sha256=one.file_sha256)
    other = add_adapter(session, name="fox", words="fox")

    facts = gather(session, Question("fox", TINY, [Aim(TINY, EAST)], TEXT_ENCODER)).facts

    assert facts[one.id].contents == facts[same.id].contents != facts[other.id].contents
