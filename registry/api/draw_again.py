"""The address of the fuse page that draws a picture again, as far as the picture says how."""

from typing import TYPE_CHECKING, get_args
from urllib.parse import urlencode

from registry.fusion.options import (
    MOST_ADAPTERS,
    MOST_GUIDANCE,
    MOST_SIDE,
    MOST_STEPS,
    STRONGEST,
    Mode,
)

if TYPE_CHECKING:
    from registry.retrieval.by_picture import PicturePage

# What the page takes: more adapters, and numbers beyond these, are left out.
MOST_PROMPT = 2000
MOST = {
    "seed": 2**32 - 1,
    "steps": MOST_STEPS,
    "guidance": MOST_GUIDANCE,
    "width": MOST_SIDE,
    "height": MOST_SIDE,
}


def draw_again(page: "PicturePage") -> str | None:
    """Return the address; None where a picture names no adapter that is here."""
    named = page.named()[:MOST_ADAPTERS]
    if not named:
        return None
    asked: list[tuple[str, object]] = [("prompt", page.prompt[:MOST_PROMPT])] if page.prompt else []
    asked += [("adapter", card.id) for card, _ in named]
    strengths = [by.strength if by.strength is not None else card.strength for card, by in named]
    asked += [("strength", f"{_within(one):g}") for one in strengths]
    if page.drawn_with.negative_prompt:
        asked.append(("negative_prompt", page.drawn_with.negative_prompt[:MOST_PROMPT]))
    for name, most in MOST.items():
        value = getattr(page.drawn_with, name)
        if value is not None and value <= most:
            asked.append((name, f"{value:g}" if isinstance(value, float) else value))
    if page.drawn_with.mode in get_args(Mode):
        asked.append(("mode", page.drawn_with.mode))
    return f"/fuse?{urlencode(asked)}"


def _within(strength: float | None) -> float:
    return 1.0 if strength is None else max(-STRONGEST, min(STRONGEST, strength))
