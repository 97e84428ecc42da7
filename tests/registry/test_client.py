"""A registry elsewhere, asked from Python."""

import gzip
import io
import json
import tracemalloc
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

import registry as package
from crawler.errors import AutoLoraError
from crawler.hashed_file import hash_file
from crawler.hub_json import MAX_JSON_BYTES
from registry import connection
from registry.api.app import create_app
from registry.api.schemas.fuse import FuseRequest
from registry.client import Client
from registry.connection import (
    RemoteError,
    RemoteLacksError,
    RemoteRefusedError,
    RemoteSenseError,
    RemoteUnreachableError,
)
from registry.db.models import Adapter
from registry.errors import (
    BlobMismatchError,
    FileInTheWayError,
    FolderClosedError,
    RegistryError,
    StrengthsError,
)
from registry.fusion.errors import SamplingError
from registry.fusion.exports.adapters import exported
from registry.local import LocalReader
from registry.retrieval.errors import FilterError, SearchError
from registry.retrieval.given_values import Paging
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.conftest import add_file
from tests.registry.api.routes.test_exports import recipe_of
from tests.registry.api.servers import served
from tests.registry.conftest import add_real_encoder, embed
from tests.registry.fusion.builders import BASE_MODEL
from tests.registry.test_remote import HOST, App


@pytest.fixture
def client(registry: Registry) -> Iterator[Client]:
    with Client(HOST, transport=App(registry)) as client:
        yield client


def test_what_is_found_there_is_what_the_registry_itself_finds(
    registry: Registry, client: Client
) -> None:
    fox = add_file(registry, 1, "fox", "a fox")
    train = add_file(registry, 2, "train", "a steam locomotive")

    there = client.search("a fox", limit=2, author=["someone"], commercial=None)
    here = registry.search("a fox", paging=Paging(limit=2))

    assert [result.adapter.id for result in there.results] == [
        result.card.id for result in here.results
    ]
    assert there.results[0].adapter.id == fox
    with pytest.raises(RemoteError, match="no adapter has the author 'nobody'"):
        client.search("a fox", author="nobody")
    assert {card.id for card in client.list("name").items} == {fox, train}
    assert client.show(fox).file_sha256 == registry.adapter(fox).card.file_sha256
    assert client.similar(fox).compared_by == registry.similar(fox).compared_by


def test_mature_adapters_are_hidden_there_as_here(registry: Registry, client: Client) -> None:
    add_real_encoder(registry)
    texts = ("a fox", "a wolf")
    fox, wolf = (add_file(registry, n, t, t, embed(registry, t)) for n, t in enumerate(texts))
    with registry.sessions.begin() as session:
        session.execute(update(Adapter).where(Adapter.id == wolf).values(mature=True))

    for reader in (client, LocalReader(registry)):
        assert [one.adapter.id for one in reader.similar(fox).results] == [wolf]
        assert reader.similar(fox, mature="hide").results == []
        assert [one.adapter.id for one in reader.choose("a wolf", 1)] == [wolf]
        assert [one.adapter.id for one in reader.choose("a wolf", 1, mature="hide")] == [fox]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_none_is_refused_there_and_here(
    registry: Registry, client: Client, limit: int
) -> None:
    add_file(registry, 1, "fox", "a fox")
    with pytest.raises(RegistryError, match="limit"):
        client.search("a fox", limit=limit)
    with pytest.raises(RegistryError, match="limit"):
        registry.search("a fox", paging=Paging(limit=limit))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"commercial": "maybe"}, "commercial is 'maybe'; it is true or false."),
        ({"trigger_words": "maybe"}, "trigger_words is 'maybe'; it is true or false."),
        ({"like": ["a"]}, "like is 'a'; write a whole number."),
        ({"text": 5}, "text is 5; give a text."),
        ({"text": "x" * 10_001}, "the query has 10,001 characters; "),
        ({"limit": 1000}, "limit is 1000; it is 100 at most."),
        ({"seed": -1}, "seed is -1; it is 0 at least."),
        ({"min_size": -1}, "min_size is -1; write a size"),
        ({"sort": "odd"}, "sort is 'odd'; it is one of relevance, "),
        ({"odd": 1}, "there is no filter odd; there are base_model, "),
    ],
)
def test_what_makes_no_sense_is_refused_there_as_here(
    registry: Registry, client: Client, asked: dict[str, Any], said: str
) -> None:
    for reader in (client, LocalReader(registry)):
        with pytest.raises(SearchError) as caught:
            reader.search(**asked)
        assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "ask",
    [
        lambda reader: reader.list(limit=201),
        lambda reader: reader.list(state="odd"),
        lambda reader: reader.similar(1, limit=101),
        lambda reader: reader.duplicates("fox"),
        lambda reader: reader.show("fox"),
        lambda reader: reader.show(0),
        lambda reader: reader.choose("fox", 9),
        lambda reader: reader.choose("fox", mature="odd"),
        lambda reader: reader.similar(1, mature="odd"),
        lambda reader: reader.facets(author=7),
        lambda reader: reader.runs(0),
        lambda reader: reader.nights(1.5),
    ],
)
def test_all_questions_are_read_the_same_there_and_here(
    registry: Registry, client: Client, ask: Callable[[Any], object]
) -> None:
    said = []
    for reader in (client, LocalReader(registry)):
        with pytest.raises(FilterError) as caught:
            ask(reader)
        said.append(str(caught.value))

    assert said[0] == said[1]


