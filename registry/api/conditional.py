"""Answers that are not sent again to who has them already (RFC 9110, section 13)."""

import hashlib
from collections.abc import Mapping

from fastapi import Request, Response
from pydantic import BaseModel

# Kept, but asked about each time.
REVALIDATE = "no-cache"
NOT_MODIFIED = {"description": "Who asks has it already, as If-None-Match says."}


def not_modified(request: Request, headers: Mapping[str, str]) -> Response | None:
    """Return the answer for who has what `headers` name by its ETag; None for who has not."""
    known = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    if headers["ETag"].removeprefix("W/") in tags or tags == {"*"}:
        return Response(status_code=304, headers=headers)
    return None


def revalidated(request: Request, answer: BaseModel, cache_control: str = REVALIDATE) -> Response:
    """Send an answer with an ETag of its content, or 304 to who has it."""
    body = answer.model_dump_json().encode()
    # Weak, for it may be compressed on its way, which changes the bytes and not the meaning.
    tag = hashlib.sha256(body).hexdigest()[:32]
    headers = {"ETag": f'W/"{tag}"', "Cache-Control": cache_control}
    answered = not_modified(request, headers)
    return answered or Response(body, media_type="application/json", headers=headers)
