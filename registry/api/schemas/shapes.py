"""What all shapes of the API share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(max_length=200)]

# Greater numbers are no longer exact in JSON, as most programs read it, our own description too.
MOST_ID = 2**53 - 1

AdapterId = Annotated[int, Field(ge=1, le=MOST_ID)]


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Asked(BaseModel):
    # A misspelt parameter is an error rather than ignored.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
