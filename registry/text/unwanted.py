"""What a question says that it does not want: `a cat, no text` wants a cat, and does not want text.

An embedding of a text hears what it names and hardly hears `not`, and words are looked for wherever
they stand, so that whoever wants none of a thing would get it. English and Chinese. A question that
says nothing else is left alone, for it may be a name (`No Man's Sky`), and so is `no` where it may
be a word of another language (`boku no hero`).
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from encoder.chinese import HAN, simplified
from registry.text.request_frames import words_asked
from registry.text.word_segmentation import word_ends

# What ends a thing that is not wanted: a question goes on with what is.
_GOES_ON = (
    "but", "with", "in", "on", "at", "as", "by", "for", "from", "under", "over", "behind", "who",
    "which", "that", "is", "are", "and", "or", "nor", "not", "no", "without", "except", "only",
    "please", "pls", "plz", "thanks", "thx", "of[ ]+(?:an?|the)",
)  # fmt: skip
# Things that people often want an image without, who set no comma before "no" then, nor behind it.
_OFTEN_UNWANTED = (
    "backgrounds?", "texts?", "words?", "letters?", "lettering", "watermarks?", "signatures?",
    "logos?", "people", "humans?", "persons?", "faces?", "borders?", "frames?", "shadows?",
    "shading", "outlines?", "colou?rs?", "glasses", "hats?", "nsfw", "nudity", "makeup", "beards?",
    "headphones", "clothes",
)  # fmt: skip
# What may follow one of them and is no other thing: a face mask, a text box, people around.
_OF_THEM = (
    "bubbles?", "box(?:es)?", "overlays?", "effects?", "masks?", "paint", "tattoos?", "marks?",
    "blur", "noise", "clutter", "objects?", "characters?", "details?", "elements?", "figures?",
    "puppets?", "bleeding", "around", "anywhere", "visible", "whatsoever",
)  # fmt: skip
# Titles of which the first word says nothing of the kind.
_TITLES = (
    "game[ ]no[ ]life", "guns[ ]life", "longer[ ]human", "man['’]?s[ ]sky", "more[ ]heroes",
    "country[ ]for", "time[ ]to[ ]die", "way[ ]home",
)  # fmt: skip
_FILLERS = (
    "an?", "the", "any", "in", "as", "like", "have", "having", "being", "look", "looking", "show",
    "showing", "contain", "containing", "want", "need", "wearing",
)  # fmt: skip
# With the dots of its version: not sd 1.5.
_WORD = rf"(?!(?:{'|'.join(_GOES_ON)})\b)[\w'’-]+(?:\.(?=\d)[\w'’-]+)*"
_OFTEN = rf"(?:{'|'.join(_OFTEN_UNWANTED)})(?![\w'’-])"
_ENDS_SO = rf"{_OFTEN}(?:[ ]+(?:{'|'.join((*_OFTEN_UNWANTED, *_OF_THEM))})(?![\w'’-]))*"
_THING = rf"(?:(?:{_WORD}[ ]+){{0,3}}?{_ENDS_SO}|{_WORD}(?:[ ]+{_WORD}){{0,3}})"
# "without a hat or glasses", "no text and watermark", but "no hat and a dog".
_THINGS = rf"{_THING}(?:(?:[ ]*,)?[ ]+(?:or|nor|and(?![ ]+(?:an?|the)\b))[ ]+{_THING})*"
_OPENING = ",;:(，；：（、"
_ENGLISH = re.compile(
    rf"""(?:[ ]?[{_OPENING}][ ]?|[ ])
    (?:(?:but|and|that|which|who|it|they|i)[ ]){{0,2}}
    (?:
        (?:(?:is|are|do|does|has|have)[ ])?(?<!forget[ ]me[ ])(?<!touch[ ]me[ ])
        not(?![ ](?:only|just|safe|for|yet|so|all)\b)
      | (?:is|are|do|does|has|have)n['’]?t
      | (?:(?<=[{_OPENING}])|(?<=[{_OPENING}][ ])|(?<=\bbut[ ])|(?<=\band[ ])|(?:with|has|have)[ ])
        no(?![ ](?:{"|".join(_TITLES)})\b)
        # No-Face is a spirit.
      | no(?=[ ](?!face\b(?![ ](?:{"|".join(_OF_THEM)})\b)){_OFTEN})
      | without | w/o | except(?:[ ]for)? | excluding | instead[ ]of | rather[ ]than
    )[ ]
    (?:(?:{"|".join(_FILLERS)})[ ]){{0,4}}
    (?P<things>{_THINGS})[ ]?[)）]?
    """,
    re.IGNORECASE | re.VERBOSE,
)
# As search engines have it: `cat -neon`, `cat -"line art"`; not `Miku -Racing-`.
_MINUS = re.compile(
    r"""[ ][-−－](?:["“](?P<quoted>[^"“”]+)["”]|(?P<word>[^\W_](?:[\w'’]|\.(?=\d))*(?:-\w+)*))
    (?=[ ,;，。；]|\.(?!\d)|$)""",
    re.VERBOSE,
)
# Chinese is read in simplified signs and a word a line, as the dictionary cuts it: so 和 is told
# from that of 和服. Between signs that it may have in one word or in two, as 不|戴眼镜, is \n?.
_CHINESE_AND = r"(?:和|或者|或|与|與|及|以及|跟|还有|還有|、|/|／)\n"
_BEFORE = r"""(?:(?:
    但是|但|而且|而|并且|和|以及|也|都|最好|(?<!\w\n)我|里面|画面|(?:图片?|画面?|背景)\n?[里上中]
)\n){0,3}"""
# 有没有, 要不要 and 戴不戴 only ask. Alone 没 and 别 are words, not in 没落 and 别墅.
_CHINESE_NO = r"""(?:
    (?<!^有\n)没(?:有\n|\n(?:[有带戴穿]\n?)?) | 别\n(?=(?:有|带|加|出现)\n) | 避\n?免\n?
  | (?<!^要\n)不\n?要\n?(?:有\n?)? | (?<!^能\n)不\n?能\n?(?:有\n?|(?=(?:带|出现|看到)\n))
  | (?<!^是\n)不\n?是\n? | (?<!^[看带戴穿]\n)不\n?[带含戴穿]\n?(?:有\n?)?
  | 不\n?(?:想\n?要|想\n?(?=看到\n)|需\n?要|包\n?[含括])\n? | 而\n?非\n
)(?:(?:有|带|带有|戴|穿|加|含有|包含|出现|看到|任何|那种|太|偏|过于|是)\n){0,3}+"""
# Of 无 and 非, which names begin with, only what images are often wanted without.
_WITHOUT_OFTEN = r"(?:文\n?字|水\n?印|背\n?景|人\n?物|边\n?框)\n?"
_NOT_OFTEN = r"(?:写\n?实|真\n?人|二\n?次\n?元|动\n?漫|卡\n?通|黑\n?白|彩\n?色)\n?"
# Up to where it is said of what, or what is wanted instead: 没有文字的猫 is a cat, and
# 不要黑白要彩色 is in colour.
_GOES_ON_IN_CHINESE = rf"""(?:
    (?:的|但是|但|而是|而且|而|只要|要|是|除了?)\n
  | {_BEFORE}(?:{_CHINESE_NO}|无\n{_WITHOUT_OFTEN}|非\n{_NOT_OFTEN})
)"""
_SAID = rf"""(?:
    (?!{_GOES_ON_IN_CHINESE}|{_CHINESE_AND}|(?:以外|之外|外)\n)(?:[{HAN}\w]+|\.(?=\n\d))\n
){{1,6}}+"""
_ALL_SAID = rf"{_SAID}(?:{_CHINESE_AND}{_SAID})*+"
_CHINESE = re.compile(
    rf"""^(?:[，,;；：:、 ]\n){{0,3}}(?P<open>[（(]\n)?{_BEFORE}(?:
        {_CHINESE_NO}(?:[ ]\n)?(?P<things>{_ALL_SAID})(?:的\n|(?={_GOES_ON_IN_CHINESE})|(?!\w))
      | 除了?\n(?P<but>{_ALL_SAID})(?:以外|之外|外)\n(?:的\n)?
      | 无\n(?P<without>{_WITHOUT_OFTEN}(?:{_CHINESE_AND}{_WITHOUT_OFTEN})*+)(?:[的版]\n?)?
      | 非\n(?P<manner>{_NOT_OFTEN}(?:{_CHINESE_AND}{_NOT_OFTEN})*+)(?:的\n)?
    )(?(open)(?:[）)]\n)?)
    (?:
        (?:[，, ]\n)?(?:(?:但是|但|而)\n)?(?:只要|要(?!\n不))\n | (?:[，, ]\n)?而是\n
      | (?:但是|但|而且|而|是)\n
    )?""",
    re.VERBOSE | re.MULTILINE,
)
_AND = re.compile(r"(?:[ ]*,)?[ ]+(?:or|nor|and)[ ]+", re.IGNORECASE)
_CHINESE_APART = re.compile(f"^{_CHINESE_AND}", re.MULTILINE)
_MAY_SAY_NO = re.compile("[没沒不别別非无無除避]")
# As titles have it.
_WITHOUT = ("without", "without a", "without an", "without any", "no", "not", "non")
_CHINESE_WITHOUT = ("没有", "沒有", "无", "無", "不带", "不帶", "不含")
# Each is asked for by itself, and costs as much as a question.
MOST_UNWANTED = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """A question's text without what is not wanted, and that, each thing by itself."""

    wanted: str
    unwanted: tuple[str, ...] = ()


def read_wish(text: str) -> Wish:
    """Part a question; as it is where nothing would be wanted, or nothing is not.

    After the third thing, all that is not wanted is one text.
    """
    unwanted: list[str] = []

    def taken(things: list[str]) -> str:
        unwanted.extend(thing.strip() for thing in things if words_asked(thing))
        return " "

    # With single spaces no pattern is looked for longer than there are words.
    wanted = f" {' '.join(text.split())}"
    wanted = _ENGLISH.sub(lambda match: taken(_AND.split(match["things"])), wanted)
    wanted = _MINUS.sub(lambda match: taken(_AND.split(match["quoted"] or match["word"])), wanted)
    if _MAY_SAY_NO.search(wanted):
        wanted, things = _read_chinese(wanted)
        taken(things)
    wanted = re.sub(r"\s+(?=[,;.，。；！!？?～~）)])", "", " ".join(wanted.split()))
    wanted = wanted.strip(" ,;:，；：、！!？?～~")
    if not unwanted or not words_asked(wanted):
        return Wish(text)
    first, rest = unwanted[: MOST_UNWANTED - 1], unwanted[MOST_UNWANTED - 1 :]
    return Wish(wanted, tuple(dict.fromkeys([*first, *([", ".join(rest)] if rest else [])])))


def _read_chinese(text: str) -> tuple[str, list[str]]:
    """Return a text without what it says in Chinese that it does not want, and that."""
    ends = [0, *word_ends(text)]
    # Sign by sign the same, in either script.
    written, plain = (_a_word_a_line(one, ends) for one in (text, simplified(text)))
    wanted, unwanted, place = "", list[str](), 0
    for no in _CHINESE.finditer(plain):
        wanted += f"{written[place : no.start()]} "
        things = written[slice(*no.span(no.lastindex or 0))]
        unwanted += [thing.replace("\n", "") for thing in _CHINESE_APART.split(things)]
        place = no.end()
    return (wanted + written[place:]).replace("\n", ""), unwanted


def _a_word_a_line(text: str, ends: list[int]) -> str:
    return "".join(f"{text[start:end]}\n" for start, end in pairwise(ends))


def written_without(thing: str) -> list[str]:
    """Return how a title says that something is without a thing, in lower case."""
    said = " ".join(re.findall(r"[^\W_]+", thing.lower()))
    return [
        *(f"{no} {said}" for no in _WITHOUT),
        *(f"{no}{said}" for no in _CHINESE_WITHOUT),
    ]
