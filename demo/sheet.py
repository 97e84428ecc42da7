"""A contact sheet: one row a prompt, one labelled picture a column."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TILE, GAP, TITLE, LABEL = 144, 12, 34, 40
INK, QUIET, PAPER = (25, 25, 30), (110, 110, 120), (250, 250, 248)


@dataclass(frozen=True)
class Row:
    """A prompt and its pictures, each with a label of one or two lines."""

    prompt: str
    pictures: list[tuple[str, Image.Image]]


def draw_sheet(rows: list[Row], path: Path) -> None:
    """Write the sheet as PNG; pictures are enlarged without smoothing."""
    columns = max(len(row.pictures) for row in rows)
    height = TITLE + TILE + LABEL + GAP
    sheet = Image.new("RGB", (GAP + columns * (TILE + GAP), GAP + len(rows) * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    title_font, label_font = ImageFont.load_default(18), ImageFont.load_default(12)
    for r, row in enumerate(rows):
        top = GAP + r * height
        pen.text((GAP, top), f"“{row.prompt}”", fill=INK, font=title_font)
        for c, (label, picture) in enumerate(row.pictures):
            left = GAP + c * (TILE + GAP)
            enlarged = picture.convert("RGB").resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left, top + TITLE))
            for line, text in enumerate(label.split("\n")[:2]):
                place = (left, top + TITLE + TILE + 4 + 16 * line)
                pen.text(place, fit(text, label_font), fill=QUIET if line else INK, font=label_font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shorten a label to the width of a tile."""
    # The bundled font has no Chinese; a box says less than a question mark does.
    text = "".join(ch if ord(ch) < 0x2E80 else "?" for ch in text)
    while font.getlength(text) > TILE and len(text) > 2:
        text = text[:-2] + "…"
    return text
