"""Parts of questions."""

import pytest

from registry.text.question_parts import MOST_PARTS, parts_of


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("a cat made of ice, as a shadow puppet", ["cat", "ice", "shadow puppet"]),
        ("stopwatch: dark filled shapes", ["stopwatch", "dark filled shapes"]),
        ("a fox in the style of Hokusai", ["fox", "Hokusai"]),
        ("把秒表画成：深色填满的形状", ["把秒表", "深色填满的形状"]),
        ("水墨画，马", ["水墨画", "马"]),
        ("图标，一只马", ["图标", "马"]),
        ("one piece: a photo of luffy", ["one piece", "luffy"]),
    ],
)
def test_what_and_how_are_parts(question: str, parts: list[str]) -> None:
    assert parts_of(question) == parts


@pytest.mark.parametrize(
    "question",
    [
        "cat",
        "a fox with a red hat and gloves on a bridge",
        "SD1.5",
        "鸭子和船",
        "",
        "...",
        "a, the",
    ],
)
def test_what_is_said_in_one_stays_whole(question: str) -> None:
    assert parts_of(question) == []


def test_examples_are_not_asked_for() -> None:
    assert parts_of("flat icons: food, such as a pizza, an apple") == ["flat icons", "food"]
    assert parts_of("扁平图标，食物，例如披萨、苹果") == ["扁平图标", "食物"]


def test_a_list_of_tags_stays_whole() -> None:
    tags = [f"tag{'x' * k}" for k in range(1, MOST_PARTS + 2)]
    assert len(parts_of(", ".join(tags[:-1]))) == MOST_PARTS
    assert parts_of(", ".join(tags)) == []
