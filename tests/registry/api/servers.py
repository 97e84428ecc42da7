"""The app behind a real server on loopback: what sockets do, a test client does not show."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from fastapi import FastAPI

from registry.cli.server import Server, listen, server_config


@contextmanager
def served(app: FastAPI) -> Iterator[tuple[str, int]]:
    """Serve `app` from a thread; give the host and the port."""
    with listen("127.0.0.1", 0) as listener:
        server = Server(server_config(app), app.state.queue)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        host, port = listener.getsockname()
        try:
            httpx.get(f"http://{host}:{port}/healthz", timeout=60).raise_for_status()
            yield host, port
        finally:
            app.state.queue.closing.set()
            server.should_exit = True
            thread.join()
            app.state.queue.close()
