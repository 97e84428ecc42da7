"""The one way out: sockets that connect only to checked addresses, and never wait too long.

Everything that this machine asks another goes through here, also what a hub's own library does.
Name lookup, check and connect are one step, so that no second lookup can answer otherwise, and
proxies that the environment names are not used: they would do the lookup, unchecked.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from crawler.addresses import AddressGuard

# What is taken off a socket at a time, if so much has come: httpcore asks for 64 KB, and handling
# each piece takes more time than the bytes.
_READ_BYTES = 2**18
# Of a body that has more left than this, the connection is not worth keeping. So much is taken of
# it at a time at most, and at least what the other constant says: TLS gives 16 KB.
_LONG_BYTES = 2**20
# When the answer being waited for must have gone on, on time.monotonic()'s clock. The sockets
# look at it themselves: a peer that sends a byte now and then never runs into a read timeout.
_deadline: ContextVar[float] = ContextVar("deadline")


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound all that is waited for inside; needed around every request."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def extend_deadline(seconds: float) -> None:
    """Begin anew to count: what was waited for has come, and there is more."""
    _deadline.set(time.monotonic() + seconds)


def check_deadline() -> None:
    """Raise httpx.ReadTimeout where the time is over."""
    if time.monotonic() > _deadline.get():
        raise httpx.ReadTimeout("not complete in time")


def read_body(response: httpx.Response) -> Iterator[bytes | memoryview]:
    """Yield the body of an answer as it came, in pieces; each is good until the next is asked for.

    h11 copies all that comes three times, and lets no other thread do anything meanwhile. So what
    is left of a long body after its first piece is taken off the socket here, past h11, into one
    buffer; the connection ends with it.
    """
    pieces = response.iter_raw()
    first = next(pieces, b"")
    if first:
        yield first
    # The first piece is all that h11 has read.
    left = _told_length(response) - len(first)
    stream = response.extensions.get("network_stream")
    if left > _LONG_BYTES and isinstance(stream, _TimedStream):
        yield from _receive(stream, left)
    else:
        yield from pieces


def _told_length(response: httpx.Response) -> int:
    """Return the length of a body that ends by it; 0 where it ends otherwise."""
    headers = response.headers
    # h11 has checked it: one number.
    return 0 if "Transfer-Encoding" in headers else int(headers.get("Content-Length", 0))


def _receive(stream: "_TimedStream", left: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_LONG_BYTES))
    while left:
        room, filled, failure = buffer[:left], 0, None
        while filled < min(_READ_BYTES, len(room)) and failure is None:
            try:
                filled += stream.read_into(room[filled:])
            except httpx.TransportError as error:
                failure = error
        # What came before a connection broke is good.
        if filled:
            yield room[:filled]
        if failure is not None:
            raise failure
        left -= filled


class GuardedTransport(httpx.HTTPTransport):
    """httpx's own transport over sockets that connect only to checked addresses."""

    def __init__(self, guard: AddressGuard) -> None:
        context = httpx.create_ssl_context()
        super().__init__(verify=context, trust_env=False)
        # httpx has no argument for httpcore's network backend. Checking there, and not a
        # step earlier, means that the address checked is the address connected to, while
        # names in TLS, the Host header and the connection pool stay what they are.
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=20,
            keepalive_expiry=5.0,
            network_backend=_GuardedBackend(guard),
        )


class _GuardedBackend(httpcore.SyncBackend):
    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._guard.addresses(host, port):
            try:
                stream = super().connect_tcp(
                    address, port, _within_deadline(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream)
        raise failure


class _TimedStream(httpcore.NetworkStream):
    """A stream on which no wait outlasts the deadline of the request."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max(max_bytes, _READ_BYTES), _within_deadline(timeout))

    def read_into(self, buffer: memoryview) -> int:
        """Fill a buffer with what has come, at least a byte; return how many.

        Raises:
            httpx.TransportError: nothing came in time, or the connection has ended.
        """
        sock = self._stream.get_extra_info("socket")
        try:
            sock.settimeout(_within_deadline(None))
            count = int(sock.recv_into(buffer))
        except (TimeoutError, httpcore.ReadTimeout) as error:
            raise httpx.ReadTimeout("the answer took too long") from error
        except OSError as error:
            raise httpx.ReadError(str(error)) from error
        if not count:
            raise httpx.RemoteProtocolError("the connection ended before the answer did")
        return count

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _within_deadline(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        limit = _within_deadline(timeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, limit))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _within_deadline(timeout: float | None) -> float:
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the answer took too long")
    return left if timeout is None else min(timeout, left)