def test_what_is_not_asked_for_is_nothing_there_and_here(
    registry: Registry, client: Client
) -> None:
    fox = add_file(registry, 1, "fox", "a fox")
    nothing: Any = None
    for reader in (client, LocalReader(registry)):
        everything = reader.search(nothing, author=nothing, tag=nothing)
        assert [result.adapter.id for result in everything.results] == [fox]
        assert (everything.total, everything.total_exact) == (1, True)
        assert reader.search("fox").total is None
        assert reader.search(like=fox).results == []


def test_a_long_question_goes_through_a_server(registry: Registry, client: Client) -> None:
    """As many signs as in this process, in any script, with filters."""
    fox = add_file(registry, 1, "fox", "a fox")
    filters: dict[str, Any] = {
        "author": "someone",
        "max_size": "2GB",
        "updated_before": "2100-01-01",
    }
    for question in ("a fox " * 1600, "狐" * 10_000):
        found = client.search(question, unlike_text="\ud800" * 10_000, **filters)
        assert [result.adapter.id for result in found.results] == [fox]


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "狐" * 1000},
        {"text": "a fox " * 300, "unlike_text": "狐狸" * 950},
        {"text": "狐" * 1900, "unlike_text": "狐" * 1900},
        {"text": "fox", "author": ["someone"] * 20, "hub": ["modelscope"] * 20}
        | {"base_model": [BASE_MODEL] * 20, "family": [BASE_MODEL] * 20, "tag": ["animal"] * 20},
    ],
)
def test_a_question_that_no_address_holds_is_sent_as_a_body(
    registry: Registry, asked: dict[str, Any]
) -> None:
    """Proxies refuse addresses beyond 8 kB, and a server more than a hundred of their parts."""
    with registry.sessions.begin() as session:
        add_adapter(session, name="fox", tags=["animal"])
    app = App(registry)
    with Client(HOST, transport=app) as client:
        client.search(**asked)
        client.search("fox")

    assert app.methods == ["POST", "GET"]


def test_advice_from_there_is_a_command_here(client: Client) -> None:
    with pytest.raises(RemoteError, match=r"999\. `autolora list` lists the ones here"):
        client.show(999)


NO_TEXT = "a \ud800 fox\udcff"


def test_half_a_surrogate_pair_is_asked_for_there_as_it_is_here(
    registry: Registry, client: Client
) -> None:
    """A shell hands on bytes that are no text so."""
    fox = add_file(registry, 1, "fox", "a fox")

    assert [result.adapter.id for result in client.search(NO_TEXT).results] == [
        result.card.id for result in registry.search(NO_TEXT).results
    ]
    assert client.search(like=[fox], unlike_text=NO_TEXT).compared_by == ["captions"]
    assert [chosen.adapter.id for chosen in client.choose(NO_TEXT)] == [
        choice.card.id for choice in registry.choose(NO_TEXT)
    ]
    for ask in (client.list, client.facets):
        with pytest.raises(RemoteError, match="no adapter has the author 'ann\\?'"):
            ask(author=["ann\ud800"])
    with pytest.raises(RemoteError, match="cursor"):
        client.runs(cursor=NO_TEXT)


