"""Captions and questions of the wide zoo: short, medium and long, in English and Chinese."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from demo.world.manners import Words

# An author's manner is a place in each of these: (medium, long), of what it is and its details.
MANNERS = (
    ("{}, {}", "A set of small pictures: {}. Among them {}."),
    ("a picture of {} ({})", "The pictures show {}, such as {}, on a plain ground."),
    ("{}: {}", "{}; what can be seen: {}. High quality, centred."),
)
MANNERS_ZH = (
    ("{}，{}", "一组小图：{}。其中有{}。"),
    ("{}的图片（{}）", "图片展示{}，例如{}，背景简单。"),
    ("{}：{}", "{}；可以看到{}。高质量，居中。"),
)
# The same where there are no details to tell.
BARE = (
    ("{}, small picture", "A set of small pictures: {}."),
    ("a picture of {}", "The pictures show {} on a plain ground."),
    ("{}, icon", "{}. High quality, centred."),
)
BARE_ZH = (
    ("{}，小图", "一组小图：{}。"),
    ("{}的图片", "图片展示{}，背景简单。"),
    ("{}，图标", "{}。高质量，居中。"),
)
ASKED = {"object": ("something that draws {}", "想画{}")}
FEW, MANY = 2, 5


@dataclass(frozen=True)
class Told:
    """What is said of an adapter, and what somebody who wants it asks."""

    captions: tuple[str, str, str]
    captions_zh: tuple[str, str, str]
    question: str
    question_zh: str


def tell(kind: str, about: Words, entries: Sequence[dict[str, Any]], manner: int) -> Told:
    """Write captions and questions of a concept whose pictures have names `entries`."""
    details, details_zh = list_details(kind, entries)
    asked, asked_zh = ASKED.get(kind, ("{}", "{}"))
    return Told(
        captions=three(about.seen[0], details, (MANNERS if details else BARE)[manner], ", "),
        captions_zh=three(
            about.seen[1], details_zh, (MANNERS_ZH if details_zh else BARE_ZH)[manner], "、"
        ),
        question=asked.format(about.asked[0]),
        question_zh=asked_zh.format(about.asked[1]),
    )


def three(
    about: str, details: list[str], manner: tuple[str, str], comma: str
) -> tuple[str, str, str]:
    return (
        about,
        manner[0].format(about, comma.join(details[:FEW])),
        manner[1].format(about, comma.join(details[:MANY])),
    )


def list_details(kind: str, entries: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """List what captions add: tags of one thing, names of the many that a style is shown on."""
    if kind in ("object", "thing", "mixture"):
        return list(entries[0]["tags"]), list(entries[0]["tags_zh"])
    spoken = [e["label_zh"] for e in entries if e["label_zh"] and not e["rough_zh"]]
    return [entry["label"] for entry in entries], spoken
