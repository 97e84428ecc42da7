"""Prompts that name two or three things of the zoo, as people would write them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from demo.concepts import Concept

# Object, style, effect (a colour, a texture or a background), second object.
ENGLISH = (
    ("{0} in {1} style", "os"),
    ("a {1} drawing of {0}", "os"),
    ("{0}, {1}", "os"),
    ("{0} with {1}", "oe"),
    ("a picture of {0} and {1}", "oo"),
    ("please draw {0} next to {1}", "oo"),
    ("{0} in {1} style with {2}", "ose"),
    ("{0} and {1} in {2} style", "oos"),
    ("{0} on {2}, {1} style", "ose"),
)
CHINESE = (
    ("{1}风格的{0}", "os"),
    ("用{1}风格画的{0}", "os"),
    ("{0}，{1}", "os"),
    ("带有{1}的{0}", "oe"),
    ("{0}和{1}", "oo"),
    ("请画{0}与{1}", "oo"),
    ("{1}风格的{0}，{2}", "ose"),
    ("{2}风格的{0}和{1}", "oos"),
    ("{0}，{2}，{1}风格", "ose"),
)


@dataclass(frozen=True)
class Composed:
    """A prompt in both languages, and the keys of the concepts that it names."""

    english: str
    chinese: str
    keys: frozenset[str]


def compose(concepts: Sequence[Concept], count: int, seed: int) -> list[Composed]:
    """Draw prompts over `concepts`, all templates alike often."""
    rng = random.Random(f"composed/{seed}")
    kinds = {
        "o": [concept for concept in concepts if concept.kind == "object"],
        "s": [concept for concept in concepts if concept.kind == "style"],
        "e": [c for c in concepts if c.kind in ("colour", "texture", "background")],
    }
    found = []
    for number in range(count):
        (english, pattern), (chinese, _) = (
            templates[number % len(templates)] for templates in (ENGLISH, CHINESE)
        )
        named: list[Concept] = []
        for kind in pattern:
            named.append(rng.choice([c for c in kinds[kind] if c not in named]))
        found.append(
            Composed(
                english.format(*(concept.subject for concept in named)),
                chinese.format(*(concept.subject_zh for concept in named)),
                frozenset(concept.key for concept in named),
            )
        )
    return found