def test_a_prompt_with_half_a_surrogate_pair_is_sent_as_text() -> None:
    """What is drawn by it is for the registry there to say."""
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content.decode()))
        return httpx.Response(422, json={"type": "x", "detail": "not today"})

    with Client(HOST, transport=httpx.MockTransport(answer)) as client:
        drawing: list[Callable[[str], object]] = [
            client.fuse,
            lambda prompt: client.grid(prompt, [1, 2], negative=NO_TEXT),
            client.compare,
        ]
        for draw in drawing:
            with pytest.raises(RemoteError, match="not today"):
                draw(NO_TEXT)

    assert [asked["prompt"] for asked in sent] == ["a ? fox?"] * 3
    assert sent[1]["negative_prompt"] == "a ? fox?"


@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_the_address_of_its_api_is_a_registrys_too(registry: Registry, end: str) -> None:
    fox = add_file(registry, 1, "fox")

    with Client(HOST + end, transport=App(registry)) as client:
        assert client.show(fox).id == fox
        assert client.url == HOST


def test_pages_follow_each_other(registry: Registry, client: Client) -> None:
    ids = [add_file(registry, seed, f"a{seed}") for seed in (1, 2)]

    first = client.list("name", limit=1)
    second = client.list("name", limit=1, cursor=first.next)

    assert [card.id for card in first.items + second.items] == ids
    assert second.next is None


@pytest.mark.parametrize("kind", [str, Path, Path.read_bytes])
def test_a_picture_is_a_path_in_words_too(
    client: Client, tmp_path: Path, kind: Callable[[Path], str | Path | bytes]
) -> None:
    picture = tmp_path / "heart.png"
    Image.new("RGB", (8, 8), "red").save(picture)

    assert client.search_picture(kind(picture)).results == []


def test_a_picture_that_is_not_there_is_told_of(client: Client) -> None:
    with pytest.raises(AutoLoraError, match=r"no/such\.png cannot be read"):
        client.search_picture("no/such.png")


def test_a_refusal_says_what_the_registry_says(client: Client) -> None:
    """And by which problem, for a program, which reads no words."""
    with pytest.raises(RemoteError, match="999") as caught:
        client.show(999)

    assert caught.value.problem == "urn:autolora:problem:adapter-not-found"


def test_a_file_is_saved_under_its_own_name_and_never_over_another(
    registry: Registry, client: Client, tmp_path: Path
) -> None:
    fox, train = (add_file(registry, seed, f"a{seed}") for seed in (1, 2))
    folder = tmp_path / "loras"
    folder.mkdir()

    saved = client.download(fox, folder)

    assert saved == client.download(fox, folder) == folder / "fox.safetensors"
    assert saved.read_bytes() == registry.file(client.show(fox).file_sha256 or "").read_bytes()
    with pytest.raises(FileInTheWayError):
        client.download(train, folder)
    assert list(folder.iterdir()) == [saved]
    (tmp_path / "fox.safetensors").mkdir()
    with pytest.raises(FileInTheWayError):
        client.download(fox, tmp_path)


class Liar(App):
    """A registry that says something else of its adapters."""

    def __init__(self, registry: Registry, **lies: str) -> None:
        super().__init__(registry)
        self._lies = lies

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if request.url.path.endswith("/file"):
            return answer
        return httpx.Response(200, json=json.loads(answer.content) | self._lies)


@pytest.mark.parametrize(
    "name", ["../../.bashrc", "..\\x.exe", ".hidden.safetensors", "a\x1b[2J.safetensors", ""]
)
def test_a_registry_cannot_choose_where_its_file_goes(
    registry: Registry, tmp_path: Path, name: str
) -> None:
    fox = add_file(registry, 1, "fox")
    with Client(HOST, transport=Liar(registry, file_name=name)) as client:
        assert client.download(fox, tmp_path) == tmp_path / f"adapter-{fox}.safetensors"


def test_a_file_that_is_not_the_announced_one_is_not_kept(
    registry: Registry, tmp_path: Path
) -> None:
    fox, folder = add_file(registry, 1, "fox"), tmp_path / "loras"
    folder.mkdir()
    with (
        Client(HOST, transport=Liar(registry, file_sha256="0" * 64)) as client,
        pytest.raises(BlobMismatchError),
    ):
        client.download(fox, folder)

    assert list(folder.iterdir()) == []


