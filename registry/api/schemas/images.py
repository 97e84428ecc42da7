"""Images that are asked for and drawn behind the answer."""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from registry.api.schemas.fuse import (
    FUSE_EXAMPLES,
    RECIPE,
    FuseRequest,
    RecipeDocument,
)
from registry.api.schemas.service import ActivityAnswer
from registry.api.schemas.shapes import Answer, Id, Moment, Next, ProblemDocument
from registry.errors import ImageRequestError
from registry.fusion.options import MOST_ADAPTERS, MOST_SIDE, MOST_STEPS
from registry.fusion.recipe import Recipe
from registry.image_states import ImageState

if TYPE_CHECKING:
    from registry.db.images import ImageFacts

# As many as may wait.
MOST_IMAGES = 4
# A grid of so many adapters has ten pictures.
MOST_IN_GRID = 4


class ImageRequest(FuseRequest):
    """What to draw: a prompt as `/v1/fuse` takes it, or a recipe, or a sheet that compares.

    `count` images differ in their seeds, which follow one another. A sheet of kind `compare` has
    the base alone, each adapter alone, and all by every way of fusing; a `grid` every pair.
    """

    prompt: str = Field(default="", examples=["a fox made of paper"], max_length=2000)
    kind: Literal["image", "compare", "grid"] = "image"
    count: int = Field(default=1, ge=1, le=MOST_IMAGES)
    recipe: Recipe | None = Field(
        default=None,
        examples=[RECIPE],
        description="Draws this again, to the pixel; nothing else is to be given.",
    )

    def check_sense(self) -> None:
        """Raise ImageRequestError where no image is asked for, or too much of one."""
        if self.recipe is not None:
            self._check_recipe(self.recipe)
        elif not self.prompt.strip():
            raise ImageRequestError("a prompt or a recipe is needed")
        self._check_called(MOST_IN_GRID if self.kind == "grid" else MOST_ADAPTERS)
        if self.kind == "grid" and not 2 <= len(self.adapters or ()) <= MOST_IN_GRID:
            raise ImageRequestError(f"a grid wants 2 to {MOST_IN_GRID} adapters")

    def _check_recipe(self, recipe: Recipe) -> None:
        if self.model_fields_set - {"recipe"}:
            raise ImageRequestError("a recipe says all that there is to say; give nothing else")
        side, adapters = max(recipe.width, recipe.height), len(recipe.adapters)
        if recipe.steps > MOST_STEPS or side > MOST_SIDE or adapters > MOST_ADAPTERS:
            raise ImageRequestError(
                f"this server draws up to {MOST_STEPS} steps and {MOST_SIDE} pixels a side, with "
                f"{MOST_ADAPTERS} adapters; the recipe has {recipe.steps} steps, {recipe.width} x "
                f"{recipe.height} pixels and {adapters} adapters. `autolora --local fuse --recipe` "
                "draws it"
            )


IMAGE_EXAMPLES: dict[str, Any] = {
    **FUSE_EXAMPLES,
    "several": {
        "summary": "Four images, seeds 7 to 10",
        "value": {"prompt": "a fox made of paper", "seed": 7, "count": 4},
    },
    "compare": {
        "summary": "A sheet: the base, each adapter, every way to fuse",
        "value": {"prompt": "a fox made of paper", "kind": "compare", "adapters": [{"id": 7}]},
    },
    "grid": {
        "summary": "A sheet: all pairs",
        "value": {
            "prompt": "a fox made of paper",
            "kind": "grid",
            "adapters": [{"id": 7}, {"id": 31}, {"id": 12}],
        },
    },
    "recipe": {"summary": "What a recipe says, again", "value": {"recipe": RECIPE}},
}


class ImageAnswer(Answer):
    id: Id
    state: ImageState
    ahead: int = Field(examples=[0], description="How many are drawn before it, while it waits.")
    done: int = Field(examples=[28], description="Steps that are done; pictures, of a sheet.")
    total: int = Field(examples=[28])
    asked: dict[str, Any] = Field(examples=[{"prompt": "a fox made of paper", "seed": 7}])
    recipe: RecipeDocument | None = Field(description="How it was made; a sheet has none.")
    activity: list[ActivityAnswer]
    problem: ProblemDocument | None = Field(
        examples=[None], description="Why there is none (RFC 9457)."
    )
    png: str | None = Field(
        examples=["/v1/images/7/png"], description="The path of its PNG, which carries the recipe."
    )
    thumbnail: str | None = Field(examples=["/v1/images/7/thumbnail"])
    preview: str | None = Field(
        examples=[None],
        description="The path of how it looks by now, a small WebP, while this server draws it; "
        "another path each time that it has changed.",
    )
    created_at: Moment
    finished_at: Moment | None

    @classmethod
    def from_facts(cls, facts: "ImageFacts", preview: str | None = None) -> Self:
        is_done = facts.state == "done"
        return cls(
            id=facts.id,
            state=facts.state,
            ahead=facts.ahead,
            done=facts.done,
            total=facts.total,
            asked=facts.asked,
            recipe=facts.recipe,
            activity=ActivityAnswer.of_recipe(facts.recipe or {}, facts.activity or {}),
            problem=facts.problem,
            png=f"/v1/images/{facts.id}/png" if is_done else None,
            thumbnail=f"/v1/images/{facts.id}/thumbnail" if is_done else None,
            preview=None if facts.is_finished else preview,
            created_at=facts.created_at,
            finished_at=facts.finished_at,
        )


class ImagesAnswer(Answer):
    """What was asked for at once, one image a seed."""

    items: list[ImageAnswer]


class ImageListAnswer(Answer):
    items: list[ImageAnswer]
    next: Next = None
