"""Text of any language -> words separated by spaces, for storing and for querying.

PostgreSQL's parser has no word boundaries for Chinese and none inside `iceCat_v2`;
both sides go through here, so that what is stored and what is asked split alike.
"""

import logging
import os
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, groupby, pairwise, repeat
from pathlib import Path
from typing import Any

import platformdirs

from encoder.chinese import HAN, KANA_AND_HANGUL, UNSPACED, simplified
from registry.text.equal_spellings import without_accents

# A run of Chinese, of kana or hangul, or what people join into one identifier: iceCat_v2, 3d.
IDENTIFIER = rf"[^\W_{UNSPACED}]+(?:[_\-'’.][^\W_{UNSPACED}]+)*"
RUN = re.compile(rf"[{HAN}]+|[{KANA_AND_HANGUL}]+|{IDENTIFIER}")
IS_HAN = re.compile(rf"[{HAN}]")
# Pictures among the letters, which PostgreSQL's parser drops. Skin tones say nothing by themselves.
EMOJI = re.compile("[\U0001f300-\U0001f3fa\U0001f400-\U0001faff]")
# Between the parts of an identifier: separators, and within these camelCase, letters beside digits.
SEPARATOR = re.compile(r"[_\-.]")
SEAM = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\D)(?=\d)|(?<=\d)(?=\D)")
# Shorter parts (the v and 2 of v2, the Lo of LoRA) match everything.
SHORTEST_PART = 3
SHORTEST_NUMBER = 2
# A word longer than this is a payload or a hash; PostgreSQL refuses lexemes of 2 KB.
LONGEST_WORD = 100

# Words that say nothing about an adapter; the index keeps them, a query drops them.
CHINESE_STOP_WORDS = """
    的 了 和 与 在 是 有 由 用 被 把 给 对 从 到 也 都 就 而 及 或 很 我 你 他 她 它 们 这 那
    个 一 一个 一只 一种 一张 一幅 一位 一条 一座 一匹 一朵 一辆 一棵 这个 那个 我们 它们 什么
    怎么 上 里 中 下 着 之 其 以 所 为 等 请 想要 成
"""
ENGLISH_STOP_WORDS = """
    a an and are as at be been but by can did do does for from had has have he her his how i if
    in into is it its like made make me my no not of off on one or our out over she so some
    something that the their them then there these they this to up very was we were what when
    which while who will with without you your
"""
# What could be said of every adapter; alone they are names, or parts of some.
SAID_OF_ALL = frozenset(["lora", "image", "picture", "draw", "drawn", "画", "图", "图片"])
STOP_WORDS = SAID_OF_ALL.union(CHINESE_STOP_WORDS.split(), ENGLISH_STOP_WORDS.split())
# Neighbours of which one says nothing without the other.
SAID_TOGETHER = frozenset([
    ("hand", "drawn"), ("picture", "book"), ("z", "image"), ("one", "piece"), ("one", "punch"),
    ("player", "one"), ("formula", "one"), ("rogue", "one"), ("force", "one"),
])  # fmt: skip
# A prompt of a page is cut here: every word is a probe of two indexes.
MOST_WORDS = 64
# And here before it is cut into words, of which the first are taken: a run of Chinese takes a
# second for each 10,000 signs.
MOST_QUERY_LETTERS = 2000
# The characters of a Chinese word find 猫 for 小猫, the parts of `icecat_v2` find `icecat`;
# they say less than the whole.
PART_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class QueryWord:
    text: str
    weight: float