class Flaky(App):
    """A network that fails a number of times."""

    def __init__(self, registry: Registry, failures: int) -> None:
        super().__init__(registry)
        self._failures = failures

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._failures:
            self._failures -= 1
            raise httpx.ConnectError("refused", request=request)
        return super().handle_request(request)


def test_a_network_that_fails_twice_is_asked_again_and_one_that_fails_on_is_not(
    registry: Registry,
) -> None:
    with Client(HOST, transport=Flaky(registry, 2)) as client:
        assert client.list().items == []
    with (
        Client(HOST, transport=Flaky(registry, 3)) as client,
        pytest.raises(RemoteUnreachableError, match="refused"),
    ):
        client.list()


class Broken(httpx.SyncByteStream):
    """What comes of an answer before the network fails."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        raise httpx.RemoteProtocolError("peer closed connection")


class BreakingOff(App):
    """A network that fails amid answers of an address, a number of times, and notes the ranges."""

    def __init__(
        self, registry: Registry, failures: int, address: str, after: int, *, ranges: bool = True
    ) -> None:
        super().__init__(registry)
        self._failures, self._address, self._after = failures, address, after
        self._has_ranges = ranges
        self.ranges: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith(self._address):
            return super().handle_request(request)
        self.ranges.append(request.headers.get("range"))
        if not self._has_ranges:
            request.headers.pop("range", None)
        answer = super().handle_request(request)
        if not self._failures:
            return answer
        self._failures -= 1
        stream = Broken(answer.content[: self._after])
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)


def test_an_answer_that_breaks_off_is_asked_for_again(registry: Registry) -> None:
    with Client(HOST, transport=BreakingOff(registry, 2, "/adapters", 9)) as client:
        assert client.list().items == []
    with (
        Client(HOST, transport=BreakingOff(registry, 3, "/adapters", 9)) as client,
        pytest.raises(RemoteUnreachableError, match="peer closed"),
    ):
        client.list()


def test_of_a_file_that_breaks_off_the_rest_is_asked_for(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often, as long as something comes; where nothing does, three times."""
    monkeypatch.setattr(connection, "CHUNK_BYTES", 1000)
    fox, folder = add_file(registry, 1, "fox"), tmp_path / "loras"
    folder.mkdir()

    transport = BreakingOff(registry, 5, "/file", 1000)
    with Client(HOST, transport=transport) as client:
        saved = client.download(fox, folder)

    assert transport.ranges == [None, *(f"bytes={place}000-" for place in range(1, 6))]
    assert hash_file(saved) == registry.adapter(fox).card.file_sha256
    saved.unlink()
    transport = BreakingOff(registry, 5, "/file", 10)
    with (
        Client(HOST, transport=transport) as client,
        pytest.raises(RemoteUnreachableError, match="peer closed"),
    ):
        client.download(fox, folder)
    assert transport.ranges == [None, "bytes=10-", "bytes=20-"]
    assert list(folder.iterdir()) == []


def test_a_file_comes_whole_where_its_rest_does_not(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another file by now, or through a proxy without ranges."""
    monkeypatch.setattr(connection, "CHUNK_BYTES", 1000)
    fox = add_file(registry, 1, "fox")
    transport = BreakingOff(registry, 1, "/file", 1000, ranges=False)

    with Client(HOST, transport=transport) as client:
        saved = client.download(fox, tmp_path)

    assert transport.ranges == [None, "bytes=1000-"]
    assert hash_file(saved) == registry.adapter(fox).card.file_sha256


def test_a_folder_that_is_not_there_is_said_to_be_none(
    registry: Registry, client: Client, tmp_path: Path
) -> None:
    recipe = recipe_of(registry, fox := add_file(registry, 1, "fox"))
    (tmp_path / "file").touch()

    for folder in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(FolderClosedError, match="Make that folder"):
            client.download(fox, folder)
        with pytest.raises(FolderClosedError, match=folder.name):
            client.pack(recipe, folder / "files.zip")


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1", "nothing://x"])
def test_this_machine_is_asked_through_no_proxy(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """One that is set for the world does not know it, and would learn its token."""
    with served(create_app(registry)) as (host, port):
        for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        with Client(f"http://{host}:{port}") as client:
            assert client.list().items == []


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nothing://x", "http://127.0.0.1:x"])
def test_a_proxy_that_cannot_be_used_is_said_to_be_one(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)

    with pytest.raises(RemoteUnreachableError, match=r"(?i)proxy|port"):
        Client("http://registry.example.org")


def test_a_token_is_in_no_error(client: Client) -> None:
    """Files and shells end it with a line's end; what else is odd about it is none."""
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["authorization"])
        return httpx.Response(200, json={"items": [], "next": None})

    with Client(HOST, " autolora_x\n", httpx.MockTransport(answer)) as client:
        client.runs()
    assert sent == ["Bearer autolora_x"]
    for token in ("autolora_x\ny", "autolora_é", "autolora_\x00"):
        with pytest.raises(RemoteRefusedError, match="REGISTRY_TOKEN") as caught:
            Client(HOST, token)
        assert "autolora_" not in str(caught.value)


