"""What pydantic finds wrong, in our words."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from registry.faults import MOST_SHOWN_LETTERS, fault_words, shown


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (int, "abc", "limit is 'abc'; write a whole number"),
        (int, "1.5", "limit is 1.5; write a whole number"),
        (float, "x", "limit is 'x'; write a number"),
        (bool, "maybe", "limit is 'maybe'; it is true or false"),
        (Annotated[int, Field(le=100)], "101", "limit is 101; it is 100 at most"),
        (Annotated[int, Field(ge=1)], 0, "limit is 0; it is 1 at least"),
        (Annotated[float, Field(le=2.5)], 3, "limit is 3; it is 2.5 at most"),
        (Literal["any", "hide"], "odd", "limit is 'odd'; it is one of any, hide"),
        (Annotated[str, Field(max_length=2000)], "x" * 4000,
         "limit has 4,000 characters; it has 2,000 at most"),
        (Annotated[str, Field(min_length=1)], "", "limit has 0 characters; it has 1 at least"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "limit has 2 values; it has 1 at most"),
        (str, 5, "limit is 5; give a text"),
    ],
)  # fmt: skip
def test_a_fault_says_what_was_given_and_what_is_allowed(kind: Any, given: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(given)

    assert fault_words("limit", dict(caught.value.errors()[0])) == said


def test_what_was_given_is_not_repeated_at_length() -> None:
    for value in ("x" * 10_000, ["x"] * 10_000, {"x" * 10_000: 1}):
        assert len(shown(value)) <= MOST_SHOWN_LETTERS + 3
