"""Pictures that are sent here: bounded in bytes and in number, and kept nowhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated
from weakref import WeakValueDictionary

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from crawler.covers import MAX_BYTES
from registry.api.deps import WAIT_SECONDS, Places
from registry.api.description import BYTES
from registry.api.errors import UploadsBusyError
from registry.api.limits import who_asks

# How the description says what a form holds: any name will do.
FORM = {"type": "object", "properties": {"file": BYTES}, "required": ["file"]}
# What a form puts around a picture.
FRAME_BYTES = 4096
# Of a form that are looked at: 32 MB may be millions, and nobody else is answered meanwhile.
MOST_PARTS = 20
MOST_UPLOAD_BYTES = MAX_BYTES + FRAME_BYTES
# Pictures that are held in memory at once, and of them those that one sends: a picture may take
# more than an hour to come.
MOST_UPLOADS = 4
MOST_UPLOADS_EACH = 2


class Uploads:
    """Places for pictures, in all and of each who asks; of one event loop."""

    def __init__(
        self,
        *,
        limited: bool,
        most: int = MOST_UPLOADS,
        most_each: int = MOST_UPLOADS_EACH,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Where nobody is `limited`, everybody is this machine, and the bound is that of all."""
        places = partial(Places, wait_seconds=wait_seconds, error=UploadsBusyError)
        self._all = places(most)
        self._new = partial(places, most_each if limited else most)
        # Who has left is not remembered.
        self._each: WeakValueDictionary[str, Places] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, key: str) -> AsyncIterator[None]:
        """Have a place while the block runs; or raise UploadsBusyError."""
        own = self._each.setdefault(key, self._new())
        async with own.taken(), self._all.taken():
            yield


async def _picture(request: Request) -> AsyncIterator[bytes]:
    """Give the picture that is a request's body, or the first file of its form."""
    uploads: Uploads = request.app.state.uploads
    async with uploads.taken(who_asks(request)):
        # Bounded while it comes, by `Admission`.
        data = await request.body()
        kind = request.headers.get("content-type", "")
        yield _file_in_form(data, kind) if kind.startswith("multipart/") else data


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
