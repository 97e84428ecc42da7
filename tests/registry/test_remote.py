"""Images made here with adapters of a registry elsewhere: another app, reached as by HTTP."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from registry.api.app import create_app
from registry.config import Settings
from registry.errors import (
    AdapterNotFoundError,
    BlobMismatchError,
    BlobNotFoundError,
    NoBaseModelError,
)
from registry.remote import (
    RegistryClient,
    RemoteError,
    RemoteRefusedError,
    RemoteRegistry,
    RemoteUnreachableError,
)
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.conftest import add_file
from tests.registry.fusion.builders import BASE_MODEL, save_tiny_base
from tests.registry.test_imports import run

HOST = "http://127.0.0.1"


class App(httpx.BaseTransport):
    """The API over a real registry, without a socket between."""

    def __init__(self, registry: Registry) -> None:
        self._client = TestClient(create_app(registry), base_url=HOST)
        self.paths: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        answer = self._client.get(str(request.url), headers=dict(request.headers))
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def app(registry: Registry) -> App:
    return App(registry)


@pytest.fixture
def remote(app: App, tmp_path: Path) -> Iterator[RemoteRegistry]:
    """A machine with a base and without a database, in a home of its own."""
    save_tiny_base(tmp_path / "base")
    settings = Settings(
        home=tmp_path / "here", url=HOST, base_models={BASE_MODEL: tmp_path / "base"}
    )
    with RemoteRegistry(settings, app) as remote:
        yield remote


def test_adapters_found_there_are_drawn_with_here(
    registry: Registry, remote: RemoteRegistry, app: App
) -> None:
    """And drawn again from the recipe, without fetching a file twice."""
    fox = add_file(registry, 1, "fox", "a fox")
    add_file(registry, 2, "train", "a steam locomotive")

    fused = remote.maker.fuse("a fox", mode="sum", steps=2)
    again = remote.maker.reproduce(fused.recipe)

    assert [used.id for used in fused.recipe.adapters] == [fox]
    assert again.image.tobytes() == fused.image.tobytes()
    files = [path for path in app.paths if path.startswith("/v1/files/")]
    assert len([path for path in files if not path.endswith("/peft-config")]) == 1


def test_named_adapters_keep_their_order_and_strengths(
    registry: Registry, remote: RemoteRegistry
) -> None:
    ids = [add_file(registry, seed, f"a{seed}") for seed in (1, 2)]

    recipe = remote.maker.fuse(
        "x", adapters=ids[::-1], strengths=[0.5, 1.0], mode="sum", steps=1
    ).recipe

    assert [(used.id, used.strength) for used in recipe.adapters] == [(ids[1], 0.5), (ids[0], 1.0)]
    with pytest.raises(AdapterNotFoundError, match="999"):
        remote.maker.fuse("x", adapters=[999], mode="sum")


def test_only_adapters_are_had_by_their_hash(registry: Registry, remote: RemoteRegistry) -> None:
    """The blob store holds covers and checkpoints too."""
    cover = registry.blobs.put_bytes(b"a cover")
    with pytest.raises(BlobNotFoundError):
        remote.client.file(cover)


def test_a_file_that_vanished_there_is_said(registry: Registry, remote: RemoteRegistry) -> None:
    fox = add_file(registry, 1, "fox")
    sha256 = registry.adapter(fox).card.file_sha256
    assert sha256 is not None
    registry.blobs.path(sha256).unlink()
    with pytest.raises(BlobNotFoundError):
        remote.maker.fuse("x", adapters=[fox], mode="sum")


def test_a_base_that_is_not_here_is_said(registry: Registry, remote: RemoteRegistry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, base_model="sdxl-1.0")
    with pytest.raises(NoBaseModelError, match="sdxl"):
        remote.maker.fuse("x", mode="sum")


def client_of(
    answer: Callable[[httpx.Request], httpx.Response], folder: Path, token: str | None = None
) -> RegistryClient:
    return RegistryClient(HOST, folder, token, httpx.MockTransport(answer))


def test_bytes_that_are_not_what_was_asked_for_are_not_kept(tmp_path: Path) -> None:
    client = client_of(lambda _: httpx.Response(200, content=b"something else"), tmp_path)
    with pytest.raises(BlobMismatchError):
        client.file("a" * 64)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_token_goes_along(tmp_path: Path) -> None:
    seen: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"base_models": {}})

    client_of(answer, tmp_path, "secret").base_models()
    settings = Settings(home=tmp_path, url=HOST, token=SecretStr("other"))
    with RemoteRegistry(settings, httpx.MockTransport(answer)) as remote:
        remote.client.base_models()
    assert seen == ["Bearer secret", "Bearer other"]


def fail(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused")


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (fail, RemoteUnreachableError, "connection refused.*REGISTRY_URL"),
        (lambda _: httpx.Response(200, text="<html>"), RemoteUnreachableError, "REGISTRY_URL"),
        (lambda _: httpx.Response(502, text="bad"), RemoteUnreachableError, "status 502"),
        (lambda _: httpx.Response(200, json=[{}]), RemoteUnreachableError, "lacks 'adapter'"),
        (lambda _: httpx.Response(401), RemoteRefusedError, "REGISTRY_TOKEN"),
        (
            lambda _: httpx.Response(404, json={"detail": "nothing fits"}),
            RemoteError,
            f"{HOST} says: nothing fits",
        ),
    ],
)
def test_what_goes_wrong_there_is_one_clear_error(
    answer: Callable[[httpx.Request], httpx.Response],
    error: type[RemoteError],
    says: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=says):
        client_of(answer, tmp_path).choose("a fox")


def test_the_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, registry.remote; "
        "print([n for n in ('torch', 'sqlalchemy', 'fastapi', 'diffusers') if n in sys.modules])"
    )
    assert run(code) == "[]"
