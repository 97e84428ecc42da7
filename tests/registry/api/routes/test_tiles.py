"""What a tile says and does beside naming an adapter."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from registry.api.pages.tiles import commercial_use
from registry.config import Blur
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.conftest import add_cover
from tests.registry.api.routes.test_pages import get_page


@pytest.mark.parametrize(
    ("blur", "blurred"),
    [("unrated", {"mature", "unrated"}), ("mature", {"mature"}), ("nothing", set())],
)
def test_pictures_are_blurred_by_their_rating(
    client: TestClient, registry: Registry, blur: Blur, blurred: set[str]
) -> None:
    """By the server, before the first paint; who is not rated counts as the operator says."""
    with registry.sessions.begin() as session:
        for name, mature in (("mature", True), ("unrated", None), ("harmless", False)):
            add_adapter(session, name=name, mature=mature, captions=[(name, [1.0] * 512)])
    registry.settings.blur = blur

    page = get_page(client, "/")

    tiles = {re.findall(r'<h3><a href="[^"]+">(\w+)<', tile)[0]: tile for tile in _tiles(page)}
    assert {name for name, tile in tiles.items() if 'class="cover veiled"' in tile} == blurred
    # Each of them can be seen by itself, without a script.
    assert {name for name, tile in tiles.items() if 'class="reveal"' in tile} == blurred
    assert f'<body data-blur="{blur}"' in page


def test_a_file_of_ones_own_says_where_it_is_and_names_no_author(
    client: TestClient, registry: Registry
) -> None:
    """Of two names of a file in one folder, “folder” tells nobody which is which."""
    with registry.sessions.begin() as session:
        mine: dict[str, Any] = {
            "hub": "folder",
            "endpoint": "/loras",
            "author": "",
            "file_sha256": "a" * 64,
        }
        add_adapter(session, name="red fox", file_name="fox.safetensors", **mine)
        add_adapter(session, name="red fox 2", file_name="copies/fox.safetensors", **mine)

    [tile] = _tiles(get_page(client, "/?q=red+fox"))

    assert "by ?" not in tile
    assert "red fox 2 (copies/fox.safetensors)" in tile


def _tiles(page: str) -> list[str]:
    return page.split('<li class="card">')[1:]


def test_a_persons_word_on_blurring_is_kept(client: TestClient, registry: Registry) -> None:
    adapter = add_cover(registry)
    address = f"/adapters/{adapter.id}"
    assert 'class="veiled"' in get_page(client, address)

    assert 'class="veiled"' not in get_page(client, f"{address}?blur=nothing")

    assert 'class="veiled"' not in get_page(client, address)
    assert 'class="cover veiled"' not in get_page(client, "/")
    # What is no level changes nothing.
    assert '<body data-blur="nothing"' in get_page(client, "/?blur=everything")


@pytest.mark.parametrize(
    ("licence", "use"),
    [
        ("Apache-2.0", "yes"),
        ("CreativeML OpenRAIL-M", "yes"),
        ("cc-by-nc-4.0", "no"),
        ("cc-by-nd-4.0", "no"),
        ("flux-1-dev-non-commercial-license", "no"),
        (None, "unknown"),
        ("other", "unknown"),
    ],
)
def test_licences_say_whether_pictures_may_be_sold(licence: str | None, use: str) -> None:
    assert commercial_use(licence) == use


def test_a_tile_tells_what_a_person_asks_first(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(
            session,
            licence="MIT",
            downloads=12345,
            trigger_words=["ohwx fox", "drawn"],
            file_name="loras/fox v2.safetensors",
            record={"strength": 0.75},
        )

    [tile] = _tiles(get_page(client, "/"))

    assert "MIT: may be used commercially" in tile
    assert "12,345" in tile
    assert 'data-copy="ohwx fox, drawn"' in tile
    assert 'data-copy="&lt;lora:fox v2:0.75&gt;"' in tile
    assert "MIT：可商用" in get_page(client, "/?lang=zh")


def test_a_search_by_a_picture_has_a_page_of_its_own(client: TestClient) -> None:
    """The links of the page that answers, to another language, lead there without a picture."""
    page = get_page(client, "/picture?lang=zh")

    assert 'enctype="multipart/form-data"' in page
    assert "没有发现" not in page


def test_a_probability_and_a_count_say_of_what_they_are(
    client: TestClient, registry: Registry
) -> None:
    """A bare “99 %” and “demo (3)” tell nobody what is counted."""
    add_cover(registry)

    page = get_page(client, "/?q=red")
    chinese = get_page(client, "/?q=red&lang=zh")

    assert re.search(r">\d+ % likely to fit<", page)
    assert re.search(r">1 for [\w.-]+ fit or may fit · \d+ ms<", page)
    assert re.search(r">相符概率 \d+ %<", chinese)
    assert re.search(r">[\w.-]+：1 个相符或可能相符 · 用时 \d+ 毫秒<", chinese)


def test_a_file_of_ones_own_is_called_mine_and_has_no_downloads(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        mine = add_adapter(session, name="mine", hub="folder", endpoint="/loras", downloads=0)
        add_adapter(session, name="theirs", hub="modelscope", downloads=12_345)
        address = f"/adapters/{mine.id}"

    page = get_page(client, "/?hub=folder")

    assert "Hub: my files" in page
    assert '<span class="value">my files</span>' in page
    assert "Downloads" not in page
    assert "Downloads" not in get_page(client, address)
    assert "12,345" in get_page(client, "/?hub=modelscope")
    assert "来源：我的文件" in get_page(client, "/?hub=folder&lang=zh")


def test_a_name_read_from_the_right_leaves_its_strength_behind_it(
    client: TestClient, registry: Registry
) -> None:
    """`<lora:قطة:1>` is shown as `<lora:1:قطة>` where the name is no run of text of its own."""
    with registry.sessions.begin() as session:
        cat = add_adapter(session, name="قطة", file_name="قطة.safetensors")
        address = f"/adapters/{cat.id}"

    page = get_page(client, address)

    assert '<code class="break"><bdi>&lt;lora:قطة</bdi>:1&gt;</code>' in page
    # What is copied has no signs of its own.
    assert 'data-copy="&lt;lora:قطة:1&gt;"' in page
