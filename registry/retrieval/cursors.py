"""Where a page of an answer ended, as a text that the next page is asked for with.

Opaque to who carries it, and checked: it goes on with the question that it is of, and no other. It
holds what the next page begins after, such as the last row's sort value and id; or, where no index
has an answer's order, the ids that are still to come.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, TypeGuard

from registry.retrieval.errors import CursorError, OtherQuestionError

# What an honest one unpacks to at most.
MOST_BYTES = 100_000

Value = str | int | float | bool | None | list[int]


def write_cursor(question: object, position: Sequence[Value]) -> str:
    """Return a cursor into the answer to `question`, which is told apart by its `repr`."""
    said = json.dumps([_mark(question), *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(said.encode(), 9)).decode().rstrip("=")


def read_cursor(question: object, cursor: str) -> list[Any]:
    """Return the position that `write_cursor` was given; its values' types are unchecked.

    Raises:
        OtherQuestionError: the cursor is of another question.
        CursorError: it is no cursor.
    """
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        unpacked = zlib.decompressobj().decompress(packed, MOST_BYTES)
        said = json.loads(unpacked)
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise CursorError from error
    if not isinstance(said, list) or not said or not isinstance(said[0], str):
        raise CursorError
    mark, *position = said
    if mark != _mark(question):
        raise OtherQuestionError
    return position


def read_number(question: object, cursor: str | None) -> int | None:
    """Return the number below which a list goes on, None for its start.

    Raises:
        CursorError: it is no cursor of this list.
    """
    if cursor is None:
        return None
    match read_cursor(question, cursor):
        case [before] if is_bigint(before) and before > 0:
            return before
        case _:
            raise CursorError


def is_bigint(value: Any) -> TypeGuard[int]:
    """Whether a cursor's value is a whole number as ids are; JSON's true and false are none."""
    return type(value) is int and -(2**63) <= value < 2**63


def _mark(question: object) -> str:
    return blake2b(repr(question).encode("utf-8", "replace"), digest_size=6).hexdigest()
