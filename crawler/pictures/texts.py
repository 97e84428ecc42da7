"""The texts that programs write into the pictures that they draw, each under its own name."""

import codecs
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import iTXt

from crawler.hub_json import read_json

# Where our own images carry their recipe; `registry.fusion.recipe` writes it.
RECIPE_KEY = "autolora-recipe"
# EXIF's tags for what JPEG and WebP carry in place of PNG's text chunks.
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
# What kind of text a UserComment holds, in its first 8 bytes: Exif's character codes.
COMMENT_KINDS = (b"ASCII\0\0\0", b"UNICODE\0", b"JIS\0\0\0\0\0", bytes(8))
# What may stand at the beginning of a text, and the encoding that it tells.
BYTE_ORDERS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
}
# ComfyUI writes `prompt:{…}` and `workflow:{…}` into these of a WebP: model, make and those before.
COMFYUI_TAGS = (0x0110, 0x010F, 0x010E, 0x010D)
# Workflows with pictures in them reach some MB; what is longer is not looked at.
MAX_CHARACTERS = 4 * 2**20
# The values that a graph may have; the smallest takes 3 characters, and 64 bytes decoded.
MAX_VALUES = 200_000


@dataclass(frozen=True, slots=True)
class PictureTexts:
    """What a picture says of how it was made; "" where it does not, and None for no JSON."""

    parameters: str = ""  # web UIs' and Civitai's
    graph: Any = None  # ComfyUI's, as it was run
    workflow: Any = None  # ComfyUI's editor's
    recipe: Any = None  # ours


def texts_of(image: Image.Image) -> PictureTexts:
    """Return what programs wrote into a picture; of one that is decoded, all of it."""
    told = {key: _said(value) for key, value in image.info.items() if isinstance(value, str)}
    exif = dict(_exif_texts(image))
    return PictureTexts(
        parameters=(told.get("parameters") or exif.get("parameters", ""))[:MAX_CHARACTERS],
        graph=bounded_json(told.get("prompt") or exif.get("prompt")),
        workflow=bounded_json(told.get("workflow") or exif.get("workflow")),
        recipe=bounded_json(told.get(RECIPE_KEY)),
    )


def _said(text: str) -> str:
    """Return what was meant by a text that Pillow took for Latin-1, as PNG and EXIF have it.

    Many programs write UTF-8 there. What is Latin-1 is hardly ever UTF-8 as well.
    """
    if isinstance(text, iTXt):
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def bounded_json(text: str | None) -> Any:
    """Return what a text holds as JSON; None where it holds none, or more than anybody needs."""
    if not text or len(text) > MAX_CHARACTERS:
        return None
    if sum(text.count(mark) for mark in ",[{") > MAX_VALUES:
        return None
    # Python's own NaN is no JSON, but ComfyUI writes it.
    return read_json(text)


def _exif_texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    try:
        # Not as a PNG has it, which decodes all of a picture to look for it behind the pixels.
        exif = Image.Image.getexif(image)
        # Fooocus writes it beside the main tags.
        comments = [exif.get_ifd(EXIF_IFD).get(USER_COMMENT), exif.get(USER_COMMENT)]
        tagged = [exif.get(tag) for tag in COMFYUI_TAGS]
    # What Pillow raises for broken EXIF.
    except (
        OSError,
        ValueError,
        SyntaxError,
        ArithmeticError,
        LookupError,
        TypeError,
        struct.error,
    ):
        return
    yield "parameters", next(filter(None, map(_comment_text, comments)), "")
    for text in tagged:
        if isinstance(text, str):
            name, _, value = text.partition(":")
            yield name.strip().lower(), value


def _comment_text(comment: Any) -> str:
    if isinstance(comment, str):
        return _said(comment)
    if not isinstance(comment, bytes):
        return ""
    # Some programs leave the kind out, and write the text alone; others tell a wrong one.
    text = comment[8:] if comment[:8] in COMMENT_KINDS else comment
    for mark, encoding in BYTE_ORDERS.items():
        if text.startswith(mark):
            return text[len(mark) :].decode(encoding, "ignore")
    # Settings in UTF-16 have zeros; in UTF-8 they have none, but perhaps at their end.
    if 0 not in text.rstrip(b"\0"):
        return text.decode("utf-8", "ignore")
    # Exif leaves the order of bytes open; web UIs write the large end first, others the small one:
    # of prompts, most letters then have their zero behind them.
    small = text[1::2].count(0) > text[::2].count(0)
    return text.decode("utf-16-le" if small else "utf-16-be", "ignore")
