"""Listening and serving, so that a taken port is known before anything slow."""

import errno
import signal
import socket
from contextlib import suppress
from types import FrameType

import uvicorn

from registry.api.app import create_app
from registry.api.queue import GenerationQueue
from registry.cli.errors import PortError
from registry.cli.output import stderr
from registry.service import Registry


def serve_until_stopped(listener: socket.socket, registry: Registry) -> None:
    """Serve the API and the page until Ctrl-C or SIGTERM; whoever opened the two closes them."""
    registry.warm_up()
    name, port = listener.getsockname()[:2]
    shown = f"[{name}]" if ":" in name else name
    stderr().print(f"Serving on http://{shown}:{port} (Ctrl-C stops)", markup=False)
    app = create_app(registry)
    server = Server(uvicorn.Config(app, log_level="warning"), app.state.queue)
    # uvicorn ends gracefully and then raises the signal again, for us to close the rest.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)


class Server(uvicorn.Server):
    """Gives up the image at work as soon as it is told to stop; the rest ends by itself."""

    def __init__(self, config: uvicorn.Config, queue: GenerationQueue) -> None:
        super().__init__(config)
        self._queue = queue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._queue.closing.set()
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, or raise PortError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise PortError(host, port, f"{host} is not an address of this machine") from error
    listener = socket.socket(family, kind)
    # A port whose last server just stopped is free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        reason = "the port is in use" if taken else (error.strerror or str(error)).lower()
        raise PortError(host, port, reason) from error
    return listener