def clean(text: str) -> str:
    """Return `text` as PostgreSQL and JSON can hold it: no NUL, no half of a surrogate pair."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


def segment(text: str) -> str:
    """Return the words of `text`, lowercase, separated by single spaces.

    Chinese is simplified, cut by jieba's search mode, and every character follows its word;
    identifiers give themselves without separators and their parts: `iceCats_v2` is
    `icecatsv2 icecat ice cat v2`. An emoji is the words of its name in Unicode, and a word with
    accents is followed by the one without: `café cafe`.
    """
    words = (word for run in _runs(text) for word, _ in _words(run))
    return " ".join(one for word in words for one in dict.fromkeys((word, without_accents(word))))


def segment_places(names: str, author: str, others: str) -> str:
    """Return the words of names and trigger words, of an author, and of all else, a line each.

    An author's line begins with the whole name as one word.
    """
    of_author = " ".join([as_one_word(query_words(author)), segment(author)]).strip()
    return "\n".join([segment(names), of_author, segment(others)])


def as_one_word(words: Iterable["QueryWord"]) -> str:
    """Return the words of a name as one, however it was written: NeonCat, neon-cat, Neon Cat."""
    return "".join(word.text for word in words if word.weight == 1.0)[:LONGEST_WORD]


def query_words(text: str) -> list[QueryWord]:
    """Return the distinct words to look for, in order, without those that say nothing."""
    words = _distinct(text)
    pairs = pairwise(word.text for word in words)
    together = {word for pair in pairs if pair in SAID_TOGETHER for word in pair}
    said = STOP_WORDS - together
    return [word for word in words if word.text not in said][:MOST_WORDS]


def words_said_of_all(text: str) -> list[QueryWord]:
    """Return the words of a text that could be said of every adapter."""
    return [word for word in _distinct(text) if word.text in SAID_OF_ALL]


def _distinct(text: str) -> list[QueryWord]:
    # One sign may be 18 letters once it is spelt out (U+FDFA).
    spelt_out = unicodedata.normalize("NFKC", text)[:MOST_QUERY_LETTERS]
    weights: dict[str, float] = {}
    for run in _runs(spelt_out):
        for word, weight in _words(run):
            weights[word] = max(weight, weights.get(word, 0.0))
    return [QueryWord(word, weight) for word, weight in weights.items()]


def _runs(text: str) -> list[str]:
    # NFKC: hubs mix full-width ＬｏＲＡ with LoRA.
    return RUN.findall(EMOJI.sub(_spoken, simplified(unicodedata.normalize("NFKC", text))))


def _spoken(emoji: re.Match[str]) -> str:
    return f" {unicodedata.name(emoji[0], '').lower()} "


def _words(run: str) -> list[tuple[str, float]]:
    if IS_HAN.match(run):
        return _chinese_words(run)
    joined = re.sub(r"[^\w]|_", "", run).lower()
    words = [(joined, 1.0)]
    for whole in SEPARATOR.split(run):
        for part in dict.fromkeys((whole, *SEAM.split(whole))):
            word = re.sub(r"\W", "", part).lower()
            if word != joined and len(word) >= (
                SHORTEST_PART if word.isalpha() else SHORTEST_NUMBER
            ):
                words.append((word, PART_WEIGHT))
    return [(singular(word), weight) for word, weight in words if len(word) <= LONGEST_WORD]


def singular(word: str) -> str:
    """Take a plural's s away (Harman's S stemmer, JASIS 1991): cats = cat, glass stays.

    So does "does", which would be a doe. A stemmer that takes more would also cut trigger words,
    which are names.
    """
    if len(word) < 4 or not word.endswith("s") or word in STOP_WORDS:
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    return word if word.endswith(("us", "ss", "is")) else word[:-1]


def chinese_tokens(text: str) -> list[str]:
    """Cut a text into words of the dictionary and single signs, so that they make it up."""
    # By its guesses (HMM), 张猫 of 来张猫 would be somebody's name.
    return list(_tokenizer().cut(text, HMM=False))


def word_ends(text: str) -> list[int]:
    """Return where the words of a text in either script end: 和 is one of 猫和狗, none of 和服."""
    # Simplified, a text has as many signs as before.
    return list(accumulate(map(len, chinese_tokens(simplified(text)))))


def _chinese_words(run: str) -> list[tuple[str, float]]:
    found, before = [], ""
    for word in _doubled(_tokenizer().cut_for_search(run)):
        # What is left over behind a doubled word, the last of 哦哦哦哦, is no more than its parts.
        found.append((word, PART_WEIGHT if set(before) == {word} else 1.0))
        before = word
        if len(word) > 1 and word not in STOP_WORDS:
            found += [(character, PART_WEIGHT) for character in word]
    return found


def _doubled(words: Iterable[str]) -> Iterator[str]:
    """Join characters that stand alone beside themselves: 哦哦 is one word, as 哈哈 is.

    jieba's dictionary has some doubled words and not others; of those it cuts, each half would be
    the whole of what is asked for.
    """
    for word, same in groupby(words):
        count = sum(1 for _ in same)
        if len(word) == 1:
            yield word * count
        else:
            yield from repeat(word, count)


def cache_folder() -> Path:
    """Return where what was read once is kept for the next process, be it writable or not."""
    try:
        return Path(platformdirs.user_cache_dir("autolora"))
    except RuntimeError:
        # A user without a name and HOME has none: nothing can be kept in what is no folder.
        return Path(os.devnull)


@cache
def _tokenizer() -> Any:
    """Load jieba's dictionary: 1 s the first time, then 0.4 s from its cache."""
    with warnings.catch_warnings():
        # jieba 0.42 (2020) has invalid escapes in its regular expressions, and leaves
        # its dictionary open when it is loaded; neither can be mended from here.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        import jieba

        # Where nothing can be kept, as in a read-only container, it logs a traceback as an error;
        # the next process just reads the dictionary again.
        jieba.setLogLevel(logging.CRITICAL)
        tokenizer = jieba.Tokenizer()
        # Its default cache is /tmp/jieba.cache, which anyone on the machine may have
        # written.
        folder = cache_folder()
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        tokenizer.tmp_dir = str(folder)
        tokenizer.initialize()
    return tokenizer
