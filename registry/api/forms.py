"""The forms of pages, which work without JavaScript.

`Admission` has refused those that another site sends, and those that are too long.
"""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from registry.api.schemas.shapes import without_nul

# Of hundreds of copies in one's folders, each can be ticked.
MOST_FIELDS = 1000


async def read_form(request: Request) -> dict[str, str]:
    """Read a form's fields; what a field has twice counts once."""
    return {name: values[0] for name, values in (await read_fields(request)).items()}


async def read_fields(request: Request) -> dict[str, list[str]]:
    """Read a form's fields with all their values, those that are empty left out."""
    body = await request.body()
    try:
        fields = parse_qs(body.decode(), max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error
    return {
        name: [without_nul(value.strip()) for value in values] for name, values in fields.items()
    }


FormDep = Annotated[dict[str, str], Depends(read_form)]
