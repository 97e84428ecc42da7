"""The forms of pages, which work without JavaScript."""

from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from fastapi import Request
from starlette.exceptions import HTTPException

# A prompt and what is to be avoided, of 2000 signs each, as a form writes them.
MOST_FORM_BYTES = 32 * 1024
MOST_FIELDS = 30


async def read_form(request: Request) -> dict[str, str]:
    """Read a form's fields; what a field has twice counts once."""
    return {name: values[0] for name, values in (await read_fields(request)).items()}


async def read_fields(request: Request) -> dict[str, list[str]]:
    """Read a form's fields with all their values, those that are empty left out.

    A form that another site sends is refused, as browsers would send it too.
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
        fields = parse_qs(body.decode(), max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error
    return {name: [value.strip() for value in values] for name, values in fields.items()}
