"""Files that are sent whole or in parts, and how it is told that there is no such part."""

from http import HTTPStatus

from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

NO_SUCH_PART = "Range asks for what the file does not have; its length is in Content-Range."
NO_RANGE = "Range is none that can be read; write it as bytes=0-1023."
SAID = {HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: NO_SUCH_PART, HTTPStatus.BAD_REQUEST: NO_RANGE}


class PartsResponse(FileResponse):
    """Sends a file, or what Range asks for of it.

    Range is of GET alone, and one of other units than bytes is passed over [1].

    - [1] https://www.rfc-editor.org/rfc/rfc9110#section-14.2

    Raises, while it answers:
        HTTPException: there is no such part; Starlette's own answer would say nothing of it.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_or_raise(message: Message) -> None:
            said = SAID.get(message.get("status", 0))
            if message["type"] == "http.response.start" and said is not None:
                kept = [(name, own) for name, own in message["headers"] if name == b"content-range"]
                headers = {name.decode(): own.decode() for name, own in kept}
                raise HTTPException(message["status"], said, headers)
            await send(message)

        await super().__call__(_without_foreign_range(scope), receive, send_or_raise)


def _without_foreign_range(scope: Scope) -> Scope:
    """Return a request without a Range that it should be answered as if it had none."""
    is_get = scope["method"] == "GET"
    headers = [
        (name, own)
        for name, own in scope["headers"]
        if name != b"range" or (is_get and own.strip().lower().startswith(b"bytes="))
    ]
    return {**scope, "headers": headers}
