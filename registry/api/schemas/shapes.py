"""What all shapes of the API share."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(max_length=200)]

# Greater numbers are no longer exact in JSON, as most programs read it, our own description too.
MOST_ID = 2**53 - 1

AdapterId = Annotated[int, Field(ge=1, le=MOST_ID, examples=[7])]

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


def without_nul(value: Any) -> Any:
    """Write U+FFFD for U+0000 in all texts: PostgreSQL keeps none, and nobody means one."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {without_nul(key): without_nul(own) for key, own in value.items()}
    if isinstance(value, list):
        return [without_nul(own) for own in value]
    return value
