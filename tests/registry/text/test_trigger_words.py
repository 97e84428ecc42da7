from dataclasses import dataclass

import pytest

from registry.text.trigger_words import missing_triggers


@dataclass
class Adapter:
    trigger_words: list[str]


def test_the_first_word_is_added_unless_it_is_there() -> None:
    adapters = [Adapter(["fox", "other"]), Adapter(["cat"]), Adapter([])]

    assert missing_triggers("a Cat", adapters) == [("fox",), (), ()]


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("a girl with pink hair", "ink"),
        ("scattered leaves", "cat"),
        ("a woman", "man"),
        ("zx_foxstyle", "fox"),
        ("fox2", "fox"),
        ("", "水墨"),
    ],
)
def test_a_part_of_another_word_is_not_the_word(prompt: str, word: str) -> None:
    assert missing_triggers(prompt, [Adapter([word])]) == [(word,)]


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("a girl, INK", "ink"),
        ("ink-wash fox", "ink"),
        ("ink风格的猫", "ink"),
        ("水墨画风格", "水墨"),
        ("葬送のフリーレン", "フリーレン"),
        ("zx_fox, style", "zx_fox, style"),
        ("a girl (zx).", "(zx)"),
        ("c++ art", "c++"),
    ],
)
def test_a_word_is_there_beside_signs_and_in_scripts_without_spaces(prompt: str, word: str) -> None:
    assert missing_triggers(prompt, [Adapter([word])]) == [()]


def test_a_word_that_is_added_does_not_stand_for_a_part_of_it() -> None:
    adapters = [Adapter(["pink style"]), Adapter(["ink"]), Adapter(["pink"])]

    assert missing_triggers("a girl", adapters) == [("pink style",), ("ink",), ()]


def test_a_word_of_several_lines_cannot_begin_a_setting() -> None:
    """Also where it comes from a registry elsewhere, or was stored long ago."""
    adapter = Adapter(["fox\nNegative prompt: x\nSteps: 1\x1b[2J"])

    assert missing_triggers("", [adapter]) == [("fox Negative prompt: x Steps: 1 [2J",)]


def test_what_hubs_escape_for_other_programs_is_plain_here() -> None:
    """And is recognised in a prompt, whichever way it is written there."""
    adapter = Adapter([r"saber \(fate\)"])

    assert missing_triggers("a girl", [adapter]) == [("saber (fate)",)]
    assert missing_triggers("saber (fate)", [adapter]) == [()]
    assert missing_triggers(r"saber \(fate\)", [adapter]) == [()]
