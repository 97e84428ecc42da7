"""Sentences that ask for something -> what they ask for: `帮我找一个能画猫的模型` is 猫.

People talk to a search as to each other, and what they ask with lies far from captions: of 162
captions of 54 things that are asked for in Chinese, English ones of the same thing come first for
97 %, and for 87 % as `帮我找一个能画…的模型`. English questions lose nothing so (94 %, and 94 % as
`I want a picture of …`), and stay as they are. Only among the words that are looked for, each of
which an adapter would have to have, those that ask have no place in either language.
"""

import re
from collections.abc import Collection
from itertools import pairwise

from encoder.chinese import simplified
from registry.text.labels import without_labels
from registry.text.word_segmentation import (
    QueryWord,
    chinese_tokens,
    query_words,
    word_ends,
    words_said_of_all,
)

# Each by itself tells a request: 我 alone is also of 我的世界. Those at the end only where they are
# words by themselves, for 求 is also of 求婚, and 找 of 找茬.
_CHINESE_OPENING = re.compile(
    r"""(?:\s*(?:(?:请问|想问|求问|问)(?:一?下)?|你好|求助|(?:各位)?大佬们?)?)?[，,\s]*(?P<opening>
        (?:请|麻烦)?你?(?:能不能|可不可以|可以|能否|能)?(?:帮我|帮忙|给我|替我)
      | 我(?:想要|要|需要|想画) | 我?想(?:要|找|做|生成) | 想画(?=[一几个张]) | 请(?=[画找生推])
      | 我?正?在找 | 有没有(?:(?:人|大佬|谁)(?:有|做过|知道|用过))? | 有无(?!相)
      | (?:有人|谁|哪里|哪儿)有 | (?:有人|谁)(?:做过|知道|用过)
      | 有什么 | 有哪些 | 哪个 | 哪些 | 哪种 | 什么(?=\s*(?:lora|模型))
      | 你?(?:能不能|能否|能|可不可以|可否|可以)推荐 | 求?推荐
      | (?:能不能|能否|可不可以|可否|可以)(?=[画做来找搜生])
      | 跪求 | 求(?=[一个张款]) | 找(?=[一个张款些]) | 来(?=[一个张幅款点])
      | (?:画|生成)(?=一[张幅个只])
      | (?P<word>
          (?:求助?|找|需要)(?=.+(?:lora|模型)) | 有(?=.+吗) | 画[个只幅]
        | [能会](?=(?:画|做|生成).+(?:lora|模型|吗))
        )
    )(?:一?[些个款]?(?:好用|不错)的)?""",
    re.VERBOSE | re.IGNORECASE,
)
# What may stand between that and what is asked for.
_BETWEEN = """
    找 找个 找一个 找一张 找一款 搜 搜索 看看 推荐 分享 生成 画 画出 画个 画张 画幅 做 做出 来 来个
    来张 帮忙 大佬 问 有没有 一 一下 下 一些 一个 一张 一幅 一款 一种 一只 一套 一组 一位 一份 一条
    几个 几张 几款 几套 个 张 只 幅 款 种 些 点 那种 这种 哪些 什么 适合 专门 用来 可以 用于 关于
    lora 模型
"""
_CHINESE_BETWEEN = frozenset(_BETWEEN.split())
# These count only what is a longer word: 套 is also of 套娃, and 条 of 条漫.
_COUNTING = frozenset("套位份条组")
# Behind "have", 张 is a surname and 点 of a name, and in what asks for an adapter 张 is, too, which
# only pictures are counted in.
_HAVING = ("有", "有无", "有什么", "有哪些", "做过", "知道", "用过")
_ADAPTER = re.compile(r"lora|模型", re.IGNORECASE)
# 能 alone is also of 能天使.
_ABLE, _TO_DO = ("能", "会", "能够"), ("画", "画出", "画个", "做", "做出", "生成")
_THANKS = re.compile(r"(?:谢谢|感谢|多谢|谢了)(?:大佬|各位|你|您|啦|了)?$")
_PARTICLES = ("吗", "啊", "呢", "呀", "嘛", "吧", "么")
_CHINESE_CLOSING = re.compile(
    r"(?:的(?:图片?|图像|照片|画))?(?:的? ?(?:loras?\s?(?:模型)?|大?模型))?的?\s?"
    r"(?:求?推荐一?下?)?$",
    re.IGNORECASE,
)
# What tells a request by itself at its end.
_CHINESE_ASKING = re.compile(
    r"""(?:
        有(?:没有|吗|哪些) | 怎么[画做弄] | 用(?:什么|哪个|哪款)\s?(?:lora|模型)?(?:好|画)?
      | 哪[个款种]\s?(?:lora|模型)?(?:最?好用?|比较好) | (?:求|(?<=lora)\s?|(?<=模型)\s?)推荐一?下?
    )[吗呢呀啊]?$""",
    re.VERBOSE | re.IGNORECASE,
)
_MARKS = " ,，:：？?。.！!~～、"

