"""Training curves as a picture, with Pillow: nothing else here would need a plotting library."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = (640, 360)
LEFT, TOP, RIGHT, BOTTOM = 56, 30, 584, 320
LOSS, MRR, GREY, INK = "#c0392b", "#1f618d", "#cccccc", "#333333"


def draw_curves(curves: Sequence[dict[str, float]], path: Path) -> None:
    """Draw loss (left axis) and validation MRR (right axis) over epochs."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    losses = [point["loss"] for point in curves]
    reached = [point["validation_mrr"] for point in curves]
    top_loss, top_mrr = 1.1 * max(losses, default=1.0), 1.1 * max([*reached, 0.01])
    for part in range(5):
        height = BOTTOM - part * (BOTTOM - TOP) / 4
        draw.line([(LEFT, height), (RIGHT, height)], fill=GREY)
        draw.text((LEFT - 6, height), f"{top_loss * part / 4:.2f}", LOSS, anchor="rm")
        draw.text((RIGHT + 6, height), f"{top_mrr * part / 4:.2f}", MRR, anchor="lm")
    draw.text((LEFT, 12), "training loss", LOSS, anchor="lm")
    draw.text((RIGHT, 12), "validation MRR", MRR, anchor="rm")
    draw.text(((LEFT + RIGHT) / 2, BOTTOM + 22), f"{len(curves)} epochs", INK, anchor="mm")
    _draw_line(draw, losses, top_loss, LOSS)
    _draw_line(draw, reached, top_mrr, MRR)
    image.save(path)


def _draw_line(draw: ImageDraw.ImageDraw, values: Sequence[float], top: float, colour: str) -> None:
    step = (RIGHT - LEFT) / max(1, len(values) - 1)
    points = [
        (LEFT + index * step, BOTTOM - value / top * (BOTTOM - TOP))
        for index, value in enumerate(values)
    ]
    draw.line(points, fill=colour, width=2)
