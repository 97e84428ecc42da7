"""An adapter that a person took out stays out, whatever hubs and readers say."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from crawler.hashed_file import hash_file
from crawler.sources.folder import FolderSource
from registry.api.app import create_app
from registry.db.models import Adapter, File
from registry.errors import AdapterNotFoundError, NotRemovedError
from registry.refresh.pipeline import Pipeline
from registry.service import Registry
from tests.crawler.builders import image_bytes
from tests.encoder.builders import make_factors, write_adapter


def refresh(registry: Registry, folder: Path) -> None:
    registry.settings.home.mkdir(exist_ok=True)
    pipeline = Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)
    list(pipeline.refresh(FolderSource(folder)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for seed, name in enumerate(("fox", "owl")):
        write_adapter(folder / f"{name}.safetensors", make_factors(seed))
    return folder


def names(registry: Registry) -> list[str]:
    return sorted(card.name for card in registry.browse().cards)


def test_it_is_out_of_search_at_once_and_no_refresh_brings_it_back(
    registry: Registry, folder: Path
) -> None:
    refresh(registry, folder)
    fox = next(card.id for card in registry.browse().cards if card.name == "fox")

    assert registry.remove(fox) == "fox"

    assert names(registry) == ["owl"]
    assert registry.adapter(fox).card.state == "refused"
    # What is said of it changes, and it is read by another reader.
    (folder / "fox.json").write_text(json.dumps({"description": "A better fox."}))
    refresh(registry, folder)
    with registry.sessions.begin() as session:
        session.execute(update(File).values(reader_version="another"))
    refresh(registry, folder)
    # The blob store loses it, and it is due to be read.
    with registry.sessions.begin() as session:
        lost = session.get_one(Adapter, fox).file_sha256
        session.execute(update(File).values(reader_version="another"))
    assert lost is not None
    registry.blobs.path(lost).unlink()
    for _ in range(2):
        refresh(registry, folder)
    # Its bytes change, it goes and comes.
    write_adapter(folder / "fox.safetensors", make_factors(9))
    refresh(registry, folder)
    (folder / "fox.safetensors").rename(folder / "fox.away")
    refresh(registry, folder)
    (folder / "fox.away").rename(folder / "fox.safetensors")
    refresh(registry, folder)
    assert names(registry) == ["owl"]
    assert registry.adapter(fox).card.state == "refused"

    registry.take_back(fox)
    refresh(registry, folder)

    assert names(registry) == ["fox", "owl"]
    with pytest.raises(NotRemovedError):
        registry.take_back(fox)
    with pytest.raises(AdapterNotFoundError):
        registry.remove(10**9)


def test_what_changed_while_it_was_out_is_seen_when_it_is_taken_back(
    registry: Registry, folder: Path
) -> None:
    """No later listing says it again: it is listed as it was then."""
    refresh(registry, folder)
    fox = next(card.id for card in registry.browse().cards if card.name == "fox")
    registry.remove(fox)
    path = write_adapter(folder / "fox.safetensors", make_factors(9))
    (folder / "fox.png").write_bytes(image_bytes(kind="PNG"))
    refresh(registry, folder)

    registry.take_back(fox)
    refresh(registry, folder)

    detail = registry.adapter(fox)
    assert (detail.card.state, detail.card.file_sha256) == ("ready", hash_file(path))
    assert len(detail.covers) == 1


def test_what_was_refused_before_is_refused_again_when_it_is_taken_back(
    registry: Registry, folder: Path
) -> None:
    """Its file was read by this reader, and is not read again to say why."""
    factors = {name: (down * float("nan"), up) for name, (down, up) in make_factors().items()}
    write_adapter(folder / "fox.safetensors", factors)
    refresh(registry, folder)
    with registry.sessions() as session:
        fox = session.scalars(select(Adapter).where(Adapter.name == "fox")).one()
    assert fox.refusal

    registry.remove(fox.id)
    registry.take_back(fox.id)
    refresh(registry, folder)

    card = registry.adapter(fox.id).card
    assert (card.state, card.refusal) == ("refused", fox.refusal)


def test_it_is_taken_out_and_back_over_http_and_on_its_page(
    registry: Registry, folder: Path
) -> None:
    refresh(registry, folder)
    fox = next(card.id for card in registry.browse().cards if card.name == "fox")
    with TestClient(create_app(registry), base_url="http://127.0.0.1") as client:
        assert client.put(f"/v1/adapters/{fox}/removal").status_code == 204
        assert names(registry) == ["owl"]
        assert "taken out by a person" in client.get(f"/adapters/{fox}").text
        assert client.delete(f"/v1/adapters/{fox}/removal").status_code == 204
        assert client.delete(f"/v1/adapters/{fox}/removal").status_code == 409
        refresh(registry, folder)

        page = client.post(f"/adapters/{fox}/removal")
        assert page.status_code == 200
        assert 'name="back"' in page.text
        client.post(f"/adapters/{fox}/removal", data={"back": "yes"})
    refresh(registry, folder)
    assert names(registry) == ["fox", "owl"]
