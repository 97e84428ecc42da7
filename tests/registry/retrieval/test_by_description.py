"""A picture found by what a vision model says of it; the model is an endpoint on loopback."""

import pytest

from registry.retrieval.by_description import NOT_DESCRIBED
from registry.service import Registry
from tests.builders import add_adapter
from tests.crawler.pictures.builders import png
from tests.encoder.captions.vlm_server import GOOD, VlmServer, fails, says

SHA = "ab" * 32
PARAMETERS = f'a cat <lora:ink:0.8>\nSteps: 20, Lora hashes: "ink: {SHA[:12]}"'


@pytest.fixture
def fox(registry: Registry, vlm: VlmServer) -> int:
    registry.settings.caption_endpoint = vlm.url
    registry.settings.caption_model = "qwen3-vl"
    with registry.sessions.begin() as session:
        add_adapter(session, name="Blue Car")
        add_adapter(session, name="Ink", file_sha256=SHA)
        return add_adapter(session, name=GOOD["medium"]).id


def test_what_a_description_finds_says_so(registry: Registry, fox: int) -> None:
    page = registry.search_picture(png())

    assert page.description == GOOD["medium"]
    assert page.notes == ()
    ways = {result.card.id: [by.way for by in result.found_by] for result in page.results}
    assert ways[fox] == ["description"]
    assert "Blue Car" not in [result.card.name for result in page.results]


def test_what_a_picture_names_comes_before_what_it_shows(registry: Registry, fox: int) -> None:
    page = registry.search_picture(png(parameters=PARAMETERS))

    assert [result.found_by[0].way for result in page.results][:2] == ["hash", "description"]


def test_a_model_that_fails_is_told_in_a_line(registry: Registry, vlm: VlmServer, fox: int) -> None:
    """The other ways still answer, and nobody waits for further attempts."""
    vlm.answer = lambda request: fails(500, "out of memory")

    page = registry.search_picture(png(parameters=PARAMETERS))

    assert page.notes == (NOT_DESCRIBED,)
    assert page.description == ""
    assert [result.found_by[0].way for result in page.results] == ["hash"]
    assert len(vlm.requests) == 1


def test_an_answer_that_is_no_caption_is_told_too(
    registry: Registry, vlm: VlmServer, fox: int
) -> None:
    vlm.answer = lambda request: says("")

    assert registry.search_picture(png()).notes == (NOT_DESCRIBED,)


def test_an_empty_index_is_described_all_the_same(registry: Registry, vlm: VlmServer) -> None:
    registry.settings.caption_endpoint = vlm.url
    registry.settings.caption_model = "qwen3-vl"

    page = registry.search_picture(png())

    assert (page.description, page.results) == (GOOD["medium"], ())


def test_without_an_endpoint_nothing_is_described(registry: Registry, vlm: VlmServer) -> None:
    assert registry.search_picture(png()).description == ""
    assert vlm.requests == []
