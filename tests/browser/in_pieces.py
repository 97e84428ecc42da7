"""A server whose pages come as over a line that stalls: piece by piece, painted in between."""

import asyncio
from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Small at first, where what is seen at once is, then each a tenth of all before.
FIRST_BYTES = 150
# In which a browser paints more than once.
PAUSE_SECONDS = 0.04
# Until styles are there, without which nothing is painted.
STYLES_SECONDS = 0.4


class InPieces:
    """Sends what is a page so, and all else at once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = False

        async def send_slowly(message: Message) -> None:
            nonlocal is_page
            if message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"")
                is_page = kind.startswith(b"text/html")
            if not (is_page and message.get("body")):
                await send(message)
                return
            for piece, pause in pieces(message["body"]):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(pause)
            await send({**message, "body": b""})

        if scope["type"] == "http":
            # A page that is packed has no pieces that could be painted.
            headers = [item for item in scope["headers"] if item[0] != b"accept-encoding"]
            scope = {**scope, "headers": headers}
        await self.app(scope, receive, send_slowly)


def pieces(page: bytes) -> Iterator[tuple[bytes, float]]:
    """Yield a page's head and then its pieces, each with the seconds to wait after it."""
    start = page.index(b"<body") if b"<body" in page else 0
    head = start
    yield page[:head], STYLES_SECONDS
    while start < len(page):
        end = start + max(FIRST_BYTES, (start - head) // 10)
        yield page[start:end], PAUSE_SECONDS
        start = end
