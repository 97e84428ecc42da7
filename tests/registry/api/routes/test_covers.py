"""Covers that are drawn here, asked for over HTTP and on pages."""

import io
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import select

from registry.db.drawn_covers import DrawnCover
from registry.fusion.studio import Studio
from registry.service import Registry
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.api.conftest import add_cover, add_file

PATIENCE_SECONDS = 60


def test_a_cover_is_drawn_for_who_asks_and_marked_wherever_it_is_shown(
    client: TestClient, drawing: Registry
) -> None:
    fox = add_file(drawing, 1, "ink_fox")
    assert "Draw a cover" in client.get(f"/adapters/{fox}").text

    answer = client.post(f"/v1/adapters/{fox}/cover")

    assert answer.status_code == 200, answer.text
    [cover] = answer.json()["covers"]
    assert cover["source"] == "drawn"
    assert cover["recipe"]["prompt"] == "ink fox"
    assert cover["recipe"]["seed"] == 0
    shown = client.get(cover["url"])
    assert Image.open(io.BytesIO(shown.content)).size == (cover["width"], cover["height"])
    assert client.get(cover["thumbnail_url"]).status_code == 200
    [listed] = client.get("/v1/adapters").json()["items"]
    assert [one["source"] for one in listed["covers"]] == ["drawn"]
    page = client.get(f"/adapters/{fox}").text
    assert "This one was drawn here" in page
    assert "Draw a cover" not in page
    assert "Drawn here" in client.get("/").text
    in_chinese = client.get("/", headers={"Accept-Language": "zh-CN"}).text
    assert "本地生成" in in_chinese


def test_it_is_drawn_by_the_button_too(client: TestClient, drawing: Registry) -> None:
    fox = add_file(drawing, 1, "fox")

    answer = client.post(f"/adapters/{fox}/cover", follow_redirects=False)

    assert answer.headers["location"] == f"/adapters/{fox}#covers"
    assert client.get(f"/v1/adapters/{fox}").json()["covers"][0]["source"] == "drawn"


def test_an_adapter_with_a_cover_of_its_own_is_drawn_none(
    client: TestClient, drawing: Registry
) -> None:
    adapter = add_cover(drawing)

    answer = client.post(f"/v1/adapters/{adapter.id}/cover")

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:autolora:problem:has-cover"
    assert client.get(f"/v1/adapters/{adapter.id}").json()["covers"][0]["source"] == "hub"


def test_without_a_base_nothing_is_offered_and_nothing_drawn(
    client: TestClient, registry: Registry
) -> None:
    fox = add_file(registry, 1, "fox")
    registry.settings.base_models.clear()

    answer = client.post(f"/v1/adapters/{fox}/cover")

    assert answer.json()["type"] == "urn:autolora:problem:no-base-model"
    assert "Draw a cover" not in client.get(f"/adapters/{fox}").text
    assert client.post("/v1/adapters/12345/cover").status_code == 404


def test_a_folder_has_its_missing_covers_drawn(
    client: TestClient, drawing: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    write_adapter(folder / "fox.safetensors", make_factors(1))
    drawing.folders.add(str(folder))
    assert "Draw missing covers" in client.get("/folders").text

    client.post("/folders/refresh", data={"path": str(folder), "draw": "yes"})

    end = time.monotonic() + PATIENCE_SECONDS
    while not (drawn := _drawn(drawing)):
        assert time.monotonic() < end
        time.sleep(0.1)
    [listed] = client.get("/v1/adapters").json()["items"]
    assert drawn == [listed["id"]]
    assert [one["source"] for one in listed["covers"]] == ["drawn"]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set when the first cover is about to be drawn."""
    ended = threading.Event()
    load = Studio._backend

    def load_and_end(studio: Studio, base_model: str) -> Any:
        ended.set()
        return load(studio, base_model)

    monkeypatch.setattr(Studio, "_backend", load_and_end)
    return ended


def test_a_server_that_ends_gives_up_the_cover_at_work(
    client: TestClient, drawing: Registry, ended: threading.Event
) -> None:
    """Ctrl-C is not to wait until it is drawn, which takes minutes."""
    fox = add_file(drawing, 1, "fox")
    client.app.state.queue.closing = ended  # type: ignore[attr-defined]

    answer = client.post(f"/v1/adapters/{fox}/cover")

    assert answer.status_code == 503
    assert _drawn(drawing) == []


def test_a_refresh_that_ends_gives_up_the_cover_at_work(
    drawing: Registry, tmp_path: Path, ended: threading.Event
) -> None:
    """And goes on from there the next time."""
    folder = tmp_path / "loras"
    folder.mkdir()
    write_adapter(folder / "fox.safetensors", make_factors(1))
    path = drawing.folders.add(str(folder))

    drawing.folders.refresh(path, ended.is_set, draw_covers=True)

    assert ended.is_set()
    assert _drawn(drawing) == []
    assert [facts.problem for facts in drawing.folders.all()] == ["interrupted"]


def _drawn(registry: Registry) -> list[int]:
    with registry.sessions() as session:
        return list(session.scalars(select(DrawnCover.adapter_id)))
