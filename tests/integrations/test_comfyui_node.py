"""ComfyUI's node: what it asks a registry, and what it makes of the answer.

ComfyUI's own modules are not installed here, so small ones stand in for them, with the names that
the node uses of `comfy_api.latest` [1]. `benchmarks/comfyui/node.py` runs it inside ComfyUI itself.

- [1] comfy_api/latest/_io.py of https://github.com/comfyanonymous/ComfyUI
"""

import asyncio
import errno
import hashlib
import importlib.util
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from registry.api.app import create_app
from registry.fusion.exports.adapters import export_name, file_of
from registry.service import Registry
from tests.registry.api.conftest import add_file
from tests.registry.api.servers import served

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"
NAMES = (
    "Red fox!", "水彩", "水彩" * 40, "a/" * 400, "..", "-", "Ünïcode [v2] (final).safetensors",
    "❤️ ＬｏＲＡ：ไทย_हिन्दी \u202e",
)  # fmt: skip


class Schema(SimpleNamespace):
    """io.Schema: what a node is called, and its inputs and outputs."""


class Slot(SimpleNamespace):
    """An input or an output; an input's first argument is its name."""

    def __init__(self, name: str = "", **told: Any) -> None:
        super().__init__(name=name, **told)


def comfyui_modules(loras: Path) -> dict[str, ModuleType]:
    """What the node imports of ComfyUI, as modules of these names."""
    kind = SimpleNamespace(Input=Slot, Output=Slot)
    io = SimpleNamespace(
        ComfyNode=object,
        Schema=Schema,
        NodeOutput=lambda *args: args,
        String=kind,
        Int=kind,
        Custom=lambda _: kind,
    )
    told: dict[str, dict[str, Any]] = {
        "folder_paths": {"get_folder_paths": lambda _: [str(loras)]},
        "comfy": {},
        "comfy.utils": {"ProgressBar": lambda _: SimpleNamespace(update_absolute=lambda *_: None)},
        "comfy_api": {},
        "comfy_api.latest": {"io": io, "ComfyExtension": object},
    }
    modules = {name: ModuleType(name) for name in told}
    for name, values in told.items():
        vars(modules[name]).update(values)
    return modules


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    return tmp_path / "loras"


