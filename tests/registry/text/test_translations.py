"""Words in Chinese and in English that mean the same."""

import json
from pathlib import Path

import platformdirs
import pytest

from registry.text import translations as module
from registry.text.request_frames import words_asked
from registry.text.translations import in_english, translated, translations

# Of the dictionary; to read all of it takes seconds.
A_LINE = "狐狸 狐狸 [hu2 li5] /fox/\n"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("剪影", "silhouette"), ("水彩", "watercolor"), ("霓虹", "neon"), ("像素", "pixel"),
        ("线稿", "line art"), ("狐狸", "fox"), ("图标", "icon"), ("赛博朋克", "cyberpunk"),
        ("油画", "oil painting"),
        ("silhouette", "剪影"), ("fox", "狐狸"), ("cat", "猫"), ("gradient", "渐变"),
        ("line art", "线稿"), ("cyberpunk", "赛博朋克"), ("castle", "城堡"),
    ],
)  # fmt: skip
def test_a_word_has_its_like_in_the_other_language(word: str, meant: str) -> None:
    assert meant in translations(word)


@pytest.mark.parametrize(
    ("question", "word", "meant"),
    [
        ("像素画", "像素", "pixel art"), ("线条画", "线条", "line art"),
        ("低多边形", "多边形", "low poly"), ("厚涂风", "厚涂风", "impasto"),
        ("极简风", "简风", "minimalist"), ("画线稿", "画线", "line art"),
        ("表情包图", "包图", "sticker"), ("可爱国风", "爱国", "chinese style"),
        ("畫線稿", "稿", "line art"), ("fox line art", "line", "线 稿"),
    ],
)  # fmt: skip
def test_a_term_of_art_has_its_like_however_it_is_cut(question: str, word: str, meant: str) -> None:
    """What is stored is cut so, too: to cut it otherwise, all would have to be stored anew."""
    assert meant in translated(words_asked(question), question)[word]


def test_a_term_of_art_says_nothing_of_other_words() -> None:
    question = "黑白猫，黑色帽子"

    found = translated(words_asked(question), question)

    assert "monochrome" in found["黑白"]
    assert not any("monochrome" in found[word] for word in ("猫", "黑色", "帽子"))


def test_a_chinese_question_is_told_in_english_word_by_word() -> None:
    assert in_english("黑色剪影") == "black silhouette"
    assert in_english("线稿风格的动物") == "line art lineart style animal"
    assert in_english("一只猫 in neon") == "cat neon"


@pytest.mark.parametrize("question", ["a black cat", "啊啊啊", "", "ガンダム"])
def test_what_has_no_chinese_word_is_told_in_nothing(question: str) -> None:
    assert in_english(question) == ""


def test_a_word_has_few_and_none_that_is_no_word() -> None:
    every = module.dictionary()["likes"]

    assert max(map(len, every.values())) <= module.MOST
    assert translations("asdfghjk") == translations("") == ()
    assert all(len(meant.split()) <= 2 for own in every.values() for meant in own)


def test_what_many_characters_have_in_common_is_no_meaning() -> None:
    """听 once was to smile, 面 is also to face, and characters are parts of many words."""
    assert "听" not in translations("smile")
    assert not {"向", "面"} & {*translations("face")}
    assert "了" not in translations("bright")


def test_what_was_kept_and_damaged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.setattr(module, "_text", lambda: A_LINE)
    module.dictionary.cache_clear()
    try:
        assert "fox" in translations("狐狸")
        [kept] = tmp_path.glob(f"*{module.PACKAGE}*")
        whole = kept.read_bytes()
        kept.write_bytes(whole[: len(whole) // 2])
        module.dictionary.cache_clear()

        assert "fox" in translations("狐狸")
        assert json.loads(kept.read_bytes()) == json.loads(whole)
    finally:
        module.dictionary.cache_clear()


def test_english_words_are_told_from_misspelt_ones() -> None:
    assert all(map(module.is_english, ("storm", "peach", "glasses", "dancers", "octagonal")))
    assert not any(map(module.is_english, ("gradiant", "silhuette", "yelow", "anmie", "asdf")))


def test_what_cannot_be_kept_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path / "file"))
    monkeypatch.setattr(module, "_text", lambda: A_LINE)
    module.dictionary.cache_clear()
    try:
        assert "fox" in translations("狐狸")
    finally:
        module.dictionary.cache_clear()


@pytest.mark.usefixtures("homeless")
def test_nor_has_a_user_to_have_a_folder_to_keep_it_in() -> None:
    module.dictionary.cache_clear()
    try:
        assert "fox" in translations("狐狸")
    finally:
        module.dictionary.cache_clear()
