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
_READ_BYTES = 2**19
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