@pytest.fixture
def node(loras: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The node's package as ComfyUI loads it; its files lie in `loras`."""
    for name, module in comfyui_modules(loras).items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location(
        "autolora_node", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "autolora_node", package)
    monkeypatch.delitem(sys.modules, "autolora_node.registry", raising=False)
    spec.loader.exec_module(package)
    monkeypatch.setitem(sys.modules, "autolora_node.registry", package.registry)
    return package


@contextmanager
def answering(
    answer: Callable[[str], tuple[int, bytes]],
    *,
    announced: str = "",
    silence: float = 0.0,
    retry_after: str = "",
) -> Iterator[tuple[str, list[str]]]:
    """Answer every request; give the address, and what was asked, with its token.

    `announced` is the length that is told, else the true one; all but the first byte of an answer
    comes after `silence` seconds.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization', '')}".strip())
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Location", "http://192.0.2.1/")
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", announced or str(len(body)))
            self.end_headers()
            with suppress(OSError):  # who asked has left
                self.wfile.write(body[:1])
                time.sleep(silence)
                self.wfile.write(body[1:])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing of requests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_the_node_fills_a_stack_from_a_registry(
    node: ModuleType, registry: Registry, loras: Path
) -> None:
    """From a real one; files come under the names of the exports, and are fetched once."""
    fox = registry.adapter(add_file(registry, 1, "Red fox!", "a fox")).card
    assert fox.file_sha256 is not None
    app = create_app(registry)
    with served(app) as (host, port):
        asked = {"text": "a fox", "base_model": "", "count": 1, "registry": f"http://{host}:{port}"}
        stack, words = node.ChooseLoras.execute(**asked, lora_stack=[("own", 1.0, 1.0)])
        fetched = (loras / stack[1][0]).stat().st_ino
        again, _ = node.ChooseLoras.execute(**asked)

    name = file_of(export_name(fox.name, fox.file_sha256))
    assert stack == [("own", 1.0, 1.0), (name, 1.0, 0.0)]
    assert again == stack[1:]
    assert words == ""
    assert (loras / name).read_bytes() == registry.file(fox.file_sha256).read_bytes()
    assert (loras / name).stat().st_ino == fetched
    assert [path.name for path in loras.iterdir()] == [name]


def test_comfyui_is_told_of_one_node(node: ModuleType) -> None:
    extension = asyncio.run(node.comfy_entrypoint())
    (offered,) = asyncio.run(extension.get_node_list())
    schema = offered.define_schema()

    assert schema.node_id == "AutoLoraChoose"
    names = [slot.name for slot in schema.inputs]
    assert names == ["text", "base_model", "count", "registry", "lora_stack"]
    assert [slot.display_name for slot in schema.outputs] == ["LORA_STACK", "trigger_words"]


@pytest.mark.parametrize("name", NAMES)
def test_files_are_called_as_in_exports(node: ModuleType, name: str) -> None:
    sha256 = "0123456789abcdef" * 4
    chosen = node.Chosen(name, sha256, 1.0, ())
    assert chosen.file_name == file_of(export_name(name, sha256))


def test_trigger_words_are_escaped_for_a_text_encoder(node: ModuleType) -> None:
    """Those that the text has already are left out, whichever way they are written there."""
    adapters = [
        node.Chosen("a", "0" * 64, 1.0, words)
        for words in ((r"saber \(fate\)", "other"), ("fox",), ("Saber (fate)",), ())
    ]
    missing = node.registry.missing_words
    assert missing("a girl", adapters) == [r"saber \(fate\)", "fox"]
    assert missing(r"a Fox, saber \(fate\)", adapters) == []


def choice(**told: Any) -> bytes:
    card = {"name": "fox", "file_sha256": "0" * 64, "trigger_words": [], "strength": None} | told
    return json.dumps([{"adapter": card}]).encode()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b'{"detail": "nothing suits it"}', "says: nothing suits it"),
        (500, b"<p>", "says: status 500"),
        # It could lead anywhere.
        (302, b"", "says: status 302"),
        (200, b"[1]", "makes no sense"),
        (200, b"{}", None),
        (200, choice(file_sha256="../../x"), "makes no sense"),
        (200, choice(strength=1e999), "makes no sense"),
        (200, b"[" * 100_000, "makes no sense"),
    ],
)
def test_answers_that_are_none_of_a_registrys(
    node: ModuleType, status: int, body: bytes, said: str | None
) -> None:
    with answering(lambda _: (status, body)) as (url, asked):
        if said is None:
            assert node.registry.Registry(url).choose("fox", 1) == []
        else:
            with pytest.raises(node.registry.RegistryError, match=said):
                node.registry.Registry(url).choose("fox", 1)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"<html>not weights", "no safetensors"), (b"\x02" + bytes(7) + b"{}", "another file")],
)
def test_what_is_not_the_file_is_not_kept(
    node: ModuleType, tmp_path: Path, body: bytes, said: str
) -> None:
    chosen = node.Chosen("fox", "0" * 64, 1.0, ())
    with answering(lambda _: (200, body)) as (url, _):
        source = node.registry.Registry(url)
        with pytest.raises(node.registry.RegistryError, match=said):
            source.fetch(chosen, tmp_path, lambda *_: None)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / chosen.file_name).write_bytes(b"mine")
        with pytest.raises(node.registry.RegistryError, match="is another file"):
            source.fetch(chosen, tmp_path, lambda *_: None)
    assert (tmp_path / chosen.file_name).read_bytes() == b"mine"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_asked_again_when_it_says(
    node: ModuleType, tmp_path: Path, status: int
) -> None:
    """A drawing that waited an hour in a queue need not fail for a restart of a second."""
    body = b"\x02" + bytes(7) + b"{}"
    chosen = node.Chosen("fox", hashlib.sha256(body).hexdigest(), 1.0, ())
    answers = iter([(status, b"{}"), (200, b"[]"), (status, b"{}"), (status, b"{}"), (200, body)])
    with answering(lambda _: next(answers), retry_after="0") as (url, asked):
        source = node.registry.Registry(url)
        assert source.choose("fox", 1) == []
        assert source.fetch(chosen, tmp_path, lambda *_: None).read_bytes() == body
    assert len(asked) == 5


@pytest.mark.parametrize(
    ("status", "retry_after", "times"),
    [(503, "0", 3), (503, "", 1), (503, "soon", 1), (404, "0", 1)],
)
def test_a_registry_that_stays_busy_or_names_no_time_is_told_of(
    node: ModuleType, status: int, retry_after: str, times: int
) -> None:
    busy = answering(lambda _: (status, b'{"detail": "busy"}'), retry_after=retry_after)
    with busy as (url, asked), pytest.raises(node.registry.RegistryError, match="says: busy"):
        node.registry.Registry(url).choose("fox", 1)
    assert len(asked) == times


def test_it_is_not_waited_for_ever(node: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(node.registry, "time", SimpleNamespace(sleep=slept.append))
    busy = answering(lambda _: (503, b"{}"), retry_after="86400")
    with busy as (url, _), pytest.raises(node.registry.RegistryError):
        node.registry.Registry(url).choose("fox", 1)
    assert slept == [30, 30]


@pytest.mark.parametrize("folder", ["a file", "a file/loras"])
def test_a_folder_that_cannot_be_written_to_is_told_of(
    node: ModuleType, tmp_path: Path, folder: str
) -> None:
    """In a line that names it: ComfyUI shows the last line of a traceback."""
    (tmp_path / "a file").touch()
    chosen = node.Chosen("fox", "0" * 64, 1.0, ())
    said = f"nothing can be written to {tmp_path / folder}: "
    with (
        answering(lambda _: (200, FILE)) as (url, _),
        pytest.raises(node.registry.RegistryError, match=re.escape(said)),
    ):
        node.registry.Registry(url).fetch(chosen, tmp_path / folder, lambda *_: None)


def test_a_disk_that_fails_amid_a_file_is_told_of_and_nothing_is_left(
    node: ModuleType, tmp_path: Path
) -> None:
    def fail(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    chosen = node.Chosen("fox", "0" * 64, 1.0, ())
    with (
        answering(lambda _: (200, FILE)) as (url, _),
        pytest.raises(node.registry.RegistryError, match="No space left"),
    ):
        node.registry.Registry(url).fetch(chosen, tmp_path, fail)
    assert list(tmp_path.iterdir()) == []


FILE = b"\x02" + bytes(7) + b"{}"


@pytest.mark.parametrize(
    ("announced", "silence", "said"),
    [
        ("1000", 0.0, "broke off after 10 of 1000 bytes"),
        ("", 1.0, "does not answer .timed out"),
        ("many", 0.0, "another file"),
    ],
)
def test_a_network_that_fails_amid_a_file_is_told_in_a_line(
    node: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    announced: str,
    silence: float,
    said: str,
) -> None:
    """A person is to try again, and not to look for another file."""
    monkeypatch.setattr(node.registry, "TIMEOUT_SECONDS", 0.1)
    chosen = node.Chosen("fox", "0" * 64, 1.0, ())

    with answering(lambda _: (200, FILE), announced=announced, silence=silence) as (url, _):
        with pytest.raises(node.registry.RegistryError, match=said):
            node.registry.Registry(url).fetch(chosen, tmp_path, lambda *_: None)
        assert list(tmp_path.iterdir()) == []
        if silence:
            with pytest.raises(node.registry.RegistryError, match=said):
                node.registry.Registry(url).choose("fox", 1)


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:x", "http://", "http://a b"])
def test_what_is_no_address_is_told_in_a_line(node: ModuleType, url: str) -> None:
    with pytest.raises(node.registry.RegistryError, match=r"no address|does not answer"):
        node.registry.Registry(url).choose("fox", 1)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_this_machine_is_asked_through_no_proxy(
    node: ModuleType, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)

    with answering(lambda _: (200, b"[]")) as (url, _):
        assert node.registry.Registry(url).choose("fox", 2) == []


def test_a_token_is_in_no_error(node: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and shells end it with a line's end; what else is odd about it is none."""
    with answering(lambda _: (200, b"[]")) as (url, asked):
        monkeypatch.setenv("REGISTRY_URL", url + "/v1")
        monkeypatch.setenv("REGISTRY_TOKEN", "secret\n")
        node.registry.Registry(url).choose("fox", 2)
        assert asked == ["/v1/choose?prompt=fox&k=2 Bearer secret"]
        for token in ("secret\nx", "secreté"):
            monkeypatch.setenv("REGISTRY_TOKEN", token)
            with pytest.raises(node.registry.RegistryError, match="REGISTRY_TOKEN") as caught:
                node.registry.Registry(url).choose("fox", 2)
            assert "secret" not in str(caught.value)


def test_a_token_goes_to_its_own_address_alone(
    node: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of a workflow is whose ever wrote it."""
    with answering(lambda _: (200, b"[]")) as (url, asked):
        monkeypatch.setenv("REGISTRY_TOKEN", "secret")
        monkeypatch.setenv("REGISTRY_URL", "https://registry.test")
        node.registry.Registry(url).choose("fox", 2)
        monkeypatch.setenv("REGISTRY_URL", url)
        node.registry.Registry(url + "/").choose("fox", 2, "sdxl-1.0")
    assert asked == [
        "/v1/choose?prompt=fox&k=2",
        "/v1/choose?prompt=fox&k=2&base_model=sdxl-1.0 Bearer secret",
    ]
    with pytest.raises(node.registry.RegistryError, match="no address of a registry"):
        node.registry.Registry("file:///etc/passwd")
    with pytest.raises(node.registry.RegistryError, match="autolora serve"):
        node.registry.Registry(url).choose("fox", 1)
