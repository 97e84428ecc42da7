"""Sheets of labelled pictures: a grid of pairs, or one row to compare."""

from collections.abc import Mapping, Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

GAP, TITLE, LABEL = 12, 34, 40
# Small pictures are enlarged without smoothing; large ones are made smaller.
TILE = 192
INK, QUIET, PAPER = (25, 25, 30), (110, 110, 120), (250, 250, 248)
# Fonts with Chinese that systems bring along, by file name, which Pillow looks for where fonts
# are kept. Pillow's own font has none.
CHINESE_FONTS = (
    *("NotoSansCJK-Regular.ttc", "SourceHanSansSC-Regular.otf", "wqy-microhei.ttc"),
    *("PingFang.ttc", "msyh.ttc", "simhei.ttf"),
)


def draw_grid(
    title: str, names: Sequence[str], cells: Mapping[tuple[int, int], Image.Image], tile: int = TILE
) -> Image.Image:
    """Draw N×N pictures, names above and to the left; (i, j) and (j, i) are the same picture."""
    count, step, side = len(names), tile + GAP, tile // 2
    sheet = Image.new(
        "RGB", (GAP + side + count * step + GAP, TITLE + LABEL + count * step + GAP), PAPER
    )
    pen = ImageDraw.Draw(sheet)
    write(pen, (GAP, GAP), title, 18, INK, sheet.width - 2 * GAP)
    for k, name in enumerate(names):
        left, top = GAP + side + GAP + k * step, TITLE + LABEL + k * step
        write(pen, (left, TITLE + GAP), name, 13, INK, tile)
        write(pen, (GAP, top + tile // 2 - 8), name, 13, INK, side)
        for other in range(count):
            picture = cells[min(k, other), max(k, other)]
            sheet.paste(scale(picture, tile), (GAP + side + GAP + other * step, top))
    return sheet


def draw_row(
    title: str, pictures: Sequence[tuple[str, Image.Image]], tile: int = TILE
) -> Image.Image:
    """Draw pictures side by side, each over its label of one or two lines."""
    return draw_rows([(title, pictures)], tile)


def draw_rows(
    rows: Sequence[tuple[str, Sequence[tuple[str, Image.Image]]]], tile: int = TILE
) -> Image.Image:
    """Draw rows of pictures, each row under its title."""
    columns = max(len(pictures) for _, pictures in rows)
    height = TITLE + tile + LABEL + GAP
    sheet = Image.new("RGB", (GAP + columns * (tile + GAP), GAP + len(rows) * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for r, (title, pictures) in enumerate(rows):
        top = GAP + r * height
        write(pen, (GAP, top), title, 18, INK, sheet.width - 2 * GAP)
        for c, (label, picture) in enumerate(pictures):
            left = GAP + c * (tile + GAP)
            sheet.paste(scale(picture, tile), (left, top + TITLE))
            for line, text in enumerate(label.split("\n")[:2]):
                place = (left, top + TITLE + tile + 4 + 17 * line)
                write(pen, place, text, 13, QUIET if line else INK, tile)
    return sheet


def scale(picture: Image.Image, tile: int) -> Image.Image:
    """Fit a picture into a square tile, on paper."""
    picture = picture.convert("RGB")
    factor = tile / max(picture.size)
    width, height = (max(1, round(side * factor)) for side in picture.size)
    framed = Image.new("RGB", (tile, tile), PAPER)
    scaled = picture.resize((width, height), Image.Resampling.LANCZOS)
    framed.paste(scaled, ((tile - width) // 2, (tile - height) // 2))
    return framed


def write(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    width: int,
) -> None:
    """Write one line, shortened to `width` pixels."""
    chinese = chinese_font(size) if needs_chinese(text) else None
    font: Font = chinese or ImageFont.load_default(size)
    pen.text(place, fit(text, font, width), fill=colour, font=font)


def fit(text: str, font: Font, width: int) -> str:
    while font.getlength(text) > width and len(text) > 2:
        text = text[:-2] + "…"
    return text


def needs_chinese(text: str) -> bool:
    return any(ord(letter) >= 0x2E80 for letter in text)


def label_of(name: str, adapter_id: int | None) -> str:
    """Return a name that this machine's fonts can write: else the adapter's id."""
    if needs_chinese(name) and chinese_font(13) is None:
        return f"adapter {adapter_id}"
    return name


@cache
def chinese_font(size: int) -> ImageFont.FreeTypeFont | None:
    """Return a font of this machine with Chinese, if it has one of the usual."""
    for name in CHINESE_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None
