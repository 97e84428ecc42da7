"""What the gates let through, over layers and steps, as numbers and as a picture."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

CELL = 6  # pixels
# Closed is dark blue, open is yellow; in between as in a photograph that is exposed longer.
CLOSED, OPEN = np.array([20, 24, 72]), np.array([255, 221, 87])


@dataclass(frozen=True)
class ActivityMap:
    """The mean openness of one adapter's gates by layer and step, 0..1."""

    layers: tuple[str, ...]
    values: npt.NDArray[np.float32]  # (layers, steps)

    def draw(self, cell: int = CELL) -> Image.Image:
        """Draw a row for each layer, top to bottom, and a column for each step."""
        shade = self.values.clip(0, 1)[..., None]
        colours = (CLOSED + (OPEN - CLOSED) * shade).round().astype(np.uint8)
        return Image.fromarray(colours.repeat(cell, 0).repeat(cell, 1), "RGB")


def map_activity(passes: Mapping[str, Tensor], steps: int) -> ActivityMap:
    """Make a map from each layer's passes (passes,), in order; there is one for each step or more.

    Guidance runs the base twice a step, and some samplers too.
    """
    rows = [
        [part.mean() for part in np.array_split(values.float().numpy(), steps)]
        for values in passes.values()
    ]
    return ActivityMap(tuple(passes), np.array(rows, np.float32).reshape(len(rows), steps))