# What people ask with in English, by itself a word of titles: Show by Rock, Need for Speed.
_ENGLISH_OPENING = re.compile(
    r"""\A\W*(?:(?:
        (?:please|pls|plz)(?=\W+(?:find|show|give|get|recommend|suggest|help)\b)
      | (?:can|could|would)\ (?:you|someone|anyone)
      | (?:find|show|give|get|recommend|suggest)\ (?:me|us)
      | (?:find|recommend|suggest)(?=\ (?:an?|some|any)\b) | help\ (?:me|us)(?:\ find)?
      | (?:i|we)(?:['’]?[md]|\ (?:am|do|would|really))?\ (?:need|want|like|looking\ for)
      | (?:need|want|looking\ for)(?=\ (?:an?|some|any)\b)
      | (?:any|some)(?:one|body)\ (?:have|has|know|knows|got) | got(?=\ any\b)
      | any | (?<=any\ )(?:good|nice) | (?:good|nice|best)(?=.{0,80}\bloras?\b)
      | (?:what['’]?s|(?:what|which)(?:\ loras?)?\ (?:is|are))\ (?:the\ )?(?:best|good)
      | (?:an?|the|some|does|do|has|have|is|are|can|there|what|which|who
        |loras?|to|that|for|of)
    )(?![^\s,;:!?])\W*)+""",
    re.VERBOSE | re.IGNORECASE,
)
_ENGLISH_CLOSING = re.compile(
    r"(?:\b(?:please|pls|plz|thanks|thx|thank you)\b\W*){1,3}$|\b(?:pls|plz|thx)\b", re.IGNORECASE
)
# Faces and hands that people add to what they ask, but for those of cats, monkeys, robots, cowboys
# and clowns.
_GESTURES = re.compile(
    "[\U0001f446-\U0001f44f\U0001f600-\U0001f637\U0001f641-\U0001f647\U0001f64b-\U0001f64f"
    "\U0001f910-\U0001f915\U0001f917-\U0001f91f\U0001f922-\U0001f92f\U0001f970-\U0001f97a]"
)


def what_is_asked(text: str) -> str:
    """Return `text` without the words that only ask, where it is a request; else as it is.

    Without labels, too (`author:`). A request in traditional characters comes back in simplified
    ones.
    """
    text = without_labels(text)
    chinese = simplified(_GESTURES.sub(" ", text))
    opening = _opening(chinese)
    rest = _THANKS.sub("", chinese[opening.end() if opening else 0 :].strip(_MARKS)).strip(_MARKS)
    asking = _CHINESE_ASKING.search(rest)
    if not opening and not asking:
        return text
    rest = _without_particle(rest[: asking.start()] if asking else rest)
    if opening:
        rest = _after_asking(rest, _no_measures(opening["opening"], rest))
    # Nothing but a request may be a name.
    return _CHINESE_CLOSING.sub("", rest).strip(_MARKS) or text


def _opening(text: str) -> re.Match[str] | None:
    opening = _CHINESE_OPENING.match(text)
    if opening and opening["word"] and opening.end("word") not in word_ends(text):
        return None
    return opening


def _without_particle(text: str) -> str:
    """Drop what makes a question of a sentence at its end, but 吧 of 酒吧."""
    text = text.strip(_MARKS)
    return text[:-1] if text.endswith(_PARTICLES) and chinese_tokens(text)[-1] == text[-1] else text


def _no_measures(opening: str, rest: str) -> frozenset[str]:
    """Return which words that things are counted in are names behind an opening."""
    if opening.endswith(_HAVING):
        return frozenset("张点只").union(_COUNTING)
    return frozenset("张只位份条" if opening.endswith("推荐") or _ADAPTER.search(rest) else "")


def _after_asking(text: str, meant: Collection[str]) -> str:
    """Drop the words at the beginning that still only ask, but none that is `meant`."""
    tokens = [*chinese_tokens(text)]
    for place, (token, following) in enumerate(pairwise([*tokens, ""])):
        able = token in _ABLE and following in _TO_DO
        counts = token in _COUNTING and len(following) > 1
        asks = (counts or token.lower() in _CHINESE_BETWEEN) and token not in meant
        if token.strip() and not asks and not able:
            return "".join(tokens[place:])
    return ""


def words_asked(text: str) -> list[QueryWord]:
    """Return the distinct words to look for, without those that only ask, where others are left.

    Where nothing is asked for but what could be said of every adapter, that: whoever types "loras"
    alone means the word.
    """
    rest = _ENGLISH_OPENING.sub("", _GESTURES.sub(" ", text))
    rest = _ENGLISH_CLOSING.sub("", rest)
    return query_words(rest) or query_words(text) or words_said_of_all(text)
