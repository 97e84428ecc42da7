"""What a prompt or a list of adapters becomes, before anything is drawn."""

import re
from pathlib import Path

import pytest

from registry.fusion.errors import BaseModelError, FamilyMismatchError
from registry.service import Registry
from tests.builders import add_adapter


@pytest.fixture
def drawing(registry: Registry, tmp_path: Path) -> Registry:
    """A registry with two bases, whose empty folders say which of them is to draw."""
    for name in ("flux.1-dev", "sdxl-1.0"):
        registry.settings.base_models[name] = tmp_path / name
    return registry


@pytest.mark.parametrize(
    ("made_for", "drawn_by"),
    [
        (["flux.1"], "flux.1-dev"),
        (["flux.1", "flux.1-dev"], "flux.1-dev"),
        (["flux.1-dev", "flux.1"], "flux.1-dev"),
        (["pony", "sdxl-1.0"], "sdxl-1.0"),
    ],
)
def test_the_base_that_draws_all_adapters_is_taken(
    drawing: Registry, made_for: list[str], drawn_by: str
) -> None:
    """Trainers seldom say which FLUX.1 it was, and the order of adapters says nothing of it."""
    with drawing.sessions.begin() as session:
        ids = [add_adapter(session, base_model=name).id for name in made_for]

    # Who gives a size has the base's folder looked into before the adapters.
    with pytest.raises(BaseModelError, match=rf"/{re.escape(drawn_by)}:"):
        drawing.maker.fuse("x", adapters=ids, mode="sum", size=32)


@pytest.mark.parametrize("word", ["flux.1-dev", "FLUX.1 dev", "Flux_1-Dev", "flux", "flux.1"])
def test_a_base_is_meant_however_a_person_writes_it(drawing: Registry, word: str) -> None:
    with pytest.raises(BaseModelError, match=r"/flux\.1-dev:"):
        drawing.maker.fuse("x", adapters=[], base_model=word, mode="base", size=32)


def test_adapters_that_go_together_on_no_base_are_refused_as_such(drawing: Registry) -> None:
    """A base that could be set would not help."""
    with drawing.sessions.begin() as session:
        ids = [add_adapter(session, base_model=name).id for name in ("flux.1", "sdxl-1.0")]

    with pytest.raises(FamilyMismatchError, match=r"sdxl-1\.0.*flux\.1-dev"):
        drawing.maker.fuse("x", adapters=ids, mode="sum")


def test_the_base_of_adapters_that_are_found_is_one_that_is_here(drawing: Registry) -> None:
    """Also where more adapters are for a base that is not."""
    with drawing.sessions.begin() as session:
        for base_model in ("qwen-image", "qwen-image", "flux.1"):
            add_adapter(session, base_model=base_model, name="fox")

    assert drawing.default_base_model() == "flux.1-dev"
    with pytest.raises(BaseModelError, match=r"/flux\.1-dev:"):
        drawing.maker.fuse("fox", mode="sum", size=32)
