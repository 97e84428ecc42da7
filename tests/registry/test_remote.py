"""Images made here with adapters of a registry elsewhere: another app, reached as by HTTP."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import update

from crawler.disk import DiskLimits
from crawler.errors import FileTooLargeError
from registry.api.app import create_app
from registry.config import Settings
from registry.connection import (
    RemoteError,
    RemoteFileError,
    RemoteRefusedError,
    RemoteSenseError,
    RemoteUnreachableError,
)
from registry.db.models import Adapter
from registry.errors import (
    AdapterNotFoundError,
    BlobMismatchError,
    NoBaseModelError,
)
from registry.fusion.options import MOST_ADAPTERS
from registry.remote import RegistryClient, RemoteRegistry
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.conftest import add_file
from tests.registry.conftest import add_real_encoder, embed
from tests.registry.fusion.builders import BASE_MODEL, save_tiny_base
from tests.registry.test_imports import run

HOST = "http://127.0.0.1"


class App(httpx.BaseTransport):
    """The API over a real registry, without a socket between."""

    def __init__(self, registry: Registry) -> None:
        self.app = create_app(registry)
        self._client = TestClient(self.app, base_url=HOST)
        self.methods: list[str] = []
        self.paths: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.methods.append(request.method)
        self.paths.append(request.url.path)
        answer = self._client.request(
            request.method,
            str(request.url),
            headers=dict(request.headers),
            content=request.read(),
        )
        headers = answer.headers.copy()
        # The test client has unpacked it.
        headers.pop("Content-Encoding", None)
        headers.pop("Content-Length", None)
        return httpx.Response(answer.status_code, headers=headers, content=answer.content)


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

    fused = remote.maker.fuse("a fox", mode="sum", steps=2, size=32)
    again = remote.maker.reproduce(fused.recipe)

    assert [used.id for used in fused.recipe.adapters] == [fox]
    assert again.image.tobytes() == fused.image.tobytes()
    assert fused.image.size == (32, 32)
    files = [path for path in app.paths if path.startswith("/v1/files/")]
    assert len([path for path in files if not path.endswith("/peft-config")]) == 1


def test_mature_adapters_there_are_not_drawn_with_where_they_are_hidden(
    registry: Registry, remote: RemoteRegistry
) -> None:
    fox = add_file(registry, 1, "fox", "a fox")
    with registry.sessions.begin() as session:
        session.execute(update(Adapter).where(Adapter.id == fox).values(mature=True))

    with pytest.raises(RemoteError, match="suits 'a fox'"):
        remote.maker.fuse("a fox", mature="hide", mode="sum")


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


def test_what_a_prompt_calls_for_is_drawn_with_and_is_no_word_of_it(
    registry: Registry, remote: RemoteRegistry
) -> None:
    """Else the text encoder reads `<lora:ink:0.6>` letter by letter, and nobody is told."""
    add_file(registry, 1, "fox", "a fox")
    ink = add_file(registry, 2, "ink")

    called = remote.maker.fuse("a fox, <lora:ink:0.6>", mode="sum", steps=1).recipe
    beside = remote.maker.fuse("<lora:ink:2> x", adapters=[ink], mode="sum", steps=1).recipe
    alone = remote.maker.fuse("a fox, <lora:ink:0.6>", mode="base", steps=1).recipe

    assert [(used.id, used.strength) for used in called.adapters] == [(ink, 0.6)]
    assert called.prompt == "a fox"
    assert [(used.id, used.strength) for used in beside.adapters] == [(ink, 1)]
    assert (beside.prompt, alone.prompt, list(alone.adapters)) == ("x", "a fox", [])


def test_a_prompt_may_call_for_more_than_a_server_draws_with(
    registry: Registry, remote: RemoteRegistry
) -> None:
    """It is drawn here, where nobody else waits."""
    ids = [add_file(registry, number, f"a{number}") for number in range(MOST_ADAPTERS + 1)]
    calls = "".join(f"<lora:a{number}:1>" for number in range(len(ids)))

    recipe = remote.maker.fuse(f"a fox {calls}", mode="sum", check=False, steps=1, size=32).recipe

    assert [used.id for used in recipe.adapters] == ids


def test_what_is_called_is_compared_with_the_same_words_as_what_is_named(
    registry: Registry, remote: RemoteRegistry
) -> None:
    """Else gates cannot tell which adapter a part of the prompt is for."""
    add_real_encoder(registry)
    fox = add_file(registry, 1, "fox", embedding=embed(registry, "a fox"))
    ink = add_file(registry, 2, "ink", embedding=embed(registry, "ink wash"))
    prompt = "a fox in snow, ink wash"

    called = remote.maker.fuse(
        f"{prompt}, <lora:ink:0.8>", adapters=[fox], mode="sum", steps=1
    ).recipe
    named = remote.maker.fuse(
        prompt, adapters=[fox, ink], strengths=[None, 0.8], mode="sum", steps=1
    ).recipe

    assert [(used.id, used.strength) for used in called.adapters] == [(fox, 1.0), (ink, 0.8)]
    assert called.adapters == named.adapters
    assert all(used.relevance is not None for used in called.adapters)


def test_where_no_strength_is_given_the_adapters_own_counts(
    registry: Registry, remote: RemoteRegistry
) -> None:
    own, plain = (add_file(registry, seed, f"a{seed}") for seed in (1, 2))
    with registry.sessions.begin() as session:
        adapter = session.get_one(Adapter, own)
        adapter.record = {**adapter.record, "strength": 0.6}

    ids = [own, plain]

    found = remote.maker.fuse("x", adapters=ids, mode="sum", steps=1).recipe
    given = remote.maker.fuse("x", adapters=ids, strengths=[None, 0.5], mode="sum", steps=1).recipe

    assert [used.strength for used in found.adapters] == [0.6, 1.0]
    assert [used.strength for used in given.adapters] == [0.6, 0.5]


def test_only_adapters_are_had_by_their_hash(registry: Registry, remote: RemoteRegistry) -> None:
    """The blob store holds covers and checkpoints too."""
    cover = registry.blobs.put_bytes(b"a cover")
    with pytest.raises(RemoteFileError, match="no adapter that is ready here"):
        remote.client.file(cover)


def test_a_file_that_vanished_there_is_said(registry: Registry, remote: RemoteRegistry) -> None:
    """In its words: to refresh the registry here would bring nothing back there."""
    fox = add_file(registry, 1, "fox")
    sha256 = registry.adapter(fox).card.file_sha256
    assert sha256 is not None
    registry.blobs.path(sha256).unlink()
    with pytest.raises(RemoteFileError, match=f"registry at http.* not give .*{sha256[:12]}.*says"):
        remote.maker.fuse("x", adapters=[fox], mode="sum")


def test_a_base_that_is_not_here_is_said(registry: Registry, remote: RemoteRegistry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, base_model="sdxl-1.0")
    with pytest.raises(NoBaseModelError, match="sdxl"):
        remote.maker.fuse("x", mode="sum")


def test_adapters_there_that_leave_the_base_open_are_drawn_with_one_here(
    registry: Registry, app: App, tmp_path: Path
) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, base_model="flux.1")
    settings = Settings(home=tmp_path / "here", url=HOST, base_models={"flux.1-dev": tmp_path})
    with RemoteRegistry(settings, app) as remote:
        assert remote.default_base_model() == "flux.1-dev"
        assert len(remote.choose("adapter")) == 1


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
        (lambda _: httpx.Response(200, text="<html>"), RemoteSenseError, "not JSON"),
        (lambda _: httpx.Response(502, text="bad"), RemoteUnreachableError, "status 502"),
        (lambda _: httpx.Response(200, json=[{}]), RemoteSenseError, "0.adapter: Field required"),
        (lambda _: httpx.Response(401), RemoteRefusedError, "REGISTRY_TOKEN"),
        (
            lambda _: httpx.Response(401, json={"detail": "It was revoked."}),
            RemoteRefusedError,
            "It was revoked; set REGISTRY_TOKEN",
        ),
        (
            lambda _: httpx.Response(404, json={"detail": "nothing fits"}),
            RemoteError,
            "^nothing fits$",
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


def choice(adapter_id: int = 1, **facts: Any) -> dict[str, Any]:
    """What a registry says of an adapter that it chose."""
    adapter = {
        "id": adapter_id,
        "name": "fox",
        "base_model": BASE_MODEL,
        "file_sha256": "a" * 64,
        "trigger_words": [],
        "licence": None,
        "more": "of a later version",
    }
    return {"adapter": adapter | facts, "similarities": [0.5], "embedding": None}


def test_an_ordinary_answer_is_understood(tmp_path: Path) -> None:
    client = client_of(lambda _: httpx.Response(200, json=[choice()]), tmp_path)

    [chosen] = client.choose("a fox")

    assert (chosen.card.name, chosen.similarities) == ("fox", (0.5,))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        "text",
        7,
        [],  # would draw the base alone, as if that had been asked for
        [None],
        [[]],
        [choice(i) for i in range(4)],  # of 3 at most
        [choice(id="x")],
        [choice(name=None)],
        [choice(name="x" * 100_000)],
        [choice(file_sha256="../../../etc/passwd")],
        [choice(trigger_words="fox")],
        [choice(trigger_words=["x"] * 1000)],
        [choice() | {"similarities": ["x"]}],
        [choice() | {"similarities": [1e999]}],
        [choice() | {"embedding": {}}],
        [choice() | {"embedding": []}],
    ],
)
def test_an_answer_that_makes_no_sense_is_one_line(answer: Any, tmp_path: Path) -> None:
    """Whatever answers there: another program, a later version, or a stranger."""
    body = json.dumps(answer)
    client = client_of(lambda _: httpx.Response(200, text=body), tmp_path)

    with pytest.raises(RemoteSenseError, match=f"{HOST} makes no sense") as caught:
        client.choose("a fox", 3)

    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("answer", [[choice(9)], [choice(7), choice(7)]])
def test_other_adapters_than_those_named_are_refused(answer: Any, tmp_path: Path) -> None:
    client = client_of(lambda _: httpx.Response(200, json=answer), tmp_path)

    with pytest.raises(RemoteSenseError, match="other adapters"):
        client.named_adapters("a fox", [7, 8])


@pytest.mark.parametrize("answer", [None, [], {"base_models": []}, {"base_models": {"a": "x"}}])
def test_base_models_that_make_no_sense_are_one_line(answer: Any, tmp_path: Path) -> None:
    client = client_of(lambda _: httpx.Response(200, json=answer), tmp_path)

    with pytest.raises(RemoteSenseError):
        client.base_models()


def endless() -> Iterator[bytes]:
    while True:
        yield b" " * 100_000


@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_that_does_not_end_is_left(status: int, tmp_path: Path) -> None:
    client = client_of(lambda _: httpx.Response(status, content=endless()), tmp_path)

    with pytest.raises(RemoteError):
        client.choose("a fox")


def test_a_file_that_does_not_end_is_left(tmp_path: Path) -> None:
    """And nothing of it stays."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=endless()))
    limits = DiskLimits(max_file_bytes=1_000_000)
    client = RegistryClient(HOST, tmp_path, None, transport, limits)

    with pytest.raises(FileTooLargeError):
        client.file("a" * 64)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_a_killed_process_left_of_a_file_is_removed_by_the_next(tmp_path: Path) -> None:
    """It may be as large as the file."""
    content = b"the file of an adapter"
    sha256 = hashlib.sha256(content).hexdigest()
    client = client_of(lambda _: httpx.Response(200, content=content), tmp_path)
    client.file(sha256)
    (tmp_path / "tmp" / "half").write_bytes(content[:9])
    client.file(sha256).unlink()

    path = client.file(sha256)

    assert path.read_bytes() == content
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [path]


def test_a_file_in_gzip_in_gzip_is_left_packed(tmp_path: Path) -> None:
    """A KB of it may be a GB, which httpx would unpack at once."""
    headers = {"Content-Encoding": "gzip, gzip"}
    client = client_of(lambda _: httpx.Response(200, headers=headers), tmp_path)

    with pytest.raises(RemoteSenseError, match="coding"):
        client.file("a" * 64)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", ["http://[::1", "http://*é.x", "ftp://x", "", "http://x\x1b[2J"])
def test_what_is_no_address_is_one_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(RemoteUnreachableError) as caught:
        RegistryClient(url, tmp_path).base_models()

    assert str(caught.value).isprintable()


def test_the_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, registry.remote; "
        "print([n for n in ('torch', 'sqlalchemy', 'fastapi', 'diffusers') if n in sys.modules])"
    )
    assert run(code) == "[]"
