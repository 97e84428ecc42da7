"""`autolora serve`: where it listens, whom it answers, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn

from registry.api.app import create_app
from registry.cli.processes import served_by_others
from registry.cli.server import Server, listen
from registry.running import FILE, Identity, find_server
from registry.service import Registry
from tests.registry.cli.runner import add_fox, run_badly, run_well

PROJECT = Path(__file__).parents[3]

HALF = (
    b"POST /v1/fuse HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n\r\n{"
)

pytestmark = pytest.mark.usefixtures("environment")


def test_serving_on_a_taken_port_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        line = run_badly("serve", "--port", str(port))

    assert f"cannot serve on 127.0.0.1:{port}: the port is in use" in line


def test_answers_do_not_wait_to_be_acknowledged() -> None:
    """asyncio sets TCP_NODELAY on connections of sockets that say that they are TCP's."""
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


@contextmanager
def serving(*words: str, said: str = "") -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run `autolora serve` on a free port; give its address and the process.

    It must end well, and say no more at its end than one line with `said`.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "registry", "serve", "--port", "0", *words],
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as server:
        assert server.stderr is not None
        try:
            yield server.stderr.readline().split()[2], server
            assert server.wait(timeout=60) == 0
            last = server.stderr.read()
            assert said in last
            assert last.count("\n") == bool(said)
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("words", "host", "stop"),
    [
        (["--host", "127.0.0.2"], "127.0.0.2", signal.SIGTERM),
        (["--host", "0.0.0.0", "--public-read"], "127.0.0.1", signal.SIGINT),
    ],
)
def test_it_answers_where_it_was_told_to_until_it_is_stopped(
    registry: Registry, words: list[str], host: str, stop: signal.Signals
) -> None:
    """And then ends well, so that the embedded database is closed with it."""
    add_fox(registry)

    with serving(*words) as (said, server):
        url = f"http://{host}:{said.rsplit(':', 1)[1]}"
        assert httpx.get(f"{url}/readyz", timeout=60).json()["adapters"] == 1
        assert "[red]Fox[/red]" in httpx.get(f"{url}/?q=fox", timeout=60).text
        told = find_server(registry.settings.home)
        assert told is not None
        # On loopback nobody needs a token, and where all may read neither.
        assert (told.url, told.pid, told.token) == (url, server.pid, None)
        assert httpx.get(f"{url}/healthz", timeout=60).json()["instance"] == told.instance
        server.send_signal(stop)

    assert find_server(registry.settings.home) is None
    assert not (registry.settings.home / FILE).exists()


def others(server: psutil.Process) -> set[int]:
    """Return which further processes serve; PostgreSQL is another child."""
    found = set()
    for child in server.children():
        with suppress(psutil.NoSuchProcess):
            if "--inherited" in child.cmdline():
                found.add(child.pid)
    return found


def test_several_processes_serve_at_one_address(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is killed is begun anew, and all end with the first."""
    add_fox(registry)
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    monkeypatch.setenv("TMPDIR", str(numbers))
    with serving("--processes", "3", said="ended with -9") as (url, server):
        first = psutil.Process(server.pid)
        before = others(first)
        assert len(before) == 2
        counted = f"gauge_live*_{min(before)}.db"
        while not list(numbers.rglob(counted)):
            time.sleep(0.1)
        os.kill(min(before), signal.SIGKILL)
        while len(others(first) - {min(before)}) < 2:
            time.sleep(0.1)
        with ThreadPoolExecutor(8) as threads:
            answers = threads.map(
                lambda _: httpx.get(f"{url}/v1/search?q=fox", timeout=60), range(24)
            )
            assert [answer.status_code for answer in answers] == [200] * 24
            health = threads.map(
                lambda _: httpx.get(f"{url}/healthz", timeout=60).json(), range(24)
            )
            told = find_server(registry.settings.home)
            assert told is not None
            assert {each["instance"] for each in health} == {told.instance}
        after = others(first)
        # What waited in the one that was killed is counted no more.
        assert not list(numbers.rglob(counted))
        assert list(numbers.rglob("gauge_live*.db"))
        server.send_signal(signal.SIGTERM)

    assert not any(psutil.pid_exists(pid) for pid in after)


def test_all_processes_end_with_the_first_however_that_ends(registry: Registry) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "registry", "serve", "--port", "0", "--processes", "2"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as server:
        assert server.stderr is not None
        server.stderr.readline()
        left = [psutil.Process(pid) for pid in others(psutil.Process(server.pid))]
        server.kill()

    # What it could not take away says nothing any more.
    assert (registry.settings.home / FILE).exists()
    assert find_server(registry.settings.home) is None
    assert len(left) == 1
    _, alive = psutil.wait_procs(left, timeout=60)
    assert alive == []


@pytest.mark.usefixtures("foreign_folder")
def test_other_processes_run_our_own_code_wherever_they_are_started() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        served_by_others(listener, 1, Identity.make(), ["--port", "0"]),
    ):
        host, port = listener.getsockname()

        assert httpx.get(f"http://{host}:{port}/healthz", timeout=60).is_success


def test_a_signal_gives_up_the_image_at_work(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C must not wait until nobody's image is done."""
    # The library of events remembers a signal for all servers of a process.
    monkeypatch.setattr("sse_starlette.sse.AppStatus.should_exit", False)
    served = create_app(registry)
    server = Server(uvicorn.Config(served), served.state.queue)

    server.handle_exit(signal.SIGINT, None)

    assert server.should_exit
    assert served.state.queue.closing.is_set()


def test_other_machines_are_not_answered_unless_asked_for() -> None:
    """Nobody has a token yet, so nobody could be let in."""
    line = run_badly("serve", "--host", "0.0.0.0", "--port", "0")

    assert "--public-read" in line
    assert "autolora token create" in line


def test_other_machines_are_let_in_by_a_token_by_every_process() -> None:
    token = run_well("token", "create", "ann").strip()

    with serving("--host", "0.0.0.0", "--processes", "2") as (url, server):
        url = url.replace("0.0.0.0", "127.0.0.1")
        # Each connection may meet the other process.
        bare = {httpx.get(f"{url}/v1/adapters", timeout=60).status_code for _ in range(20)}
        let_in = httpx.get(
            f"{url}/v1/adapters", headers={"Authorization": f"Bearer {token}"}, timeout=60
        )
        server.send_signal(signal.SIGINT)
        server.wait(60)

    assert (bare, let_in.status_code) == ({401}, 200)


@contextmanager
def half_a_request(url: str) -> Iterator[None]:
    host, port = url.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), 60) as line:
        line.sendall(HALF)
        # So that it is read before the signal comes: the next one is answered after it.
        httpx.get(f"{url}/healthz", timeout=60)
        yield


def test_a_second_interrupt_ends_it_without_a_traceback() -> None:
    """Of somebody who is impatient, while a request is half sent; `serving` looks at stderr."""
    with serving() as (url, server), half_a_request(url):
        server.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(0.5)
        server.send_signal(signal.SIGINT)
        server.wait(60)


def test_who_sends_half_a_request_does_not_keep_it_from_ending() -> None:
    with serving(said="Cancel 1 running task(s)") as (url, server), half_a_request(url):
        server.send_signal(signal.SIGINT)
        server.wait(60)
