"""Cursors: opaque, of one question, and nothing that anybody makes up gets through."""

import base64
import json
import zlib
from typing import Any

import pytest

from registry.retrieval.cursors import read_cursor, read_number, write_cursor
from registry.retrieval.errors import CursorError, OtherQuestionError
from registry.retrieval.filters import Filters
from registry.retrieval.terms import LONGEST_CURSOR

QUESTION = ("browse", Filters(authors=("ann",)), "name", 0)


def pack(said: object) -> str:
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return base64.urlsafe_b64encode(zlib.compress(data)).decode().rstrip("=")


@pytest.mark.parametrize(
    "position", [[1], ["狐狸 \u202e", 7], [None, True, 0.5], [list(range(1000, 2500))], []]
)
def test_a_cursor_keeps_its_position(position: list[object]) -> None:
    cursor = write_cursor(QUESTION, position)  # type: ignore[arg-type]

    assert read_cursor(QUESTION, cursor) == position
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert len(cursor) <= LONGEST_CURSOR


@pytest.mark.parametrize(
    "other",
    [
        ("browse", Filters(authors=("bob",)), "name", 0),
        ("browse", Filters(authors=("ann",)), "size", 0),
        ("browse", Filters(authors=("ann",)), "name", 1),
        "runs",
    ],
)
def test_a_cursor_is_of_one_question(other: object) -> None:
    with pytest.raises(OtherQuestionError, match="of another question"):
        read_cursor(other, write_cursor(QUESTION, [1]))


@pytest.mark.parametrize(
    "made_up",
    [
        "",
        "x",
        "é",
        "a b",
        pack(b"\xff\xfe"),
        pack(b"["),
        pack(b"[" * 50_000),
        pack([]),
        pack({}),
        pack([7]),
        pack(b"0" * 10_000_000),
        base64.urlsafe_b64encode(b"id:7").decode(),
    ],
)
def test_what_is_made_up_is_refused(made_up: str) -> None:
    """And in no time: what unpacks to ten million bytes is not unpacked."""
    with pytest.raises(CursorError):
        read_cursor(QUESTION, made_up)


@pytest.mark.parametrize("number", [True, 0, -1, 10**30, 1.5, "7", None])
def test_a_list_goes_on_below_a_number_as_ids_are(number: Any) -> None:
    assert read_number("runs", write_cursor("runs", [7])) == 7
    with pytest.raises(CursorError):
        read_number("runs", write_cursor("runs", [number]))