def test_a_login_in_the_address_is_sent_and_in_no_error() -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["authorization"])
        return httpx.Response(502)

    address = "https://ann:hush@loras.example/v1"
    with (
        Client(address, transport=httpx.MockTransport(answer)) as client,
        pytest.raises(RemoteUnreachableError, match=r"at https://loras\.example does") as caught,
    ):
        client.runs()

    assert sent == [f"Basic {b64encode(b'ann:hush').decode()}"]
    assert "hush" not in str(caught.value)


def test_where_an_address_leads_to_is_said_and_not_followed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(301, headers={"Location": f"https://x.org{request.url.path}?key=1"})

    with (
        Client(HOST, transport=httpx.MockTransport(answer)) as client,
        pytest.raises(RemoteUnreachableError, match=r"to https://x\.org/v1/adapters\)"),
    ):
        client.list()


def test_the_package_offers_it() -> None:
    assert package.Client is Client


class Busy(App):
    """A registry that is busy for a number of requests."""

    def __init__(self, registry: Registry, status: int, times: int, wait: str | None) -> None:
        super().__init__(registry)
        self.left = times
        self._status, self._headers = status, {} if wait is None else {"Retry-After": wait}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self.left:
            return super().handle_request(request)
        self.left -= 1
        return httpx.Response(self._status, headers=self._headers, json={"detail": "come back"})


@pytest.mark.parametrize(
    ("status", "wait"),
    [(429, "0"), (503, "0"), (503, "0.01"), (503, "Thu, 01 Jan 2026 00:00:00 GMT")],
)
def test_a_busy_registry_is_asked_again_when_it_says(
    registry: Registry, status: int, wait: str
) -> None:
    """A proxy in front of it may say so otherwise than it does itself."""
    with Client(HOST, transport=Busy(registry, status, 2, wait)) as client:
        assert client.list().items == []
    with (
        Client(HOST, transport=Busy(registry, status, 3, wait)) as client,
        pytest.raises(RemoteError, match="come back"),
    ):
        client.list()


@pytest.mark.parametrize(("status", "wait"), [(503, None), (503, "soon"), (500, "0"), (409, "0")])
def test_what_does_not_get_better_by_waiting_is_not_asked_again(
    registry: Registry, status: int, wait: str | None
) -> None:
    transport = Busy(registry, status, 3, wait)
    with Client(HOST, transport=transport) as client, pytest.raises(RemoteError):
        client.list()

    assert transport.left == 2


def test_an_index_with_nothing_in_it_is_no_server_that_is_busy(registry: Registry) -> None:
    """Who searches it should not wait for what does not come."""
    transport = App(registry)
    with Client(HOST, transport=transport) as client, pytest.raises(RemoteError):
        client.search("a fox")

    assert transport.paths == ["/v1/search"]


