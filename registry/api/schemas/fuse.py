"""What images are asked for with, and what is chosen for them."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from registry.api.schemas.adapters import AdapterAnswer
from registry.api.schemas.asked import Mature
from registry.api.schemas.service import ActivityAnswer
from registry.api.schemas.shapes import (
    EXAMPLE_SHA256,
    AdapterId,
    Answer,
    Asked,
    Kept,
    Text,
)
from registry.errors import ImageRequestError
from registry.fusion.options import (
    MOST_ADAPTERS,
    MOST_GUIDANCE,
    MOST_SIDE,
    MOST_STEPS,
    STRONGEST,
    DrawingOptions,
    FuseOptions,
    Mode,
    Size,
    StepCallback,
)
from registry.text.pasted_prompts import read_pasted
from registry.text.word_segmentation import clean

if TYPE_CHECKING:
    from registry.retrieval.results import Choice

# What an answer is asked for as that tells of every step on a line of its own.
LINES = "application/x-ndjson"
# How the image of the examples was made.
RECIPE: dict[str, Any] = {
    "schema": 2,
    "prompt": "a fox made of paper",
    "full_prompt": "a fox made of paper, pprfx",
    "negative_prompt": "",
    "seed": 7,
    "steps": 28,
    "guidance": 3.5,
    "width": 1024,
    "height": 1024,
    "mode": "gated",
    "guide_from": "base",
    "adapters": [
        {
            "id": 7,
            "name": "Paper Fox",
            "sha256": EXAMPLE_SHA256,
            "strength": 0.8,
            "licence": "apache-2.0",
            "trigger_words": ["pprfx"],
        }
    ],
    "gates_sha256": EXAMPLE_SHA256[::-1],
    "gates_kind": "autolora",
    "base": {
        "name": "flux.1-dev",
        "backend": "diffusers",
        "files": {"transformer/diffusion_pytorch_model.safetensors": EXAMPLE_SHA256},
        "licence": "flux-1-dev-non-commercial-license",
    },
    "licence": "flux-1-dev-non-commercial-license",
    "warnings": [],
    "versions": {"torch": "2.9.1", "diffusers": "0.36.0"},
    "threads": 8,
}
RecipeDocument = Annotated[dict[str, Any], Field(examples=[RECIPE])]

# As many as a registry chooses, or knows by number, for whoever draws elsewhere.
MOST_RETURNED = 20
Strength = Annotated[float, Field(ge=-STRONGEST, le=STRONGEST, allow_inf_nan=False)]


class ChosenAdapter(Asked):
    id: AdapterId
    strength: Strength | None = Field(
        default=None, examples=[0.8], description="Default: the adapter's own, or else 1."
    )


class ChooseParams(Asked):
    """With `adapters`, those are returned rather than searched for."""

    prompt: str = Field(examples=["a fox made of paper"], min_length=1, max_length=2000)
    k: int = Field(default=3, ge=1, le=MOST_RETURNED)
    adapters: list[AdapterId] | None = Field(
        default=None, examples=[[7]], min_length=1, max_length=MOST_RETURNED
    )
    base_model: Text | None = Field(default=None, examples=["flux.1-dev"])
    mature: Mature = "any"


class ChoiceAnswer(Answer):
    adapter: AdapterAnswer
    part: str = Field(
        default="",
        examples=["a fox"],
        description="The words of the prompt that it was found for, if it was.",
    )
    similarities: list[float] | None = Field(
        examples=[[0.31, 0.35]],
        description="Of the prompt, and of each of its parts, to the weights, -1..1.",
    )
    embedding: list[float] | None = Field(
        examples=[[0.6, 0.8]], description="Of the weights, by the active encoder; gates want it."
    )

    @classmethod
    def from_choice(cls, choice: "Choice") -> Self:
        return cls(
            adapter=AdapterAnswer.from_card(choice.card),
            part=choice.part,
            similarities=None if choice.similarities is None else list(choice.similarities),
            embedding=None if choice.embedding is None else list(choice.embedding),
        )


class FuseRequest(Kept):
    """Without `adapters`, up to `k` are found for the prompt."""

    prompt: str = Field(examples=["a fox made of paper"], min_length=1, max_length=2000)
    k: int = Field(default=3, ge=1, le=MOST_ADAPTERS)
    adapters: list[ChosenAdapter] | None = Field(
        default=None, min_length=1, max_length=MOST_ADAPTERS
    )
    base_model: Text | None = Field(default=None, examples=["flux.1-dev"])
    mature: Mature = "any"
    seed: int = Field(default=0, ge=0, lt=2**32)
    steps: int | None = Field(default=None, examples=[28], ge=1, le=MOST_STEPS)
    guidance: float | None = Field(default=None, examples=[3.5], ge=0.0, le=MOST_GUIDANCE)
    negative_prompt: str = Field(default="", examples=["blurry"], max_length=2000)
    width: int | None = Field(default=None, examples=[1024], ge=16, le=MOST_SIDE)
    height: int | None = Field(
        default=None, examples=[1024], ge=16, le=MOST_SIDE, description="As wide, if not given."
    )
    mode: Mode | None = Field(
        default=None, description="Without one, gated where the base has gates, else average."
    )
    check: bool = Field(
        default=True,
        description="Whether to measure how far several adapters depart from the base together.",
    )

    def check_sense(self) -> None:
        """Raise ImageRequestError where a prompt calls for more than may be named."""
        self._check_called(MOST_ADAPTERS)

    def _check_called(self, most: int) -> None:
        # As what draws it reads it.
        called = read_pasted(clean(self.prompt)).called
        count = len(self.adapters or ()) + len(called)
        if count > most:
            raise ImageRequestError(
                f"it takes {most} adapters at most; {len(self.adapters or ())} are named, and the "
                f"prompt calls for {len(called)} (<lora:…>). Take out {count - most}"
            )
        for named in called:
            if abs(named.strength or 0.0) > STRONGEST:
                raise ImageRequestError(
                    f"the prompt calls for {named.name!r} at a strength of {named.strength:g}; "
                    f"give {-STRONGEST:g} to {STRONGEST:g}"
                )

    @property
    def size(self) -> Size | None:
        """Width and height: square where only one is given."""
        side = self.width or self.height
        return None if side is None else (self.width or side, self.height or side)

    @property
    def drawing(self) -> DrawingOptions:
        """How to draw, for every way to make images."""
        return {
            "seed": self.seed,
            "steps": self.steps,
            "guidance": self.guidance,
            "size": self.size,
            "negative": self.negative_prompt,
        }

    def options(self, progress: StepCallback) -> FuseOptions:
        """Return what is fused and how, for whatever draws single images."""
        chosen = self.adapters
        return {
            "k": self.k,
            "adapters": None if chosen is None else [adapter.id for adapter in chosen],
            "strengths": None if chosen is None else [adapter.strength for adapter in chosen],
            "base_model": self.base_model,
            "mature": self.mature,
            "mode": self.mode,
            "check": self.check,
            "progress": progress,
            **self.drawing,
        }


class FuseAnswer(Answer):
    image: str = Field(
        examples=["data:image/png;base64,iVBORw0KGgo="],
        description="The PNG, with its recipe inside, as a data URL.",
    )
    recipe: RecipeDocument
    activity: list[ActivityAnswer]


# Bodies to ask for images with, by what they show.
FUSE_EXAMPLES: dict[str, Any] = {
    "found": {
        "summary": "With adapters that suit the prompt",
        "value": {"prompt": "a fox made of paper", "k": 2, "seed": 7},
    },
    "named": {
        "summary": "With two adapters, at strengths",
        "value": {
            "prompt": "a fox made of paper",
            "adapters": [{"id": 7, "strength": 0.8}, {"id": 31}],
            "width": 1024,
            "height": 1024,
        },
    },
    "sum": {
        "summary": "Without gates: plain addition",
        "value": {"prompt": "a fox made of paper", "adapters": [{"id": 7}], "mode": "sum"},
    },
}


class FuseEvent(BaseModel):
    """A line of what is said while an image is drawn, as who asked for it reads it."""

    event: Literal["waiting", "started", "step", "done", "error"]
    done: int = 0
    total: int = 0
    result: FuseAnswer | None = None
    problem: dict[str, Any] = {}
