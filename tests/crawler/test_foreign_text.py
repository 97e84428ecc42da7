import pytest

from crawler.errors import SourceError
from crawler.foreign_text import MAX_MESSAGE, one_line, quoted, visible
from encoder.errors import LoraFileError


@pytest.mark.parametrize(
    "sign",
    ["\x1b", "\x07", "\x9b", "\x85", "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800", "\x7f"],
    ids=lambda sign: f"U+{ord(sign):04X}",
)
def test_no_sign_that_acts_on_a_terminal_comes_through(sign: str) -> None:
    """Also not the C1 controls, nor marks that turn the direction of writing."""
    assert sign not in one_line(f"a{sign}b")
    assert sign not in quoted(f"a{sign}b")
    assert sign not in visible(f"a{sign}b")
    assert one_line(f"a{sign}b").isprintable()


def test_what_was_there_stays_visible() -> None:
    assert one_line("a\x1b[2Jb") == "a\\x1b[2Jb"


def test_a_text_that_is_shown_whole_keeps_its_shape() -> None:
    for text in ("one\n\ttwo", "👩‍👩‍👧", "می‌خواهم", "水彩"):
        assert visible(text) == text


def test_breaks_become_spaces_and_other_scripts_stay() -> None:
    assert one_line(" 水彩\r\n狐狸\u3000🦊\t é ") == "水彩 狐狸 🦊 é"


def test_a_long_text_keeps_its_end_where_the_remedy_stands() -> None:
    cut = one_line("what happened: " + "x" * 10**6 + " Run it again.", 200)

    assert len(cut) == 200
    assert cut.startswith("what happened")
    assert cut.endswith("Run it again.")


def test_escapes_do_not_lengthen_a_text_beyond_its_limit() -> None:
    assert len(one_line("\x1b" * 10**5, 100)) == 100


def test_a_quotation_says_that_it_was_cut() -> None:
    assert quoted("short") == "'short'"
    assert quoted("x" * 101) == f"'{'x' * 100}'…"


@pytest.mark.parametrize(
    "error",
    [
        SourceError("the hub says \x1b]0;hi\x07 " + "x" * 10**5 + " and stops."),
        LoraFileError("\u202ename.safetensors", "tensor \x9b2J" + "x" * 10**5 + " is odd."),
    ],
    ids=["crawler", "encoder"],
)
def test_every_error_of_ours_is_one_bounded_harmless_line(error: Exception) -> None:
    """By its base class: no place that raises one can forget it."""
    assert len(str(error)) <= MAX_MESSAGE
    assert str(error).isprintable()
    assert str(error).endswith(".")


def test_the_cause_alone_is_bounded_too() -> None:
    """It is what the database stores as the reason of a refusal."""
    cause = LoraFileError("a.safetensors", "tensor \x1b" + "x" * 10**5).cause

    assert len(cause) <= MAX_MESSAGE
    assert cause.isprintable()
