"""What all shapes of the API share."""

from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Text = Annotated[str, Field(max_length=200)]

# Greater numbers are no longer exact in JSON, as most programs read it, our own description too.
MOST_ID = 2**53 - 1

AdapterId = Annotated[int, Field(ge=1, le=MOST_ID, examples=[7])]

# The type of a fault that `unknown_name` words.
UNKNOWN_NAME = "unknown_name"
# How alike a name and the one meant are: "lim" and "limit" are by .75.
NEAR = 0.7
MOST_NAME_LETTERS = 50

# Parts of answers that many have, each with what it looks like.
Id = Annotated[int, Field(examples=[7])]
Count = Annotated[int, Field(examples=[1])]
Bytes = Annotated[int, Field(examples=[38912344])]
Moment = Annotated[datetime, Field(examples=["2026-03-01T03:00:12Z"])]
BaseModelName = Annotated[str, Field(examples=["flux.1-dev"])]
# Of no file.
EXAMPLE_SHA256 = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
Sha256 = Annotated[str, Field(examples=[EXAMPLE_SHA256])]
ProblemDocument = Annotated[
    dict[str, Any],
    Field(
        examples=[
            {
                "type": "urn:autolora:problem:sampling",
                "title": "Sampling",
                "status": 422,
                "detail": "flux.1-dev draws sides of 16 to 2048 pixels.",
            }
        ]
    ),
]
Next = Annotated[
    str | None,
    Field(description="The cursor of the next page; null on the last.", examples=[None]),
]


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, defer_build=True)


class Asked(BaseModel):
    # A misspelt parameter is an error rather than ignored.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown(cls, given: Any) -> Any:
        """Name what a misspelt parameter is meant for; pydantic would only say that it is one."""
        if isinstance(given, dict) and cls.model_config.get("extra") == "forbid":
            for name in given:
                if name not in cls.model_fields:
                    words = {"words": unknown_name(str(name), cls.model_fields)}
                    raise PydanticCustomError(UNKNOWN_NAME, "{words}", words)
        return given


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Say which name is meant by one that there is not, or else all that there are."""
    near = get_close_matches(name.lower(), known, 1, cutoff=NEAR)
    name = name[:MOST_NAME_LETTERS]
    if near:
        return f"there is no {name!r}; is {near[0]!r} meant?"
    return f"there is no {name!r}; there are {', '.join(known)}."


def without_nul(value: Any) -> Any:
    """Write U+FFFD for U+0000 in all texts: PostgreSQL keeps none, and nobody means one."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {without_nul(key): without_nul(own) for key, own in value.items()}
    if isinstance(value, list):
        return [without_nul(own) for own in value]
    return value


class Kept(Asked):
    """A request whose texts the database keeps."""

    @model_validator(mode="before")
    @classmethod
    def _without_nul(cls, given: Any) -> Any:
        try:
            return without_nul(given)
        except RecursionError as error:
            raise PydanticCustomError("nested_too_deeply", "it is nested too deeply") from error
