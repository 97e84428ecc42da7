"""Serving: a port that is taken, and an end that is clean."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from registry.api.app import create_app
from registry.cli.server import Server
from registry.service import Registry
from tests.registry.cli.runner import add_fox, run_badly

PROJECT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("environment")


def test_serving_on_a_taken_port_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        line = run_badly("serve", "--port", str(port))

    assert f"cannot serve on 127.0.0.1:{port}: the port is in use" in line


@contextmanager
def serving() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run `autolora serve` on a free port; give its address and the process."""
    with subprocess.Popen(
        [sys.executable, "-m", "registry", "serve", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as server:
        assert server.stderr is not None
        try:
            yield server.stderr.readline().split()[2], server
            assert (server.wait(timeout=60), server.stderr.read()) == (0, "")
        finally:
            server.kill()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serve_answers_until_it_is_stopped(registry: Registry, stop: signal.Signals) -> None:
    """And then ends well, so that the embedded database is closed with it."""
    add_fox(registry)

    with serving() as (url, server):
        assert httpx.get(f"{url}/readyz", timeout=60).json()["adapters"] == 1
        assert "[red]Fox[/red]" in httpx.get(f"{url}/?q=fox", timeout=60).text
        server.send_signal(stop)


def test_a_signal_gives_up_the_image_at_work(registry: Registry) -> None:
    """Ctrl-C must not wait until nobody's image is done."""
    served = create_app(registry)
    server = Server(uvicorn.Config(served), served.state.queue)

    server.handle_exit(signal.SIGINT, None)

    assert server.should_exit
    assert served.state.queue.closing.is_set()
