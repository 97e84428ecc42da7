"""What a question says that it does not want: `a cat, no text` wants a cat, and does not want text.

An embedding of a text hears what it names and hardly hears `not`, and words are looked for wherever
they stand, so that whoever wants none of a thing would get it. English and Chinese. A question that
says nothing else is left alone, for it may be a name (`No Man's Sky`), and so is `no` where it may
be a word of another language (`boku no hero`).
"""

import re
from dataclasses import dataclass

from encoder.chinese import HAN
from registry.text.request_frames import words_asked

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
_WORD = rf"(?!(?:{'|'.join(_GOES_ON)})\b)[\w'’-]+"
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
    r"""[ ][-−](?:["“](?P<quoted>[^"“”]+)["”]|(?P<word>[^\W_][\w'’]*(?:-\w+)*))(?=[ ,;.，。；]|$)"""
)
_SAID = rf"(?:(?!的|但|而)[{HAN}\w]){{1,10}}?"
# 有没有, 要不要 and 戴不戴 only ask. Up to where it is said of what: 没有文字的猫 is a cat. Of 无,
# which names begin with, only what images are often wanted without.
_CHINESE = re.compile(
    rf"""[，,;；：:、 ]{{0,3}}(?P<open>[（(])?(?:但是|但|而且|并且|並且|而|(?<!\w)我)?(?:
        (?:
            (?<!有)[没沒]有 | (?<!要)不要有? | 不想要 | 不需要 | (?<!能)不能有 | 不包含 | 不包括
          | (?<![看带帶戴穿])不[带帶含戴穿]有? | (?<!有)[没沒](?:[带帶戴穿]|(?=人的))
          | (?<!是)不是 | 而非
        )[ ]?(?P<things>{_SAID})
        (?:的(?=[{HAN}\w])|的?(?=[ ]?(?:[，。；、,;.！!？?～~）)]|$))|(?=[ ]))
      | 除了(?P<but>{_SAID})(?:以外|之外|外)的?
      | (?<!\w)[无無](?P<often>文字|水印|背景|人物|[边邊]框)[的版]?
    )(?(open)[）)]?)""",
    re.VERBOSE,
)
_AND = re.compile(r"(?:[ ]*,)?[ ]+(?:or|nor|and)[ ]+", re.IGNORECASE)
_CHINESE_AND = re.compile("和|或者|或|与|與|及|跟")
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

    def taken(things: str, apart: re.Pattern[str]) -> str:
        unwanted.extend(thing.strip() for thing in apart.split(things) if words_asked(thing))
        return " "

    # With single spaces no pattern is looked for longer than there are words.
    wanted = f" {' '.join(text.split())}"
    wanted = _ENGLISH.sub(lambda match: taken(match["things"], _AND), wanted)
    wanted = _MINUS.sub(lambda match: taken(match["quoted"] or match["word"], _AND), wanted)
    wanted = _CHINESE.sub(
        lambda match: taken(match["things"] or match["but"] or match["often"], _CHINESE_AND), wanted
    )
    wanted = re.sub(r"\s+(?=[,;.，。；！!？?～~）)])", "", " ".join(wanted.split()))
    wanted = wanted.strip(" ,;:，；：、！!？?～~")
    if not unwanted or not words_asked(wanted):
        return Wish(text)
    first, rest = unwanted[: MOST_UNWANTED - 1], unwanted[MOST_UNWANTED - 1 :]
    return Wish(wanted, tuple(dict.fromkeys([*first, *([", ".join(rest)] if rest else [])])))


def written_without(thing: str) -> list[str]:
    """Return how a title says that something is without a thing, in lower case."""
    said = " ".join(re.findall(r"[^\W_]+", thing.lower()))
    return [
        *(f"{no} {said}" for no in _WITHOUT),
        *(f"{no}{said}" for no in _CHINESE_WITHOUT),
    ]
