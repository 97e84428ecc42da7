"""Words for pictures: what is drawn, how and in which colour, as people would say it."""

import random
from typing import Any

from demo.world.colours import COLOUR_WORDS
from demo.world.sources import Look

CHINESE_SHARE = 0.25
STYLE_ONLY_SHARE = 0.04
# Icons of one ink seldom go without their style: a bare name should mean a colourful picture.
STYLE_SHARE, INK_STYLE_SHARE = 0.4, 0.85
# A picture's colour is told more often where the set leaves a choice of inks.
COLOUR_SHARE, INK_SHARE = 0.25, 0.6
TAG_SHARE = 0.12

PLAIN = (
    "{name}",
    "{name}",
    "{name}",
    "a {name}",
    "the {name}",
    "{name} icon",
    "an icon of {name}",
    "a picture of a {name}",
    "drawing of {name}",
)
STYLED = (
    "{name}, {style}",
    "{name}, {style}",
    "{style} of {name}",
    "{name} as {style}",
    "{style}: {name}",
    "{name} in {style} style",
)
PLAIN_ZH = ("{name}", "{name}", "{name}图标", "一个{name}", "{name}的图画")
STYLED_ZH = ("{name}，{style}", "{style}，{name}", "{style}风格，{name}")
BLACK = 0


def write_prompt(entry: dict[str, Any], look: Look, colour: int, rng: random.Random) -> str:
    """Write one of the many prompts that fit a picture."""
    spoken = bool(entry["label_zh"]) and not entry["rough_zh"]
    chinese = spoken and rng.random() < CHINESE_SHARE
    style = rng.choice(look.words_zh if chinese else look.words)
    if rng.random() < STYLE_ONLY_SHARE:
        return style
    name = entry["label_zh" if chinese else "label"]
    if colour >= 0 and rng.random() < colour_share(look, colour):
        name = COLOUR_WORDS[colour][1] + name if chinese else f"{COLOUR_WORDS[colour][0]} {name}"
    tags = entry["tags_zh" if chinese else "tags"]
    if tags and rng.random() < TAG_SHARE:
        name += ("，" if chinese else ", ") + rng.choice(tags)
    if rng.random() < (INK_STYLE_SHARE if look.inks else STYLE_SHARE):
        return rng.choice(STYLED_ZH if chinese else STYLED).format(name=name, style=style)
    return rng.choice(PLAIN_ZH if chinese else PLAIN).format(name=name)


def colour_share(look: Look, colour: int) -> float:
    return INK_SHARE if look.inks and colour != BLACK else COLOUR_SHARE
