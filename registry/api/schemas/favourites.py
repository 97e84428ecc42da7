"""Favourites as the API tells them."""

from typing import Annotated, Self

from pydantic import Field

from registry.api.schemas.adapters import AdapterAnswer
from registry.api.schemas.shapes import Answer, Asked, Moment, Next
from registry.db.favourites import FavouriteFacts
from registry.retrieval.cards import AdapterCard

MOST_NOTE_LETTERS = 500


class FavouriteRequest(Asked):
    note: Annotated[str, Field(max_length=MOST_NOTE_LETTERS)] | None = Field(
        default=None,
        examples=["for posters"],
        description="A few words; without it, the note that there is stays.",
    )


class FavouriteAnswer(Answer):
    adapter: AdapterAnswer
    note: str = Field(examples=["for posters"])
    since: Moment

    @classmethod
    def from_favourite(cls, favourite: FavouriteFacts, card: AdapterCard) -> Self:
        return cls(
            adapter=AdapterAnswer.from_card(card), note=favourite.note, since=favourite.since
        )


class FavouriteListAnswer(Answer):
    items: list[FavouriteAnswer]
    next: Next
