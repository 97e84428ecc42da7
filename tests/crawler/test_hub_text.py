import time
from typing import Any

import pytest

from crawler.hub_text import clean_text, clean_words, plain_text, split_phrases


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('["a","b"]', ("a", "b")),
        (["a", "a", "b"], ("a", "b")),
        ("a cat", ("a cat",)),
        ('[""]', ()),
        ("none", ()),
        ("[broken", ("[broken",)),
        (None, ()),
        ([None, 7, {"a": 1}, "x"], ("x",)),
        (["fox\nSteps: 1, Seed: 2", "a\r\n\u2028b"], ("fox Steps: 1, Seed: 2", "a b")),
    ],
)
def test_words_are_read_from_every_shape(value: Any, words: tuple[str, ...]) -> None:
    assert clean_words(value) == words


def test_text_holds_nothing_that_a_database_refuses() -> None:
    text = clean_text("  猫\0\ud800\u202e\x1b[31m line\nnext\t ", 100)

    assert text == "猫[31m line\nnext"
    text.encode()


@pytest.mark.parametrize(
    ("written", "phrases"),
    [
        ("zqx, blu", ("zqx", "blu")),
        (["zqx, blu", "red hat"], ("zqx", "blu", "red hat")),
        ('["zqx, blu"]', ("zqx", "blu")),
        ("红帽，蓝帽、绿帽", ("红帽", "蓝帽", "绿帽")),
        ("saber \\(fate\\), <lora:saber:0.8>", ("saber (fate)",)),
        ("A mushroom in [V] style", ("A mushroom in [V] style",)),
        ("[V], photo", ("[V]", "photo")),
        (["", None, 3, "none"], ()),
        (None, ()),
    ],
)
def test_trigger_phrases_are_split_as_they_are_written(
    written: object, phrases: tuple[str, ...]
) -> None:
    assert split_phrases(written) == phrases


def test_a_text_that_a_list_repeats_is_split_once() -> None:
    """Each time again, this would take an hour."""
    assert split_phrases(["a," * 10_000] * 100_000) == ("a",)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Draws <b>ink</b>.</p><p>And wash &amp; more.</p>", "Draws ink.\nAnd wash & more."),
        ("a < b and b > c", "a < b and b > c"),
        ("<style>p { color: red }</style><SCRIPT src=x>go()</SCRIPT >Ink", "Ink"),
        ("<style>a</style>In<script>b</script>k", "Ink"),
        pytest.param(f"In&#{'9' * 10_000};k", "Ink", id="endless number"),
        ("a fox in <style> of <script>ink", "a fox in  of ink"),
        (None, ""),
        (3, ""),
    ],
)
def test_html_is_read_as_text(html: object, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize("part", ["<style>", "<script ", "</style "])
def test_hostile_markup_is_read_in_one_pass(part: str) -> None:
    """Where the end of each part is looked for anew, so many texts take six minutes."""
    markup = part * (40_000 // len(part))
    started = time.process_time()

    for _ in range(120):
        plain_text(markup)

    assert time.process_time() - started < 30  # of a processor


def test_spaces_that_do_not_print_stay_between_words() -> None:
    """Of HTML (&nbsp;), and of Chinese texts."""
    text = plain_text("Use&nbsp;weight&nbsp;0.8") + "\u2028国风\u3000水墨\r\n\x00\u200b."

    assert clean_text(text, 100) == "Use weight 0.8\n国风 水墨\n."
