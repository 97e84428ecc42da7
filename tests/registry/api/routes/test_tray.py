"""What is put aside to fuse: in the pages' lists, and in the address of the page that fuses."""

import html
import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from registry.api.pages.tray import mark_of
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.conftest import add_cover
from tests.registry.api.routes.test_pages import Tags, get_page
from tests.registry.conftest import add_real_encoder, embed


def chosen_on(page: str) -> list[tuple[int, float]]:
    """The adapters of the page that fuses, in their order, with their strengths."""
    listed = page.partition('id="chosen"')[2].partition("</ol>")[0]
    ids = map(int, re.findall(r'<li data-adapter="(\d+)"', listed))
    strengths = map(float, re.findall(r'<input type="range"[^>]*value="([^"]+)"', listed))
    return list(zip(ids, strengths, strict=True))


def test_an_address_keeps_adapters_in_order_with_their_strengths(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        fox, ink, ice = (add_adapter(session, name=name).id for name in ("fox", "ink", "ice"))

    asked = f"adapter={ink}&adapter={ice}&adapter={fox}&strength=0.35&strength=1.5"
    page = get_page(client, f"/fuse?{asked}&prompt=a+fox")

    assert chosen_on(page) == [(ink, 0.35), (ice, 1.5), (fox, 1.0)]
    assert ">a fox</textarea>" in page


def test_one_is_taken_away_without_a_script(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        fox, ink = (add_adapter(session, name=name).id for name in ("fox", "ink"))

    page = get_page(
        client, f"/fuse?adapter={fox}&adapter={ink}&strength=1.5&strength=0.35&prompt=a+fox"
    )

    links = re.findall(r'class="without" href="([^"]+)"', page)
    assert [link.replace("&amp;", "&") for link in links] == [
        f"/fuse?prompt=a+fox&adapter={ink}&strength=0.35",
        f"/fuse?prompt=a+fox&adapter={fox}&strength=1.5",
    ]


def test_an_adapters_own_strength_is_where_none_is_named(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, record={"strength": 0.6})

    assert chosen_on(get_page(client, f"/fuse?adapter={adapter.id}")) == [(adapter.id, 0.6)]
    assert 'data-strength="0.6"' in get_page(client, "/")
    # As exactly as it is typed; the slider has steps of .05.
    typed = get_page(client, f"/fuse?adapter={adapter.id}&strength=0.83")
    assert re.search(r'<input type="number" name="strength"[^>]* value="0.83"', typed)
    assert typed.count('name="strength"') == 2  # and in the template of an item


@pytest.mark.parametrize("strength", ["5", "nan", "inf", "much"])
def test_strengths_that_nobody_draws_with_are_refused(client: TestClient, strength: str) -> None:
    assert client.get(f"/fuse?adapter=1&strength={strength}").status_code == 422


def test_an_adapter_that_is_gone_leaves_the_others(client: TestClient, registry: Registry) -> None:
    """What a browser keeps may be older than what is here."""
    with registry.sessions.begin() as session:
        adapter = add_adapter(session)

    page = get_page(client, f"/fuse?adapter=99999&adapter={adapter.id}&strength=0.5&strength=0.25")

    assert chosen_on(page) == [(adapter.id, 0.25)]
    assert "Adapter 99999 is no longer here." in page
    assert 'data-missing="99999"' in page


def test_adapters_that_no_base_draws_together_are_told_at_once(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        flux = add_adapter(session, base_model="flux.1-dev").id
        pony = add_adapter(session, base_model="pony").id
        sdxl = add_adapter(session, base_model="sdxl-1.0").id

    assert "none draws with together" in get_page(client, f"/fuse?adapter={flux}&adapter={pony}")
    assert "none draws with" not in get_page(client, f"/fuse?adapter={pony}&adapter={sdxl}")
    # The scripts that refuse them know the same.
    said = dict(Tags(get_page(client, "/")).attributes)
    drawn_by = json.loads(said["data-drawn-by"])
    assert drawn_by["pony"] == ["pony", "sdxl-1.0"]
    assert set(drawn_by["flux.1-dev"]).isdisjoint(drawn_by["pony"])


def test_the_page_draws_with_a_base_that_can_run(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        pony = add_adapter(session, base_model="pony").id
        add_adapter(session, base_model="sdxl-1.0")
    registry.settings.base_models["sdxl-1.0"] = registry.settings.home

    page = get_page(client, f"/fuse?adapter={pony}")

    said = dict(Tags(page).attributes)
    assert said["data-base-model"] == "sdxl-1.0"
    assert json.loads(said["data-runnable"]) == ["sdxl-1.0"]
    assert "No image can be made here" not in page


def test_the_page_draws_what_leaves_its_base_open(client: TestClient, registry: Registry) -> None:
    """Of trainers' "flux.1" nobody says which it was; where a base can draw it, it is drawn."""
    with registry.sessions.begin() as session:
        open_name = add_adapter(session, base_model="flux.1").id
    registry.settings.base_models["flux.1-dev"] = registry.settings.home

    for query in ("", f"?adapter={open_name}"):
        assert "No image can be made here" not in get_page(client, f"/fuse{query}")
    said = dict(Tags(get_page(client, f"/fuse?adapter={open_name}")).attributes)
    assert said["data-base-model"] == "flux.1-dev"


def test_where_nothing_can_be_drawn_it_is_said_what_to_set(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        pony = add_adapter(session, base_model="pony").id

    page = html.unescape(get_page(client, f"/fuse?adapter={pony}"))

    assert """REGISTRY_BASE_MODELS='{"pony": "/path/to/diffusers/folder"}'.""" in page


def test_trays_of_two_registries_at_one_address_are_told_apart(
    client: TestClient, registry: Registry, tmp_path: Path
) -> None:
    """The demo and one's own are both at 127.0.0.1:8000, and number their adapters alike."""
    mark = dict(Tags(get_page(client, "/fuse")).attributes)["data-registry"]

    assert mark == mark_of(registry.settings.home)
    assert mark != mark_of(tmp_path / "another")
    # The browser learns nothing of this machine's folders.
    assert str(registry.settings.home) not in get_page(client, "/")


def test_a_choice_says_what_it_was_made_for(client: TestClient, registry: Registry) -> None:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        for name in ("fox", "snow"):
            add_adapter(session, name=name, words=name, embedding=embed(registry, name))

    answer = client.get("/v1/choose", params={"prompt": "a fox in the snow", "k": 2})

    assert answer.status_code == 200, answer.text
    assert answer.json()
    assert all(choice["part"] and choice["part"] in "a fox in the snow" for choice in answer.json())


def test_every_tile_can_be_put_aside(client: TestClient, registry: Registry) -> None:
    """As a plain form, and with all that a script shows of it on other pages."""
    adapter = add_cover(registry)

    for url in ("/", "/?q=red", f"/adapters/{adapter.id}"):
        page = get_page(client, url)
        [box] = re.findall(r'<input type="checkbox" name="adapter"[^>]*>', page)
        said = dict(Tags(box).attributes)
        assert (said["value"], said["form"]) == (str(adapter.id), "tray")
        assert (said["data-name"], said["data-base"]) == ("red", "demo-flux-tiny")
        assert client.get(said["data-cover"]).status_code == 200
        assert '<form class="tray" id="tray" action="/fuse" method="get"' in page
