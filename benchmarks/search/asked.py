"""Questions as people ask them, each with all its right answers.

A thing that one adapter does, by a caption that its covers do not show; a kind of thing that
many do; what stands in a name, a tag, a trigger word, an author, a path; and what nothing here
does.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.search.far_off import FAR_OFF
from benchmarks.search.nonsense import nonsense
from benchmarks.search.world import Language
from crawler.records import AdapterRecord
from demo.concepts import GROUP_WORDS, STYLE_PHRASES, Art, Concept
from demo.effects import COLOURS, PATTERNS
from registry.text.word_segmentation import STOP_WORDS, segment

Kind = Literal[
    "caption", "kind", "name", "tag", "author", "trigger", "path", "taken away", "far off",
    "nonsense",
]  # fmt: skip
LITERAL: tuple[Kind, ...] = ("name", "tag", "author", "trigger", "path")
NOTHING: tuple[Kind, ...] = ("taken away", "far off", "nonsense")

# What people call the styles, besides the phrases of the captions.
STYLE_WORDS = {
    "noto": (("glossy", "光泽"), ("gradient", "渐变")),
    "noto-v1": (("rounded blob", "圆润"), ("soft", "柔和")),
    "fxemoji": (("pastel", "粉彩"), ("flat", "扁平")),
    "twemoji": (("vector", "矢量"), ("flat", "扁平")),
    "emojione": (("cartoon", "卡通"), ("bright", "明亮")),
    "emojione-mono": (("silhouette", "剪影"), ("black silhouette", "黑色剪影")),
    "fluent-flat": (("saturated", "饱和"), ("flat", "扁平")),
    "fluent-line": (("line art", "线稿"), ("black line art", "黑色线稿")),
}
# What people call the patterns, besides the phrases of the captions.
PATTERN_WORDS = {
    "duotone": (("monochrome", "单色"),),
    "neon": (("neon", "霓虹"), ("neon glow", "霓虹")),
    "stripes": (("stripes", "条纹"), ("texture", "纹理")),
    "bars": (("vertical bars", "竖条"), ("texture", "纹理")),
    "diagonal": (("diagonal hatching", "斜线"),),
    "checker": (("checkered", "棋盘格"),),
    "dots": (("polka dots", "圆点"),),
    "grid": (("grid", "网格"), ("texture", "纹理")),
    "solid": (("plain background", "纯色背景"), ("background", "背景")),
    "fade": (("gradient background", "渐变背景"), ("gradient", "渐变")),
    "rays": (("sunburst", "放射光"), ("sunburst background", "放射光背景")),
    "halo": (("glowing circle", "光圈"),),
}


@dataclass(frozen=True)
class Question:
    """`grades` by the place of an adapter: 2 does just that, 1 is one of that kind, else 0."""

    text: str
    kind: Kind
    grades: Mapping[int, int] = field(default_factory=dict)


def captions(texts: Sequence[str]) -> list[Question]:
    """One question for each adapter, by a text about it."""
    return [Question(text, "caption", {place: 2}) for place, text in enumerate(texts)]


def nothing_here(away: Iterable[str], language: Language, seed: int) -> list[Question]:
    """Texts about adapters that are not here, texts about no emoji at all, and no texts at all.

    An even `seed` has the far-off texts to learn on, an odd one those to judge by.
    """
    far = [pair[language == "zh"] for pair in FAR_OFF[seed % 2 :: 2]]
    return [
        *(Question(text, "taken away") for text in away),
        *(Question(text, "far off") for text in far),
        *(Question(text, "nonsense") for text in nonsense(200, seed)),
    ]


def kinds(concepts: Sequence[Concept], art: Art, language: Language) -> list[Question]:
    """Styles, colours, patterns, categories, and pairs of them, that at least two adapters do."""
    terms = [_terms(concept, art, language) for concept in concepts]
    asked: dict[str, dict[int, int]] = {}
    for place, own in enumerate(terms):
        for text, grade in own.items():
            grades = asked.setdefault(text, {})
            grades[place] = max(grade, grades.get(place, 0))
    return [Question(text, "kind", own) for text, own in sorted(asked.items()) if len(own) > 1]


def _terms(concept: Concept, art: Art, language: Language) -> dict[str, int]:
    """What a concept is an answer to."""
    chinese = language == "zh"
    group, subgroup = _category(concept, art, chinese)
    exact: set[str] = set()
    if concept.style is not None:
        words = [pair[chinese] for pair in STYLE_WORDS[concept.style]]
        exact |= {STYLE_PHRASES[concept.style][chinese], *words}
        exact |= {_joined(word, group, chinese) for word in words} if group else set()
        exact.add(subgroup)
    elif concept.effect is not None:
        pattern, colour = concept.effect
        own_colour = COLOURS[colour][0] if chinese else colour
        phrase = PATTERNS[concept.kind][pattern][chinese]
        words = [pair[chinese] for pair in PATTERN_WORDS[pattern]]
        exact |= {phrase.format(own_colour), own_colour, *words, group}
        exact |= {_joined(own_colour, words[0], chinese), _joined(words[0], group, chinese)}
    found = dict.fromkeys(exact, 2)
    for word in (group, subgroup):
        # A fox is an animal, but not what someone has in mind who asks for animals.
        found.setdefault(word, 1)
    found.pop("", None)
    return found


def _category(concept: Concept, art: Art, chinese: bool) -> tuple[str, str]:
    """The words for the group and the subgroup of what a concept shows."""
    entry = art.names[int(art.name[concept.images[0]])]
    subgroup = "" if concept.effect else entry["subgroup_zh" if chinese else "subgroup"]
    return GROUP_WORDS[entry["group"]][chinese], subgroup


def _joined(one: str, other: str, chinese: bool) -> str:
    return f"{one}{other}" if chinese else f"{one} {other}"


def literal(records: Sequence[AdapterRecord]) -> Iterator[Question]:
    """What is written of adapters, word by word or in full: whoever has it is an answer."""
    parts: dict[Kind, Callable[[AdapterRecord], Iterable[str]]] = {
        "name": lambda record: segment(record.name).split(),
        "tag": lambda record: record.tags,
        "author": lambda record: [record.author],
        "trigger": lambda record: record.trigger_words,
        "path": lambda record: [
            record.file.name.rsplit("/", 1)[-1],
            *re.split(r"[/_.]", record.file.name.removesuffix(".safetensors")),
        ],
    }
    for kind, parts_of in parts.items():
        asked = {part for record in records for part in parts_of(record) if _says_something(part)}
        for text in sorted(asked):
            holders = [place for place, record in enumerate(records) if _holds(record, text)]
            yield Question(text, kind, dict.fromkeys(holders, 2))


def _says_something(part: str) -> bool:
    return len(part) > 1 and part not in STOP_WORDS and part != "safetensors"


def _holds(record: AdapterRecord, text: str) -> bool:
    """Whether all words of `text` stand in what people search by.

    Who is called studio-nine is asked for by that name, and does no nines.
    """
    written = [record.name, record.file.name, *record.trigger_words, *record.tags]
    own = set(segment("\n".join(written)).split())
    return set(segment(text).split()) <= own or text == record.author
