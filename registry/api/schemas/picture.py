"""What the search by a picture answers."""

from typing import TYPE_CHECKING, Self

from pydantic import Field

from registry.api.draw_again import draw_again
from registry.api.schemas.adapters import AdapterAnswer
from registry.api.schemas.shapes import Answer
from registry.retrieval.terms import Way

if TYPE_CHECKING:
    from registry.retrieval.by_picture import PicturePage, PictureResult


class FoundByAnswer(Answer):
    """One way by which a picture led to an adapter."""

    way: Way = Field(
        description="`hash`, `version` (Civitai's number), `name`: as the picture's metadata says; "
        "`cover`: it is a cover of the adapter; `near cover`: a cover looks nearly the same; "
        "`image`: the image encoder finds a cover alike; `description`: what a vision model says "
        "of the picture."
    )
    similarity: float = Field(
        examples=[1.0],
        description="1 for what is named, the share of equal bits of two covers' hashes, the "
        "cosine of two pictures, or the probability that an adapter does what the description "
        "says.",
    )
    strength: float | None = Field(
        examples=[0.8], description="At which the picture was made with it."
    )
    cover: int | None = Field(
        examples=[None], description="The position of the cover that looks like it."
    )


class PictureResultAnswer(Answer):
    adapter: AdapterAnswer
    found_by: list[FoundByAnswer] = Field(description="The surest way first.")

    @classmethod
    def from_result(cls, result: "PictureResult") -> Self:
        return cls(
            adapter=AdapterAnswer.from_card(result.card),
            found_by=[FoundByAnswer.model_validate(by) for by in result.found_by],
        )


class MissingAnswer(Answer):
    """An adapter that a picture names, and that is not here."""

    name: str = Field(examples=["Ink Wash"])
    hashes: list[str] = Field(examples=[["c0ffee123456"]])
    version: str = Field(
        examples=["9012"], description="Civitai's number of the version, where that is told."
    )
    strength: float | None = Field(examples=[0.6])


class DrawnWithAnswer(Answer):
    """How a picture was drawn, as far as it says."""

    negative_prompt: str = Field(examples=["blurry"])
    seed: int | None = Field(examples=[7])
    steps: int | None = Field(examples=[28])
    guidance: float | None = Field(examples=[3.5])
    width: int | None = Field(examples=[1024])
    height: int | None = Field(examples=[1024])
    mode: str = Field(examples=[""], description="How adapters were fused, if it was made here.")


class PictureAnswer(Answer):
    results: list[PictureResultAnswer]
    missing: list[MissingAnswer]
    prompt: str = Field(
        examples=["a fox folded from paper <lora:paper-fox:0.8>"],
        description="What the picture was asked for, where it says.",
    )
    drawn_with: DrawnWithAnswer
    fuse: str | None = Field(
        examples=["/fuse?prompt=a+fox+folded+from+paper&adapter=7&strength=0.8"],
        description="The page that draws it again with the adapters that it names, from /.",
    )
    description: str = Field(
        examples=[""], description="What a vision model says of it, where there is one."
    )
    notes: list[str] = Field(examples=[[]])
    milliseconds: float = Field(examples=[41.7])

    @classmethod
    def from_page(cls, page: "PicturePage") -> Self:
        return cls(
            results=[PictureResultAnswer.from_result(result) for result in page.results],
            missing=[
                MissingAnswer(
                    name=named.name,
                    hashes=list(named.hashes),
                    version=named.version,
                    strength=named.strength,
                )
                for named in page.missing
            ],
            prompt=page.prompt,
            drawn_with=DrawnWithAnswer.model_validate(page.drawn_with),
            fuse=draw_again(page),
            description=page.description,
            notes=list(page.notes),
            milliseconds=round(page.milliseconds, 1),
        )
