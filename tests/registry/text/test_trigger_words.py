from dataclasses import dataclass

from registry.text.trigger_words import missing_triggers


@dataclass
class Adapter:
    trigger_words: list[str]


def test_the_first_word_is_added_unless_it_is_there() -> None:
    adapters = [Adapter(["fox", "other"]), Adapter(["cat"]), Adapter([])]

    assert missing_triggers("a Cat", adapters) == [("fox",), (), ()]


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