def test_a_registry_of_another_version_is_said_to_be_one(tmp_path: Path) -> None:
    """Its answers have other shapes, it lacks an address, or it knows no such parameter."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/healthz":
            return httpx.Response(200, json={"status": "ok", "version": "0.0.1"})
        kind = {"/v1/facets": "not-found", "/v1/runs": "invalid-request"}.get(request.url.path)
        problem = {"type": f"urn:autolora:problem:{kind}", "detail": "no such thing"}
        return httpx.Response(404 if kind else 200, json=problem)

    with Client(HOST, transport=httpx.MockTransport(answer)) as client:
        for ask in (client.facets, client.runs):
            with pytest.raises(RemoteLacksError, match=r"version \(0\.0\.1; this is"):
                ask()
        with pytest.raises(RemoteSenseError, match="no newer than this one"):
            client.list()


def test_the_files_of_a_recipe_come_as_a_zip(
    registry: Registry, client: Client, tmp_path: Path
) -> None:
    """As they are packed there, and over nothing that is here."""
    recipe = recipe_of(registry, add_file(registry, 1, "fox"))

    packed = client.pack(recipe, tmp_path / "files.zip")

    with zipfile.ZipFile(packed) as zipped:
        (adapter,) = exported(recipe)
        stored = registry.file(adapter.used.sha256).read_bytes()
        assert zipped.read(adapter.file) == stored
    with pytest.raises(FileInTheWayError):
        client.pack(recipe, packed)
    unknown = recipe.adapters[0].model_copy(update={"sha256": "0" * 64})
    with pytest.raises(RemoteError, match="000000"):
        client.pack(recipe.model_copy(update={"adapters": (unknown,)}), tmp_path / "other.zip")
    assert list(tmp_path.glob("*.zip*")) == [packed]


def test_how_to_draw_is_said_in_the_words_of_the_api() -> None:
    """Whatever `registry.fuse` takes, a server understands."""
    asked: list[FuseRequest] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(FuseRequest.model_validate_json(request.content))
        return httpx.Response(409, json={"detail": "no base here"})

    with (
        Client(HOST, transport=httpx.MockTransport(answer)) as client,
        pytest.raises(RemoteError, match="no base here"),
    ):
        client.fuse(
            "a fox",
            mature="hide",
            seed=3,
            steps=2,
            guidance=2.5,
            size=(48, 32),
            negative="blurry",
        )

    assert asked[0].mature == "hide"
    assert asked[0].drawing == {
        "seed": 3,
        "steps": 2,
        "guidance": 2.5,
        "size": (48, 32),
        "negative": "blurry",
    }


def test_strengths_without_adapters_are_refused_there_as_here(
    registry: Registry, client: Client
) -> None:
    for drawer in (client, registry.maker):
        for draw in (drawer.fuse, drawer.compare):
            with pytest.raises(StrengthsError, match="given for 0 adapters"):
                draw("a fox", strengths=[0.5])


def test_numbers_of_numpy_are_sent_as_numbers() -> None:
    """Ids out of an array or a table are such."""
    asked: list[FuseRequest] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(FuseRequest.model_validate_json(request.content))
        return httpx.Response(409, json={"detail": "no base here"})

    with Client(HOST, transport=httpx.MockTransport(answer)) as client:
        for ids, strengths, seed in (
            (np.array([7, 12]), np.array([0.5, 1], np.float32), np.int64(3)),
            ([7, 12], [0.5, 1.0], 3),
        ):
            with pytest.raises(RemoteError, match="no base here"):
                client.fuse("a fox", adapters=ids, strengths=strengths, seed=seed)  # type: ignore[arg-type]

    assert asked[0] == asked[1]


def test_one_side_of_an_image_is_that_of_a_square() -> None:
    sizes: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sizes.append(FuseRequest.model_validate_json(request.content).size)
        return httpx.Response(409, json={"detail": "no base here"})

    with Client(HOST, transport=httpx.MockTransport(answer)) as client:
        for size in (64, (64, 64)):
            with pytest.raises(RemoteError):
                client.fuse("a fox", size=size)
        for nonsense in ("64", 64.0, (64,), (64, 64, 64)):
            with pytest.raises(SamplingError, match="is no size: give width and height"):
                client.fuse("a fox", size=nonsense)  # type: ignore[arg-type]

    assert sizes == [(64, 64), (64, 64)]


def test_a_sheet_that_fails_there_says_why_and_one_that_is_no_picture_is_none() -> None:
    ended = "2026-03-01T03:00:14Z"
    now: dict[str, object] = {"state": "failed", "finished_at": ended}
    now |= {"problem": {"type": "x", "detail": "no base"}}
    facts: dict[str, object] = {"id": 1, "ahead": 0, "done": 0, "total": 3, "asked": {}}
    facts |= {"recipe": None, "activity": [], "png": None, "thumbnail": None, "problem": None}
    facts |= {
        "preview": None,
        "state": "waiting",
        "created_at": "2026-03-01T03:00:12Z",
        "finished_at": None,
    }

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/png"):
            return httpx.Response(200, content=b"a web page")
        begun = request.url.path == "/v1/images"
        return httpx.Response(200, json={"items": [facts]} if begun else facts | now)

    with Client(HOST, transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(RemoteError, match="no base"):
            client.grid("a fox", [1, 2])
        now |= {"state": "interrupted", "problem": None}
        with pytest.raises(RemoteUnreachableError, match="stopped before the sheet"):
            client.compare("a fox")
        now["state"] = "done"
        with pytest.raises(RemoteSenseError, match="no PNG"):
            client.compare("a fox")


def test_a_png_that_is_broken_behind_its_pixels_is_told_of() -> None:
    moment = "2026-03-01T03:00:12Z"
    facts: dict[str, object] = {"id": 1, "ahead": 0, "done": 3, "total": 3, "asked": {}}
    facts |= dict.fromkeys(["recipe", "png", "thumbnail", "problem", "preview"])
    facts |= {"state": "done", "activity": [], "created_at": moment, "finished_at": moment}
    whole = io.BytesIO()
    Image.new("RGB", (8, 8)).save(whole, format="PNG")
    profile = b"\0\0\0\0iCCP" + zlib.crc32(b"iCCP").to_bytes(4)
    broken = whole.getvalue()[:-12] + profile + whole.getvalue()[-12:]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/png"):
            return httpx.Response(200, content=broken)
        begun = request.url.path == "/v1/images"
        return httpx.Response(200, json={"items": [facts]} if begun else facts)

    with (
        Client(HOST, transport=httpx.MockTransport(answer)) as client,
        pytest.raises(RemoteSenseError, match="no PNG"),
    ):
        client.compare("a fox")


def test_a_line_that_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before all of it is in memory."""
    monkeypatch.setattr("registry.client.MOST_LINE_BYTES", 1_000_000)
    taken: list[int] = []

    def parts() -> Iterator[bytes]:
        for number in range(50):
            taken.append(number)
            yield b" " * 100_000

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=parts()))
    with Client(HOST, transport=transport) as client, pytest.raises(RemoteSenseError, match="end"):
        client.fuse("a fox")

    assert len(taken) < 20


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.health(),
        lambda client: client.show(7),
        lambda client: client.fuse("a fox"),
    ],
)
def test_gzip_in_gzip_is_left_packed(ask: Callable[[Client], Any]) -> None:
    """Some KB of it are gigabytes, which httpx would unpack at once."""
    headers = {"Content-Encoding": "gzip, gzip"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers))

    with (
        Client(HOST, transport=transport) as client,
        pytest.raises(RemoteSenseError, match="coding"),
    ):
        ask(client)


def test_a_compressed_answer_takes_no_more_memory_than_an_answer_may() -> None:
    bomb = gzip.compress(bytes(100 * 2**20))
    headers = {"Content-Encoding": "gzip"}
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers=headers, content=iter([bomb]))
    )

    tracemalloc.start()
    try:
        with (
            Client(HOST, transport=transport) as client,
            pytest.raises(RemoteSenseError, match="does not end"),
        ):
            client.show(7)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 3 * MAX_JSON_BYTES


def test_lines_that_are_nested_without_end_are_no_lines() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b"[" * 10**5))

    with Client(HOST, transport=transport) as client, pytest.raises(RemoteSenseError, match="JSON"):
        client.fuse("a fox")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_are_read_however_they_are_cut(size: int) -> None:
    whole = b'{"event": "started"}\n{"event": "step", "done": 1, "total": 2}\n'
    whole += '{"event": "error", "problem": {"detail": "ein Fuchs, 猫, \u2028"}}'.encode()
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    steps: list[tuple[int, int]] = []
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=iter(parts)))

    with Client(HOST, transport=transport) as client, pytest.raises(RemoteError, match="猫"):
        client.fuse("a fox", progress=lambda done, total: steps.append((done, total)))

    assert steps == [(1, 2)]
