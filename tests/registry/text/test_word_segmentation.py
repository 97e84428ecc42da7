"""What is stored and what is asked must split into the same words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.text import word_segmentation as module
from registry.text.word_segmentation import (
    MOST_WORDS,
    PART_WEIGHT,
    QueryWord,
    query_words,
    segment,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("iceCat_v2", "icecatv2 icecat ice cat v2"),
        ("lora_v34-final", "lorav34final lora v34 34 final"),
        ("Ímàgenes", "ímàgene imagene"),
        ("SDXL10", "sdxl10 sdxl 10"),
        ("HTMLParser", "htmlparser html parser"),
        ("flux.1-dev", "flux1dev flux dev"),
        ("LoRA, ＬｏＲＡ", "lora lora"),
        ("it's a 3D café", "its a 3d café cafe"),
        ("zx_foxstyle", "zxfoxstyle foxstyle"),
        ("Cats berries glass lens octopus", "cat berry glass len octopus"),
        ("does this have a doe", "does this have a doe"),
        ("ガンダムRX78 モビル・スーツ", "ガンダム rx78 78 モビル スーツ"),
        ("초상화lora", "초상화 lora"),
        ("  \n!?<>", ""),
    ],
)
def test_identifiers_give_themselves_and_their_parts(text: str, words: str) -> None:
    """People name trigger words in every style and search for any part of them."""
    assert segment(text) == words


def test_chinese_is_cut_into_words_and_characters() -> None:
    """Chinese has no spaces; a search for 猫 must find 小猫."""
    assert {"水墨画", "小猫", "猫", "lora"} <= set(segment("水墨画小猫lora").split())


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [("黑色線稿", "黑色线稿"), ("貓、龍和霓虹燈", "猫、龙和霓虹灯"), ("水墨畫風格", "水墨画风格")],
)
def test_traditional_characters_are_the_words_that_simplified_ones_are(
    traditional: str, simplified: str
) -> None:
    assert segment(traditional) == segment(simplified)
    assert query_words(traditional) == query_words(simplified)


@pytest.mark.parametrize(
    "asked", ["哦哦", "哦哦哦", "哦哦哦哦", "啊啊啊啊", "汪汪汪", "哈哈", "萌萌"]
)
def test_a_doubled_character_is_a_word_and_the_single_one_a_part_of_it(asked: str) -> None:
    """Whether or not a dictionary has it: who has one 哦 has not all of 哦哦."""
    words = {word.text: word.weight for word in query_words(asked)}

    assert words.pop(asked[0]) == PART_WEIGHT
    assert words
    assert set(words.values()) == {1.0}
    assert {word for word in words if len(word) < 2} == set()


def test_characters_that_meet_by_chance_are_not_doubled() -> None:
    """研究生 is a student, 生活 is life."""
    assert "生生" not in segment("研究生生活").split()
    assert {"研究生", "生活"} <= set(segment("研究生生活").split())


def test_query_words_leave_out_what_says_nothing() -> None:
    words = {word.text: word.weight for word in query_words("一只由冰雕成的猫")}

    assert words["猫"] == words["冰雕"] == 1.0
    assert words["冰"] == PART_WEIGHT
    assert query_words("icecat_v22")[1:2] == [QueryWord("icecat", PART_WEIGHT)]
    assert not words.keys() & {"一只", "由", "的", "成"}
    assert query_words("which does") == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("hand drawn", "hand drawn"),
        ("one piece", "one piece"),
        ("One Punch Man", "one punch man"),
        ("ready player one", "ready player one"),
        ("z image turbo", "z image turbo"),
        ("a picture book of foxes", "picture book foxe"),
        ("a hand and a fox drawn", "hand fox"),
        ("one cat", "cat"),
        ("the best one", "best"),
        ("an image of a cat", "cat"),
        ("a picture of one fox", "fox"),
    ],
)
def test_what_says_nothing_is_asked_for_where_it_makes_a_name(asked: str, words: str) -> None:
    assert " ".join(word.text for word in query_words(asked)) == words


def test_query_words_are_distinct_and_few() -> None:
    """A page pasted into the search box must not become a thousand index probes."""
    assert [word.text for word in query_words("cat Cat cat_dog")] == ["cat", "catdog", "dog"]
    assert len(query_words(" ".join(f"word{n}x" for n in range(1000)))) == MOST_WORDS


@pytest.mark.parametrize(("sign", "signs"), [("请", 2000), ("\ufdfa", 200), ("x ", 1000)])
def test_words_are_looked_for_at_the_beginning_of_a_question(sign: str, signs: int) -> None:
    """To cut ten thousand signs of Chinese takes a second; U+FDFA is 18 letters when spelt out."""
    assert "fox" not in [word.text for word in query_words(sign * signs + " fox")]
    assert "fox" in [word.text for word in query_words(sign * 100 + " fox")]


def test_payloads_are_not_words() -> None:
    """PostgreSQL refuses a lexeme of two kilobytes; a hostile description has one."""
    assert segment("a" * 3000 + " fox") == "fox"


@pytest.mark.parametrize("cache", ["folder", "file/folder"])
def test_loading_the_dictionary_is_silent(cache: str, tmp_path: Path) -> None:
    """jieba logs to stderr and its 2020 code warns; neither belongs on our terminal.

    Nor does what keeps it from being kept: it is read all the same.
    """
    (tmp_path / "file").touch()
    code = "from registry.text.word_segmentation import segment; print(segment('小猫'))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / cache)},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["小猫", "小", "猫"]


@pytest.mark.usefixtures("homeless")
def test_a_dictionary_is_loaded_by_who_has_no_folder_to_keep_it_in() -> None:
    """Where everybody may write, nothing is read: jieba would take it from /tmp."""
    module._tokenizer.cache_clear()
    try:
        assert segment("小猫") == "小猫 小 猫"
        assert not Path(module._tokenizer().tmp_dir).is_dir()
    finally:
        module._tokenizer.cache_clear()


def test_an_emoji_is_found_by_itself_and_by_its_name() -> None:
    assert segment("🔥Ice🎨v2") == "fire ice artist palette v2"
    assert [word.text for word in query_words("🔥")] == ["fire"]
    # With a skin tone, and as a picture rather than a sign.
    assert segment("👍🏽 🖤\ufe0f") == "thumb up sign black heart"
    # Signs that decorate names are no words: ★ is called "black star".
    assert segment("★ fox ★") == "fox"
    assert segment("\U0001faff") == ""
