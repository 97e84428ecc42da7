"""Sheets: every picture in its place, every label written or replaced honestly."""

import pytest
from PIL import Image, ImageFont

from registry.fusion import sheets
from registry.fusion.sheets import draw_grid, draw_row, draw_rows, fit, label_of, scale


def plain(red: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (red, 0, 0))


def reds(sheet: Image.Image) -> set[int]:
    """Return the reds of the pictures on a sheet: pixels without green."""
    colours = sheet.getcolors(1 << 24)
    assert colours is not None
    return {c[0] for _, c in colours if isinstance(c, tuple) and c[1] == 0 and c[2] == 0}


def test_a_grid_is_symmetric_with_singles_on_the_diagonal() -> None:
    cells = {(i, j): plain(100 + 10 * i + j) for i in range(3) for j in range(i, 3)}
    sheet = draw_grid("a cat", ["one", "two", "three"], cells, tile=20)
    assert reds(sheet) == {100, 101, 102, 111, 112, 122}
    step, left, top = 32, 12 + 10 + 12 + 10, sheets.TITLE + sheets.LABEL + 10

    def at(row: int, column: int) -> int:
        pixel = sheet.getpixel((left + step * column, top + step * row))
        assert isinstance(pixel, tuple)
        return int(pixel[0])

    assert [[at(r, c) for c in range(3)] for r in range(3)] == [
        [100, 101, 102],
        [101, 111, 112],
        [102, 112, 122],
    ]


def test_rows_hold_all_pictures() -> None:
    row = ("a cat", [("base", plain(50)), ("gated\nboth", plain(60))])
    assert reds(draw_row(*row)) == {50, 60}
    assert draw_rows([row, row]).height > draw_row(*row).height


def test_pictures_keep_their_proportions() -> None:
    framed = scale(Image.new("RGB", (40, 20), (9, 0, 0)), 20)
    assert framed.size == (20, 20)
    assert (framed.getpixel((10, 10)), framed.getpixel((10, 2))) == ((9, 0, 0), sheets.PAPER)


def test_labels_are_shortened_to_their_tile() -> None:
    font = ImageFont.load_default(13)
    short = fit("a very long name of an adapter", font, 60)
    assert short.endswith("…")
    assert font.getlength(short) <= 60


def test_chinese_names_are_written_or_replaced_by_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of empty boxes would tell nobody which adapter it is."""
    monkeypatch.setattr(sheets, "CHINESE_FONTS", ("no-such-font.ttf",))
    sheets.chinese_font.cache_clear()
    assert label_of("水彩", 7) == "adapter 7"
    assert label_of("Watercolour", 7) == "Watercolour"
    sheets.chinese_font.cache_clear()
