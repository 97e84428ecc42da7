"""Answers of models that do not keep to what they were asked."""

import json
from typing import Any

import pytest

from encoder.captions.answers import MAX_ANSWER, parse_answer
from encoder.captions.captioner import Captions, Language
from encoder.errors import CaptionError
from tests.encoder.captions.vlm_server import GOOD, GOOD_ZH

JSON = json.dumps(GOOD)
BROKEN = '{"short": "a fox", "medium": "A fox'


@pytest.mark.parametrize(
    "answer",
    [
        JSON,
        f"\n {JSON} \n",
        json.dumps(GOOD, indent=2),
        f"```json\n{JSON}\n```",
        f"```\n{JSON}\n```\nI hope this helps!",
        f"Here are the captions: {JSON}",
        f"<think>The picture {{shows}} a fox.</think>\n\n{JSON}",
        f"<think>\n\n</think>\n\n```json\n{JSON}\n```",
        # The template opened the thoughts.
        f'First {{"short": "no", "medium": "no"}} I think.</think>{JSON}',
        f'{{"thoughts": "a fox"}} {JSON}',
        json.dumps({"Short": GOOD["short"], " MEDIUM ": GOOD["medium"], "long": GOOD["long"]}),
        json.dumps(GOOD | {"tags": ["fox"], "score": float("nan")}),
        f"{JSON}{JSON}",
        f"[{JSON}]",
        JSON.replace("trees. It", "trees.\nIt"),
        JSON.replace("trees. It", "trees.\r\n\tIt"),
    ],
)
def test_captions_are_found_wherever_they_stand(answer: str) -> None:
    assert parse_answer(answer, "en") == Captions(**GOOD)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ("", "the answer is empty"),
        (" \n\t", "the answer is empty"),
        ("<think>A fox, or a dog? Let me see", "cut off while the model still thinks"),
        ("<think>A fox.</think>", "the answer is empty"),
        ("A red fox in the snow.", "not the JSON asked for: 'A red fox in the snow.'"),
        ("I'm sorry, but I can't help with that.", "the model refuses"),
        ("I cannot describe this image.", "the model refuses"),
        ("很抱歉，我无法描述这张图片。", "the model refuses"),
        (json.dumps(dict.fromkeys(GOOD, "I'm sorry, I can't do that.")), "the model refuses"),
        (BROKEN, "the JSON is broken or cut off"),
        (JSON[:-1], "the JSON is broken or cut off"),
        ("{" * 5000, "not the JSON"),
        ("[" * 100_000, "100,000 characters long"),
        ('{"short": ' + "[" * 40_000, "broken or cut off"),
        ("[1, 2]", "not the JSON"),
        ("null", "not the JSON"),
        ('{"caption": "a fox"}', "not the JSON"),
        ('{"short": "a fox"}', "no text called 'medium'"),
        (json.dumps(GOOD | {"long": None}), "no text called 'long'"),
        (json.dumps(GOOD | {"medium": ["A fox."]}), "no text called 'medium'"),
        (json.dumps(GOOD | {"short": 7}), "no text called 'short'"),
        (json.dumps(GOOD | {"short": "  "}), "the short caption is empty"),
        (json.dumps(GOOD | {"short": "\u0000\u200b\x1b"}), "the short caption is empty"),
        (json.dumps(GOOD | {"short": "fox " * 100}), "the short caption is 399 characters long"),
        ("fox " * MAX_ANSWER, "characters long"),
    ],
)
def test_what_holds_no_captions_is_told_by_what_it_is(answer: str, cause: str) -> None:
    with pytest.raises(CaptionError) as caught:
        parse_answer(answer, "en")

    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_captions_are_one_line_of_visible_signs() -> None:
    """They are stored, searched, and shown on pages and terminals."""
    hostile = "a\x1b[2J red\nfox\u202e \ud800\u0000 in\tink"

    captions = parse_answer(json.dumps(GOOD | {"short": hostile}), "en")

    assert captions.short == "a [2J red fox in ink"


@pytest.mark.parametrize(
    ("answer", "language", "is_good"),
    [
        (GOOD, "en", True),
        (GOOD, "zh", False),
        (GOOD_ZH, "zh", True),
        (GOOD_ZH, "en", False),
        (GOOD | {"short": "a poster that says 冰猫"}, "en", True),
        (GOOD_ZH | {"short": "Studio Ghibli 风格的红狐，水墨画"}, "zh", True),
        (GOOD_ZH | {"short": "Studio Ghibli 风格"}, "zh", True),
        (GOOD | {"short": "冰猫 ink"}, "en", True),
        (GOOD_ZH | {"long": GOOD["long"]}, "zh", False),
    ],
)
def test_captions_are_in_the_language_asked_for(
    answer: dict[str, Any], language: Language, is_good: bool
) -> None:
    if is_good:
        assert parse_answer(json.dumps(answer), language) == Captions(**answer)
    else:
        with pytest.raises(CaptionError, match="not in the language asked for"):
            parse_answer(json.dumps(answer), language)
