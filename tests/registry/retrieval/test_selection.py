"""Which of the finds for a prompt's parts are fused."""

import numpy as np
import pytest

from registry.retrieval.probability import LEAST_FIT
from registry.retrieval.selection import Candidate, choose
from registry.text.prompt_phrases import Span, spans_of

FIRST, SECOND, BOTH = Span(0, 0, "fox"), Span(1, 1, "watercolour"), Span(0, 1, "both")


def candidate(
    adapter_id: int,
    fit: float,
    span: Span = FIRST,
    angle: float | None = None,
    sha256: str = "",
) -> Candidate:
    """`angle` in degrees places its weights on a circle."""
    embedding = None
    if angle is not None:
        radians = np.radians(angle)
        embedding = np.array([np.cos(radians), np.sin(radians)], np.float32)
    return Candidate(adapter_id, sha256 or f"file {adapter_id}", span, fit, embedding)


def ids(chosen: list[Candidate]) -> list[int]:
    return [one.adapter_id for one in chosen]


def test_each_part_gets_its_own_adapter() -> None:
    """`a fox in watercolour` needs a fox and a watercolour, not two foxes."""
    fox, another_fox, watercolour = (
        candidate(1, 0.99),
        candidate(2, 0.98),
        candidate(3, 0.8, SECOND),
    )

    assert ids(choose([fox, another_fox, watercolour], 3)) == [1, 3]


def test_what_is_one_thing_is_not_cut_in_two() -> None:
    """`salt and pepper` is surer as a whole than either half."""
    halves = [candidate(1, 0.6), candidate(3, 0.7, SECOND)]

    assert ids(choose([*halves, candidate(2, 0.9, BOTH)], 3)) == [2]


def test_a_part_that_nothing_fits_gets_nothing() -> None:
    """A bad adapter is worse than none."""
    stranger = candidate(2, LEAST_FIT - 0.01, SECOND)

    assert ids(choose([candidate(1, 0.9), stranger], 3)) == [1]
    assert choose([stranger], 3) == choose([], 3) == []


def test_near_copies_and_the_same_file_are_skipped() -> None:
    """A re-upload would only double the strength."""
    original = candidate(1, 0.99, angle=0, sha256="same")
    retrained = candidate(2, 0.98, SECOND, angle=5)
    uploaded_again = candidate(3, 0.97, SECOND, sha256="same")
    other = candidate(4, 0.6, SECOND, angle=80)

    assert ids(choose([original, retrained, uploaded_again, other], 3)) == [1, 4]


def test_no_more_than_wanted_and_the_surest_first() -> None:
    assert ids(choose([candidate(1, 0.7), candidate(2, 0.9, SECOND)], 1)) == [2]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a fox in watercolour", ["fox", "watercolour"]),
        ("a cat, a dog and a rose", ["cat", "dog", "rose"]),
        ("a castle in the style of line art", ["castle", "line art"]),
        ("水彩画风格的狐狸", ["水彩画", "狐狸"]),
        ("用黑色剪影风格画的狐狸，绿色波点", ["黑色剪影", "狐狸", "绿色波点"]),
        ("a line art drawing of a fox", ["line art", "fox"]),
        ("please draw a picture of a fox and a hen", ["fox", "hen"]),
        ("draw some cats, paint me a hen", ["cats", "hen"]),
        ("请画一只狐狸，帮我画图标", ["狐狸", "图标"]),
        ("one piece, luffy", ["one piece", "luffy"]),
        ("photo booth strip and a picture frame", ["photo booth strip", "picture frame"]),
        ("icon set, paint splash", ["icon set", "paint splash"]),
        ("图标，图腾，图书馆", ["图标", "图腾", "图书馆"]),
        ("画家的肖像", ["画家", "肖像"]),
        ("一个床，画一个拖拉机，一朵花", ["床", "拖拉机", "花"]),
        ("一拳超人，画风", ["一拳超人", "画风"]),
        ("a fox, a painting, 一张图片", ["fox"]),
        (
            "masterpiece, best quality, absurdres, 8k, highly detailed, hd, a fox, ink",
            ["fox", "ink"],
        ),
        ("masterpiece", ["masterpiece"]),
        ("fox", ["fox"]),
        ("🦊", ["🦊"]),
        ("  ", [""]),
        ("with and in on", ["with and in on"]),
    ],
)
def test_parts_of_prompts(prompt: str, parts: list[str]) -> None:
    assert [span.text for span in spans_of(prompt) if span.first == span.last] == parts


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("穿和服的少女", ["穿和服", "少女"]),
        ("系领带的猫", ["系领带", "猫"]),
        ("系領帶的貓", ["系領帶", "貓"]),
        ("油画的猫和狗", ["油画", "猫", "狗"]),
        ("桌上的猫", ["桌上", "猫"]),
        ("用水墨画的猫", ["水墨画", "猫"]),
        ("在树林里的狐狸", ["树林里", "狐狸"]),
        ("带火的狗", ["带火", "狗"]),
        ("樱花以及鸟居", ["樱花", "鸟居"]),
        *(
            (whole, [whole])
            for whole in (
                "埃及法老", "柔和光线", "热带鱼", "绷带少女", "背带裤", "军用卡车", "在线课堂",
                "以色列", "老人与海", "是枝裕和", "昭和风格",
            )
        ),
    ],
)  # fmt: skip
def test_chinese_words_are_not_cut_in_two(prompt: str, parts: list[str]) -> None:
    """A half of one, as 服 of 和服, has every sign of strangers' names."""
    assert [span.text for span in spans_of(prompt) if span.first == span.last] == parts


def test_long_prompts_have_few_spans() -> None:
    """Every span is a search."""
    assert len(spans_of(", ".join(f"thing {number}" for number in range(500)))) <= 15


@pytest.mark.parametrize("part", ["和", "油画的", "画的画", "带着火", "用a"])
def test_a_hostile_prompt_is_cut_in_time_that_grows_with_it(part: str) -> None:
    """The timeout is the check."""
    assert len(spans_of(part * 3_000)) <= 15
