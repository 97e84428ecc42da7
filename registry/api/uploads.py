"""Pictures that are sent here: bounded in bytes and in number, and kept nowhere."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from crawler.covers import MAX_BYTES
from registry.api.deps import Places

# What a form puts around a picture.
FRAME_BYTES = 4096
# Of a form that are looked at: 32 MB may be millions, and nobody else is answered meanwhile.
MOST_PARTS = 20
MOST_UPLOAD_BYTES = MAX_BYTES + FRAME_BYTES
# Pictures that are held in memory at once.
MOST_UPLOADS = 4


async def _picture(request: Request) -> AsyncIterator[bytes]:
    """Give the picture that is a request's body, or the first file of its form."""
    places: Places = request.app.state.uploads
    await places.take()
    try:
        # Bounded while it comes, by `Admission`.
        data = await request.body()
        kind = request.headers.get("content-type", "")
        yield _file_in_form(data, kind) if kind.startswith("multipart/") else data
    finally:
        places.give_back()


def _file_in_form(body: bytes, content_type: str) -> bytes:
    """Return the first file of a form [1]; empty where none was chosen.

    - [1] https://www.rfc-editor.org/rfc/rfc7578
    """
    boundary = content_type.partition("boundary=")[2].split(";")[0].strip('" ')
    if not boundary or not boundary.isascii():
        raise HTTPException(400, "The form does not say where its parts end.")
    mark = b"--" + boundary.encode()
    begin = 0
    for _ in range(MOST_PARTS):
        at = body.find(mark, begin)
        head_end = body.find(b"\r\n\r\n", at, at + FRAME_BYTES)
        end = body.find(b"\r\n" + mark, max(head_end, at + len(mark)))
        if min(at, head_end, end) < 0:
            break
        if b"filename=" in body[at:head_end]:
            return body[head_end + 4 : end]
        begin = end + 2
    raise HTTPException(400, f"The form has no file among its first {MOST_PARTS} parts.")


# To be asked for before the registry: who sends slowly must not keep it.
PictureDep = Annotated[bytes, Depends(_picture, scope="function")]
