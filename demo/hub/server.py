"""A server on loopback for a hub of any kind, and how it is started from a terminal."""

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from demo.hub.facts import HubFacts
from demo.hub.handler import HubHandler

H = TypeVar("H", bound=HubFacts)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    hub: HubFacts

    def __init__(self, port: int, handler: type[HubHandler[Any]]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients hang up; anything else is our mistake and is shown.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Stop for good: connections that clients keep open would be served on otherwise."""
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # The client was faster.
                continue


@contextmanager
def serve_hub(
    folder: Path, port: int, hub: Callable[[Path, str], H], handler: type[HubHandler[H]]
) -> Iterator[H]:
    """Serve `folder` on loopback for as long as the context lasts.

    Raises:
        OSError: the port is in use.
        FileNotFoundError: the folder holds no listing.json.
    """
    server = _Server(port, handler)
    facts = hub(Path(folder), f"http://127.0.0.1:{server.server_port}")
    server.hub = facts
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="hub", daemon=True
    ).start()
    try:
        yield facts
    finally:
        server.close()


def run(serve: Callable[[Path, int], AbstractContextManager[HubFacts]], about: str | None) -> int:
    """Serve a folder until interrupted, as the command line says."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with listing.json")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    arguments = parser.parse_args()
    try:
        with serve(arguments.folder, arguments.port) as hub:
            print(f"serving {len(hub.entries)} adapters on {hub.endpoint}", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        return 0
    except FileNotFoundError as error:
        print(f"{error.filename} is missing: is {arguments.folder} a zoo?", file=sys.stderr)
    except OSError as error:
        print(
            f"port {arguments.port} cannot be used ({error.strerror}); choose another with --port",
            file=sys.stderr,
        )
    return 1
