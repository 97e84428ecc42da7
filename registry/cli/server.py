"""Listening and serving, so that a taken port is known before anything slow."""

import asyncio
import errno
import logging
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from registry.api.access import wants_tokens
from registry.api.admission import MOST_QUERY_BYTES
from registry.api.app import close, create_app
from registry.api.queue import GenerationQueue
from registry.assistant.over_http import add_assistant
from registry.cli.errors import PortError, UsageError, report
from registry.cli.output import stderr
from registry.config import Settings
from registry.running import Identity, RunningServer, announced
from registry.service import Registry

# From a request's first byte to its last. Ours have some kilobytes: even a slow line is faster.
REQUEST_SECONDS = 20
# A file of one's own has gigabytes: each so many bytes of a body have the time anew.
PROGRESS_BYTES = 2**17
# How long answers that are under way may take after Ctrl-C.
GRACE_SECONDS = 5
BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


def serve_until_stopped(
    listener: socket.socket, registry: Registry, identity: Identity, *, first: bool = True
) -> None:
    """Serve the API and the page until Ctrl-C or SIGTERM; whoever opened the two closes them.

    The `first` process that serves says where, on stderr and in a file for this home's programs.

    Raises:
        UsageError: other machines could reach it, and none of them would be let in.
    """
    name, port = listener.getsockname()[:2]
    # What the socket says is true, however the host was named.
    registry.settings = registry.settings.model_copy(update={"host": name})
    if wants_tokens(registry.settings) and not any(
        token.revoked_at is None for token in registry.tokens()
    ):
        raise UsageError(
            f"{name} can be reached from other machines, and there is no token to let any in. "
            "`autolora token create` makes one; `--public-read` lets everybody read; without "
            "either, serve on 127.0.0.1."
        )
    registry.warm_up()
    app = create_app(registry, identity)
    add_assistant(app)
    app.state.keeper.watch()
    server = Server(server_config(app), app.state.queue)
    # uvicorn ends gracefully and then raises the signal again, for us to close the rest.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _told_of(registry.settings, port, identity) if first else nullcontext():
            with suppress(KeyboardInterrupt):
                server.run(sockets=[listener])
            close(app)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _told_of(settings: Settings, port: int, identity: Identity) -> Iterator[None]:
    """Say where it serves while the block runs, to people and to this home's other programs."""
    token = identity.credential if wants_tokens(settings) else None
    own = RunningServer(
        url=own_address(settings.host, port),
        pid=os.getpid(),
        instance=identity.instance,
        token=token,
    )
    with announced(settings.home, own) as unable:
        address = _address(settings.host, port)
        stderr().print(f"Serving on {address} (Ctrl-C stops)", markup=False)
        if unable is not None:
            report(
                f"commands on this machine do not find this server by themselves: {unable}. "
                f"REGISTRY_URL={address} tells them."
            )
        yield


def own_address(host: str, port: int) -> str:
    """Return where this machine reaches what listens here."""
    # What listens everywhere is reached from here by this machine's own address.
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return _address(here, port)


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_config(app: FastAPI) -> uvicorn.Config:
    settings = app.state.registry.settings
    logging.getLogger("uvicorn.error").addFilter(_is_not_cut_short)
    return uvicorn.Config(
        app,
        http=PunctualProtocol,
        ws="none",
        # Its end would be a traceback after a second Ctrl-C; whoever runs the server does it.
        lifespan="off",
        # Whoever started the process has set up where lines go, and how they look.
        log_config=None,
        log_level="warning",
        access_log=False,
        # By itself uvicorn believes whoever comes from this machine.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # Of a request's head that has not come whole yet: what is a little too long is refused in
        # our own words, and only what is far too long in h11's.
        h11_max_incomplete_event_size=8 * MOST_QUERY_BYTES,
    )


def _is_not_cut_short(record: logging.LogRecord) -> bool:
    """Leave out of the log the requests that Ctrl-C ended: nothing went wrong in them."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class PunctualProtocol(H11Protocol):
    """Hangs up on who begins a request and does not end it; reads addresses as people type them.

    uvicorn waits for the rest for ever, and each such connection takes one of the process's
    open files; its own time limit is for the pause between two requests. And h11 takes no address
    with letters beyond ASCII, which `curl 'localhost:8000/v1/search?q=剪影'` sends.
    """

    _deadline: asyncio.TimerHandle | None = None
    # Bytes that came since the time last began.
    _come = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_time()

    def data_received(self, data: bytes) -> None:
        # A browser opens lines ahead of what it will ask: only the request's own time counts.
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._end_time()
        super().data_received(data if data.isascii() else self._with_plain_address(data))
        self._come += len(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The next request may have begun to come behind the one that is answered.
        has_begun = self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]
        if has_begun and not self.transport.is_closing():
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_time()

    def _with_plain_address(self, data: bytes) -> bytes:
        """Write an address as browsers do, 剪 as %E5%89%AA; what follows it may be any bytes."""
        come, _ = self.conn.trailing_data
        if self.conn.their_state is not h11.IDLE or b"\n" in come:
            return data
        line, end, rest = data.partition(b"\n")
        return BEYOND_ASCII.sub(lambda byte: b"%%%02X" % byte[0][0], line) + end + rest

    def _watch(self) -> None:
        """Let the time run while the request has not come whole."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._end_time()
        elif self._deadline is None or self._has_progressed():
            self._begin_time()

    def _has_progressed(self) -> bool:
        """Whether enough of a body came; of one that was answered already nothing is awaited."""
        awaited = self.conn.their_state is h11.SEND_BODY and not self.cycle.response_complete
        return awaited and self._come >= PROGRESS_BYTES

    def _begin_time(self) -> None:
        self._end_time()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._hang_up)

    def _end_time(self) -> None:
        self._come = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        # While we take nothing, who sends can do nothing.
        if self.flow.read_paused:
            self._begin_time()
        else:
            self.transport.abort()


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
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
    except socket.gaierror as error:
        raise PortError(host, port, f"{host} is not an address of this machine") from error
    # Only where TCP is named asyncio sends the end of an answer at once (TCP_NODELAY); otherwise it
    # waits 40 ms for the client to acknowledge the beginning.
    listener = socket.socket(family, kind, protocol)
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
