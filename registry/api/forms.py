"""The forms of pages, which work without JavaScript."""

from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from fastapi import Request
from starlette.exceptions import HTTPException

MOST_FORM_BYTES = 4096


async def read_form(request: Request) -> dict[str, str]:
    """Read a form's fields; one that another site sends is refused, as browsers would send it too.

    What a field has twice counts once.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(HTTPStatus.FORBIDDEN, "Pages of other sites may not ask here.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        fields = parse_qs(body.decode(), max_num_fields=10)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error
    return {name: values[0].strip() for name, values in fields.items()}
