"""How an image is drawn, apart from what is on it. Imports no torch."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, SupportsIndex, TypedDict, get_args

from registry.fusion.errors import SamplingError
from registry.retrieval.terms import Maturity

if TYPE_CHECKING:
    from PIL.Image import Image

# gated: by gates of any kind. sum: plain addition. average: addition, each adapter's strength
# divided by the number of adapters in use. base: no adapter.
Mode = Literal["gated", "sum", "average", "base"]
MODES: tuple[Mode, ...] = get_args(Mode)
# What guidance leads away from: the base with the adapters in it, or the base alone.
GuideFrom = Literal["fused", "base"]
# Other programs that a recipe can be written for; "comfyui-api" is what ComfyUI runs rather than
# what its editor opens.
Target = Literal["diffusers", "a1111", "comfyui", "comfyui-api"]
TARGETS: tuple[Target, ...] = get_args(Target)
# Of an image that is drawn for whoever asks a server. An adapter is used as strongly either way.
MOST_ADAPTERS = 5
STRONGEST = 4.0
MOST_STEPS = 100
MOST_SIDE = 2048
MOST_GUIDANCE = 30.0
Size = tuple[int, int]  # width and height in pixels
# Names that would say of a PNG that it is another kind of picture.
OTHER_PICTURES = frozenset(
    {".jpg", ".jpeg", ".webp", ".gif", ".avif", ".jxl", ".heic", ".bmp", ".tif", ".tiff"}
)
# Called after every denoising step with how many are done and how many there are: steps, or of a
# sheet images. What it raises ends the work (GenerationCancelledError says just that).
StepCallback = Callable[[int, int], None]
# Called at most once a second with the image as it seems to become, of 128 pixels at most.
PreviewCallback = Callable[["Image"], None]


@dataclass(frozen=True)
class Drawing:
    """How an image is drawn. What is None is left to the base model."""

    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    size: Size | None = None
    mode: Mode = "gated"
    # None is the base model's own for gated adapters, and "fused", as diffusers has it, for others.
    guide_from: GuideFrom | None = None
    negative: str = ""
    # Whether to measure how far several adapters depart from the base together. That costs as
    # many passes through the base as there are adapters, and one.
    check: bool = True
    # Shown how the image comes along, which changes nothing of it.
    preview: PreviewCallback | None = None


class UnsizedOptions(TypedDict, total=False):
    """The fields of `Drawing` that are keywords of every way to make images, but the size."""

    seed: int
    steps: int | None
    guidance: float | None
    negative: str


class DrawingOptions(UnsizedOptions, total=False):
    """And the size: one side is that of a square."""

    size: Size | int | None


def size_of(asked: Size | int | None) -> Size | None:
    """Return width and height of a size as people give it: of one side, a square.

    Raises:
        SamplingError: it is none.
    """
    if asked is None:
        return None
    sides = (asked, asked) if isinstance(asked, SupportsIndex) else asked
    try:
        width, height = map(operator.index, sides)
    except (TypeError, ValueError) as error:
        raise SamplingError(
            f"{asked!r} is no size: give width and height in pixels, such as (768, 512), or one "
            "side of a square"
        ) from error
    return width, height


class ShownOptions(DrawingOptions, total=False):
    """And what shows an image that is drawn on this machine, meanwhile."""

    preview: PreviewCallback | None


class GridOptions(DrawingOptions, total=False):
    """The keywords of `grid`, whoever draws."""

    strengths: Sequence[float | None] | None
    base_model: str | None
    mode: Mode | None
    progress: StepCallback | None


class CompareOptions(DrawingOptions, total=False):
    """The keywords of `compare`, whoever draws."""

    k: int
    adapters: Sequence[int] | None
    strengths: Sequence[float | None] | None
    base_model: str | None
    mature: Maturity
    progress: StepCallback | None


class FuseOptions(CompareOptions, total=False):
    """The keywords of `fuse`, whoever draws."""

    mode: Mode | None
    check: bool
