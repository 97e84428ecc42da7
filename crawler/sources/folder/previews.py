"""The pictures beside a file, and the prompts that programs write into those they draw."""

import warnings
from pathlib import Path

from PIL import Image

from crawler.broken_images import BROKEN_IMAGE
from crawler.covers import FORMATS, MAX_BYTES
from crawler.pictures.prompt import prompt_of
from crawler.pictures.texts import texts_of

KINDS = (".png", ".jpg", ".jpeg", ".webp", ".gif")
# In the order in which web UIs look for a preview; the last is another program's, SwarmUI's.
PREVIEWS = tuple(f"{infix}{kind}" for infix in (".preview", "", ".thumb") for kind in KINDS)


def read_prompt(path: Path) -> str:
    """Return the prompt that a picture was drawn with, "" where it does not say.

    A picture that is too large or cannot be opened says nothing: it is told of when it is taken
    as a cover.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            return ""
        # Pillow warns of pictures with very many pixels, which are not decoded here.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            return prompt_of(texts_of(image))
    except BROKEN_IMAGE:
        return ""
