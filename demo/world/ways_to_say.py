"""Looks and effects, each said in many ways: what a text encoder should hold to be one."""

from demo.effects import COLOURS, PATTERNS
from demo.world.made_looks import MADE_LOOKS
from demo.world.manners import words_of_effect
from demo.world.said import said_of_effect


def ways_to_say() -> list[list[str]]:
    """Return the phrases of every effect and made look."""
    effects = [
        [*words_of_effect(kind, pattern, colour).seen, *said_of_effect(kind, pattern, colour)]
        for kind, patterns in PATTERNS.items()
        for pattern in patterns
        for colour in COLOURS
    ]
    return [*effects, *([*look.said, *look.said_zh] for look in MADE_LOOKS)]
