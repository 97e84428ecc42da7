"""What people give to be asked for: read, or refused in one line that says what is allowed."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from registry.retrieval.errors import FilterError, QueryTooLongError, SearchError
from registry.retrieval.given_values import (
    MOST_CHARACTERS,
    Likes,
    Paging,
    read_filters,
    read_ids,
    read_question,
)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"commercial": "maybe"}, "commercial is 'maybe'; it is true or false."),
        ({"trigger_words": 2}, "trigger_words is 2; it is true or false."),
        ({"author": 5}, "author is 5; give a text, or several in a list."),
        ({"tag": ["fox", None]}, "tag is None; give a text."),
        ({"tag": ["x"] * 21}, "tag has 21 values; it has 20 at most."),
        ({"hub": "x" * 201}, "hub has 201 characters; it has 200 at most."),
        ({"min_size": -1}, "min_size is -1; write a size, like 200MB or 1.5GB."),
        ({"max_size": True}, "max_size is True; write a size, like 200MB or 1.5GB."),
        ({"min_rank": "16"}, "min_rank is '16'; write a whole number, like 16."),
        ({"updated_since": 5}, "updated_since is 5; write a day, like 2026-01-31."),
        ({"mature": "odd"}, "mature is 'odd'; it is one of any, hide, only."),
        ({"min_rank": 9, "max_rank": 8}, "min_rank is 9 and max_rank is 8: nothing is both."),
    ],
)
def test_a_filter_that_cannot_be_is_told_with_what_can(filters: dict[str, Any], said: str) -> None:
    with pytest.raises(FilterError) as caught:
        read_filters(filters)

    assert str(caught.value) == said


def test_none_and_nothing_ask_for_nothing() -> None:
    """As over HTTP, where what is not sent is not asked for."""
    names = ("author", "tag", "commercial", "min_rank", "max_size", "updated_since", "mature")

    assert read_filters(dict.fromkeys(names)) == {}
    assert read_filters({"author": [], "tag": ()}) == {}


def test_filters_are_read() -> None:
    asked = {"author": "ann", "tag": ["a", "b"], "commercial": "True", "max_size": "2MB"}

    assert read_filters(asked | {"updated_since": "2026-01-31"}) == {
        "author": ("ann",),
        "tag": ("a", "b"),
        "commercial": True,
        "max_size": 2_000_000,
        "updated_since": datetime(2026, 1, 31, tzinfo=UTC),
    }


@pytest.mark.parametrize("size", [10**15, 2**62 + 1, 2**63 - 1])
def test_a_size_is_the_same_in_words(size: int) -> None:
    """A client sends sizes so."""
    assert read_filters({"max_size": str(size)}) == read_filters({"max_size": size})


def test_a_size_that_no_file_has_is_none() -> None:
    for size in (2**63, str(2**63), "9999999999999999999.5", "10000000TB"):
        with pytest.raises(FilterError, match="write a size"):
            read_filters({"max_size": size})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a"], "like is 'a'; write a whole number."),
        ([0], "like is 0; it is 1 at least."),
        ([True], "like is True; write a whole number."),
        ("66", "like is '66'; give an adapter's id, or several in a list."),
        (6.5, "like is 6.5; give an adapter's id, or several in a list."),
        ({66: "x"}, "like is {66: 'x'}; give an adapter's id, or several in a list."),
    ],
)
def test_what_is_no_id_is_told_so(given: object, said: str) -> None:
    with pytest.raises(FilterError) as caught:
        read_ids("like", given)

    assert str(caught.value) == said


def test_one_id_may_stand_alone() -> None:
    assert read_ids("like", 66) == (66,)
    assert read_ids("like", iter([1, 2])) == (1, 2)
    assert read_ids("like", np.array([1, 2])) == read_ids("like", [np.int32(1), 2]) == (1, 2)
    assert Likes.read(None, (), None) == Likes((), (), "")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ({"limit": 1000}, "limit is 1000; it is 100 at most."),
        ({"limit": 0}, "limit is 0; it is 1 at least."),
        ({"limit": "5"}, "limit is '5'; write a whole number."),
        ({"seed": -1}, "seed is -1; it is 0 at least."),
        ({"cursor": 7}, "cursor is 7; give a text."),
        ({"sort": "odd"}, "sort is 'odd'; it is one of relevance, name, "),
    ],
)
def test_a_page_that_cannot_be_is_told_with_what_can(page: dict[str, Any], said: str) -> None:
    with pytest.raises(FilterError) as caught:
        Paging.read(**{"limit": 10, "cursor": None} | page)

    assert str(caught.value).startswith(said)


def test_a_question_is_a_text_that_ends() -> None:
    assert read_question("text", None) == ""
    assert read_question("text", "x" * MOST_CHARACTERS)
    with pytest.raises(SearchError, match="text is 5; give a text"):
        read_question("text", 5)
    with pytest.raises(QueryTooLongError, match="10,001 characters; at most 10,000"):
        read_question("text", "x" * (MOST_CHARACTERS + 1))


def test_a_value_is_not_repeated_at_length() -> None:
    with pytest.raises(FilterError) as caught:
        read_filters({"min_size": "x" * 10_000})

    assert len(str(caught.value)) < 120
