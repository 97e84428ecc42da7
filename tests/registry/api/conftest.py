"""The app over a real registry, as a browser or a program reaches it."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import select

from encoder.threads import threads
from registry.api.app import create_app
from registry.db.models import Adapter, Cover
from registry.service import Registry
from tests.builders import add_adapter
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.conftest import embed


@pytest.fixture
def client(registry: Registry) -> Iterator[TestClient]:
    # On loopback only this machine's names are let in.
    with TestClient(create_app(registry), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def drawing(registry: Registry, base_folder: Path) -> Iterator[Registry]:
    """A registry that can make images, if by a random base and without gates."""
    registry.settings.base_models["demo-flux-tiny"] = base_folder
    with threads(1):
        yield registry


def add_file(
    registry: Registry,
    seed: int,
    name: str,
    caption: str = "",
    embedding: list[float] | None = None,
) -> int:
    """Add an adapter whose file is real and lies in the blob store; return its id."""
    registry.settings.home.mkdir(exist_ok=True)
    path = write_adapter(registry.settings.home / f"{seed}.safetensors", make_factors(seed))
    sha256 = registry.blobs.put_file(path)
    captions = [(caption, embed(registry, caption))] if caption else []
    with registry.sessions.begin() as session:
        return add_adapter(
            session,
            name=name,
            words=name,
            file_sha256=sha256,
            file_name="sub/fox.safetensors",
            captions=captions,
            embedding=embedding,
        ).id


def add_cover(registry: Registry, colour: str = "red") -> Adapter:
    """Add an adapter with one cover that is in the blob store."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "WEBP")
    sha256 = registry.blobs.put_bytes(buffer.getvalue())
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, name=colour, captions=[(colour, embed(registry, colour))])
        cover = session.scalars(select(Cover).where(Cover.adapter_id == adapter.id)).one()
        cover.sha256 = cover.thumbnail_sha256 = sha256
    return adapter
