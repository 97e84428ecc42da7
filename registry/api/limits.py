"""How often who may ask: every address and every token has a bucket that fills by itself.

A request takes one, and is refused while there is none. On loopback, where everybody is this
machine, nothing is limited. Several serving processes have buckets of their own.
"""

import ipaddress
import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.api.errors import StreamsBusyError, on_http
from registry.config import Settings

# What a bucket holds is what comes in so many seconds: a page asks for its covers at once.
BURST_SECONDS = 15.0
# Images come one by one: who waits for one minute may ask for all of that minute's.
IMAGE_BURST_SECONDS = 60.0
LOG_IN_BURST_SECONDS = 60.0
# Tokens that an address may show on the log-in page: a person mistypes one or two.
LOG_INS_PER_MINUTE = 10
# Streams of events that are open at once in a process, and of them by one address. A browser opens
# six at most, and not for pages that nobody sees.
MOST_STREAMS = 100
MOST_STREAMS_EACH = 20
# Buckets that are remembered, of those used last; a full one that is forgotten is full again.
MOST_KEYS = 10_000
# Whoever looks whether the server lives is not to be told that it does not.
FREE_PATHS = ("/healthz", "/static/")


class Buckets:
    """Token buckets by key. Safe to share between threads.

    One is as full as the seconds since its last use make it: nothing runs meanwhile.
    """

    def __init__(
        self, per_minute: float, burst_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = per_minute / 60
        self._most = max(1.0, self._rate * burst_seconds)
        self._clock = clock
        self._lock = threading.Lock()
        # What is left, and when that was.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, cost: float = 1) -> float:
        """Take `cost` and return 0; or the seconds until there is so much, and take nothing.

        More than a bucket holds is given when it is full, and paid back by those that follow.
        """
        with self._lock:
            now = self._clock()
            left, then = self._left.pop(key, (self._most, now))
            left = min(self._most, left + (now - then) * self._rate)
            needed = min(cost, self._most)
            missing = max(0.0, needed - left)
            self._left[key] = (left if missing else left - cost, now)
            if len(self._left) > MOST_KEYS:
                self._left.popitem(last=False)
        return missing / self._rate


class Limits:
    """The buckets of a server, as its settings say; None where nothing is limited."""

    def __init__(self, settings: Settings, *, limited: bool) -> None:
        requests = settings.requests_per_minute if limited else 0
        images = settings.images_per_minute if limited else 0
        self._requests = Buckets(requests, BURST_SECONDS) if requests else None
        self._images = Buckets(images, IMAGE_BURST_SECONDS) if images else None
        self._log_ins = Buckets(LOG_INS_PER_MINUTE, LOG_IN_BURST_SECONDS) if limited else None

    def check_request(self, key: str) -> None:
        """Raise 429 where a key has used up what it may ask."""
        if self._requests is not None:
            _check(self._requests.take(key), "requests")

    def check_images(self, request: Request, count: int = 1) -> None:
        """Raise 429 where who asks has used up the images; by the token, if there is one."""
        if self._images is not None:
            # Where nobody needs a token there is none.
            key = who_asks(request)
            _check(self._images.take(key, count), "images")

    def check_log_in(self, request: Request) -> None:
        """Raise 429 where an address has shown as many tokens as it may."""
        if self._log_ins is not None:
            _check(self._log_ins.take(address_of(request.scope)), "log-ins")


class Streams:
    """How many streams of events are open, in all and of each who asks; of one event loop.

    Each of them looks at the database some times a second, for as long as somebody watches.
    """

    def __init__(
        self, *, limited: bool, most: int = MOST_STREAMS, most_each: int = MOST_STREAMS_EACH
    ) -> None:
        """Where nobody is `limited`, everybody is this machine, and the bound is that of all."""
        self._most, self._most_each = most, most_each if limited else most
        self._open: Counter[str] = Counter()

    @contextmanager
    def taken(self, key: str) -> Iterator[None]:
        """Have a stream open while the block runs; or raise StreamsBusyError."""
        if self._open.total() >= self._most or self._open[key] >= self._most_each:
            raise StreamsBusyError
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            # So that addresses that have left are not remembered.
            self._open += Counter()


async def _take_stream(request: Request) -> AsyncIterator[None]:
    streams: Streams = request.app.state.streams
    with streams.taken(who_asks(request)):
        yield


# Of a route that tells events until something is done.
TAKES_STREAM = Depends(_take_stream)


class LimitAddresses:
    """ASGI middleware that refuses an address that asks too often, before anything is read."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(FREE_PATHS):
            try:
                self._limits.check_request(address_of(scope))
            except HTTPException as error:
                await on_http(Request(scope), error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def address_of(scope: Scope) -> str:
    """Return who asks: an address, of IPv6 the network that one customer has [1].

    - [1] https://www.rfc-editor.org/rfc/rfc6177
    """
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def who_asks(request: Request) -> str:
    """Return who asks: by the token, for several may share an address; without one by that."""
    return getattr(request.state, "token_key", None) or address_of(request.scope)


def take_images(request: Request, count: int) -> None:
    """Count images that are to be made; or raise 429 where who asks has used them up."""
    limits: Limits = request.app.state.limits
    limits.check_images(request, count)


async def _take_image(request: Request) -> None:
    take_images(request, 1)


# Of a route that has an image made: each request counts as one.
TAKES_IMAGE = Depends(_take_image)
ImageDep = Annotated[None, TAKES_IMAGE]


def _check(seconds: float, what: str) -> None:
    if seconds:
        raise HTTPException(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"Too many {what} from here; ask again in {math.ceil(seconds)} s.",
            {"Retry-After": str(math.ceil(seconds))},
        )
