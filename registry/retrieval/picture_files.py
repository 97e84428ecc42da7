"""Pictures as people hand them over to be searched by. Needs no database."""

from pathlib import Path

from crawler.covers import MAX_BYTES
from registry.retrieval.errors import PictureError


def picture_bytes(picture: Path | str | bytes) -> bytes:
    """Return a picture's bytes, or those of its file: no more than tell that it is too large.

    Raises:
        PictureError: the file cannot be read.
    """
    if isinstance(picture, bytes):
        return picture
    try:
        with Path(picture).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PictureError(f"{picture} cannot be read: {error.strerror or error}") from error
