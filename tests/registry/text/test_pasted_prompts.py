"""Prompts as web UIs have them are read as what they say, and what they call for."""

import pytest

from registry.text.pasted_prompts import read_pasted
from registry.text.unwanted import Wish, read_wish


def test_a_pasted_prompt_says_what_it_calls_for_and_what_it_shows() -> None:
    pasted = read_pasted("a fox, <lora:styles/ink.safetensors:0.8><lora:glow:1>, (night:1.2)")

    assert pasted.called_names == ("ink", "glow")
    assert [named.strength for named in pasted.called] == [0.8, 1.0]
    assert pasted.without_calls == "a fox, (night:1.2)"
    assert pasted.plain_words == "a fox, night"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(artoria pendragon \\(fate\\):1.2), no humans", "artoria pendragon (fate), no humans"),
        ("(rem \\(re:zero\\):1.1)", "rem (re:zero)"),
        ("a fox in ink --ar 16:9 --v 6", "a fox in ink"),
        ("a fox --no text, red hat --ar 16:9", "a fox, without text, without red hat"),
        ("a fox --no text", "a fox, without text"),
        ("a fox --no text\nsnow", "a fox, without text, snow"),
        ("score_9, score_8_up, a fox", "a fox"),
        ("a fox, __bg__, snow", "a fox, snow"),
        ("a fox BREAK a wood", "a fox, a wood"),
        ("狐狸 BREAK 雪地", "狐狸, 雪地"),
        ("（蓝天：1.2），白云", "蓝天，白云"),
        ("(蓝天：1.2)，（白云:.8）", "蓝天，白云"),
        ("（蓝天：1.2），狐狸（红色）", "蓝天，狐狸（红色）"),
    ],
)
def test_a_prompt_is_known_by_what_only_programs_understand(text: str, words: str) -> None:
    assert read_pasted(text).plain_words == words


@pytest.mark.parametrize("call", ["<lora:国风：0.8>", "<lora：国风：0.8>", "<lora：国风:0.8>"])
def test_a_call_may_have_the_signs_of_a_chinese_keyboard(call: str) -> None:
    pasted = read_pasted(f"狐狸 {call}")

    assert [(named.stem, named.strength) for named in pasted.called] == [("国风", 0.8)]
    assert pasted.plain_words == "狐狸"
    assert read_pasted("<lora:fate：zero:1>").called_names == ("fate：zero",)


def test_what_midjourney_is_told_not_to_draw_is_not_wanted() -> None:
    wish = read_wish(read_pasted("a fox --no text, red hat --ar 16:9").plain_words)

    assert wish == Wish("a fox", ("text", "red hat"))


@pytest.mark.parametrize(
    "text",
    [
        "a fox_v2 [draft], best quality", "3 < 4", "狐狸，夜晚", "PRISON BREAK", "Prison BREAK",
        "BREAK", "break a leg", "foo --bar", "Miku -Racing-", "highscore_9", "foo__bar__v2",
        "rem （re：zero）", "狐狸（红色）",
        "rem (re:zero)", "saber \\(fate\\), praise", "[cat:dog] best quality", "a fox -- no hat",
    ],
)  # fmt: skip
def test_what_comes_of_no_web_ui_stays_as_it_is(text: str) -> None:
    pasted = read_pasted(text)

    assert pasted.called == ()
    assert pasted.without_calls == pasted.plain_words == text


def test_a_prompt_that_only_calls_for_adapters_is_their_names() -> None:
    assert read_pasted("<lora:ink:0.8> <lora:glow:1>").plain_words == "ink glow"


@pytest.mark.parametrize("seam", ["\n", "\r\n", " "])
def test_what_a_web_ui_writes_behind_a_prompt_is_no_part_of_it(seam: str) -> None:
    """Else a search goes for what the picture was to be without. Search boxes have one line."""
    settings = f'Negative prompt: hat, <lora:no:1>{seam}Steps: 20, Lora hashes: "ink: 68bbf6e368"'

    pasted = read_pasted(f"a fox, best quality, <lora:ink:0.8>{seam}{settings}")
    plain = read_pasted(f"a fox, best quality{seam}Steps: 20, Sampler: Euler a, CFG scale: 7")

    assert pasted.without_calls == "a fox, best quality"
    assert pasted.plain_words == plain.plain_words == "a fox"
    assert pasted.called_names == ("ink",)
    assert pasted.pointers == (settings, "ink")


@pytest.mark.parametrize(
    "text",
    [
        "a cat Negative Prompt: dog, blurry",
        "a cat\nnegative prompt: dog",
        "a cat 反向提示词：狗，模糊",
        "a cat，负面提示词: 狗",
        "a cat 负向提示词：狗",
        "a cat NEGATIVE PROMPT : dog",
        "a cat Negative prompt：狗",
        "a cat 負面提示詞：狗",
    ],
)
def test_what_a_picture_was_to_be_without_is_known_in_any_case_and_in_chinese(text: str) -> None:
    pasted = read_pasted(text)

    assert pasted.plain_words == "a cat"
    assert pasted.settings


@pytest.mark.parametrize(
    "text",
    ["反向提示词：狗", "负面情绪：猫", "反向提示词", "a negative prompt", "Negative prompt: dog"],
)
def test_what_only_speaks_of_such_a_prompt_stays_as_it_is(text: str) -> None:
    assert read_pasted(text).plain_words == text


@pytest.mark.parametrize("text", ["Steps: 20, Sampler: Euler", "dance steps: a waltz", "Steps: up"])
def test_what_only_looks_like_settings_stays_as_it_is(text: str) -> None:
    pasted = read_pasted(text)

    assert pasted.text == pasted.plain_words == text


@pytest.mark.parametrize("weight", ["1.2", ".5", "-1", "-1.", "10"])
def test_weights_are_known_however_they_are_written(weight: str) -> None:
    assert read_pasted(f"(night:{weight})").plain_words == "night"


@pytest.mark.parametrize(
    "part",
    [
        "(",
        "(a",
        "\\(",
        "(a:b",
        " --no ",
        " --no a",
        "__a",
        "BREAK ",
        "[:",
        "（a",
        "（：1",
        "：1",
        "（a：1",
    ],
)
def test_a_hostile_text_is_read_in_time_that_grows_with_it(part: str) -> None:
    """The timeout is the check."""
    assert read_pasted(part * 20_000).plain_words


def test_a_long_number_is_read_once() -> None:
    """Tried at each of its digits, ten thousand would take seconds of everybody."""
    text = "(a:" + "1" * 1_000_000

    assert read_pasted(text).plain_words == text
