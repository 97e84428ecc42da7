"""The validation curve of gates as a picture."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = (640, 360)
LEFT, TOP, RIGHT, BOTTOM = 64, 30, 540, 320
COLOURS = ("#c0392b", "#1f618d", "#27ae60", "#8e44ad", "#d68910")
GREY, INK = "#cccccc", "#333333"


def draw_gate_curves(curve: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the validation losses over steps, each as the change since the first."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    names = [name for name in curve[0] if name != "step"]
    changes = {name: [row[name] - curve[0][name] for row in curve] for name in names}
    values = [0.0, *(value for losses in changes.values() for value in losses)]
    low, high = min(values), max(values)
    span, last = (high - low) or 1.0, max(curve[-1]["step"], 1.0)

    def height(value: float) -> float:
        return BOTTOM - (value - low) / span * (BOTTOM - TOP)

    for value in (low, 0.0, high):
        draw.line([(LEFT, height(value)), (RIGHT, height(value))], fill=GREY)
        draw.text((LEFT - 6, height(value)), f"{value:+.4f}", INK, anchor="rm")
    draw.text((LEFT, 12), "validation loss, change since the start", INK, anchor="lm")
    draw.text(((LEFT + RIGHT) / 2, BOTTOM + 22), f"{last:.0f} steps", INK, anchor="mm")
    for name, colour in zip(names, COLOURS * len(names), strict=False):
        points = [
            (LEFT + row["step"] / last * (RIGHT - LEFT), height(change))
            for row, change in zip(curve, changes[name], strict=True)
        ]
        draw.line(points, fill=colour, width=2)
        draw.text((RIGHT + 6, points[-1][1]), name, colour, anchor="lm")
    image.save(path)
