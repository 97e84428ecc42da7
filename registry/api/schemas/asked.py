"""What may be asked of lists: filters, order, page."""

from typing import Annotated, cast

from pydantic import BeforeValidator, Field

from registry.api.schemas.shapes import AdapterId, Asked, Text
from registry.retrieval.cursors import write_cursor
from registry.retrieval.filter_options import make_filters
from registry.retrieval.filters import Filters
from registry.retrieval.given_values import MOST_CHARACTERS, Likes, Paging
from registry.retrieval.terms import LONGEST_CURSOR, FilterOptions, FoundSort, Maturity, Sort, State

Words = Annotated[list[Text], Field(max_length=20)]

# Of a few words, case tells nothing.
AnyCase = BeforeValidator(lambda word: word.strip().lower() if isinstance(word, str) else word)

Rank = Annotated[int, Field(ge=1, le=2**31 - 1, examples=[16])]

Size = Annotated[str, Field(max_length=30, examples=["200MB"])]

Moment = Annotated[str, Field(max_length=40, examples=["2026-01-31"])]

Cursor = Annotated[
    str,
    Field(max_length=LONGEST_CURSOR, examples=[write_cursor("examples", [7])]),
]

Mature = Annotated[
    Maturity,
    AnyCase,
    Field(description="`hide` keeps what nobody has rated; `only` what is mature."),
]


class FilterParams(Asked):
    """Filters may be repeated where several values make sense; one of them must hold, but an
    adapter has all of `tag`. Values are compared without regard to case.
    """

    base_model: Words = Field(
        default=[], examples=[["flux.1-dev"]], description="As hubs, trainers or people call it."
    )
    family: Words = Field(
        default=[], examples=[["flux"]], description="All base models of an architecture."
    )
    author: Words = Field(default=[], examples=[["ann"]], description="Who made it.")
    tag: Words = Field(
        default=[], examples=[["origami", "fox"]], description="An adapter has all of them."
    )
    licence: Words = Field(
        default=[], examples=[["apache-2.0"]], description="As its hub names it."
    )
    commercial: bool | None = Field(
        default=None, description="Whether its licence lets pictures be sold."
    )
    hub: Words = Field(default=[], examples=[["civitai"]], description="Where it was listed.")
    trainer: Words = Field(default=[], examples=[["kohya"]], description="What wrote its file.")
    min_rank: Rank | None = Field(default=None, description="The median of its layers' ranks.")
    max_rank: Rank | None = Field(default=None, description="The same.")
    min_size: Size | None = Field(default=None, description="Bytes, or like 200MB.")
    max_size: Size | None = Field(default=None, description="The same.")
    updated_since: Moment | None = Field(default=None, description="A day, like 2026-01-31.")
    updated_before: Moment | None = Field(default=None, description="The same.")
    trigger_words: bool | None = Field(default=None, description="Whether it has any.")
    fusable: bool | None = Field(
        default=None, description="Whether its layers can be fused with others."
    )
    favourite: bool | None = Field(default=None, description="Whether it is marked as one.")
    mature: Mature = "any"

    def filters(self) -> Filters:
        """Return what is asked for; raises FilterError where a value cannot be read."""
        return make_filters(**self.options())

    def options(self) -> FilterOptions:
        """Return what is asked for by its names."""
        asked = self.model_dump(include=set(FilterOptions.__annotations__), exclude_defaults=True)
        return cast(FilterOptions, asked)


class SearchParams(FilterParams):
    q: str = Field(
        default="",
        max_length=2000,
        examples=["a fox made of paper", "水墨画"],
        description="What the images look like. Left out, all that filters let through are listed, "
        "the newest first. By POST it may be longer.",
    )
    like: list[AdapterId] = Field(
        default=[], examples=[[7]], description="Adapters that results should be like, up to 10."
    )
    unlike: list[AdapterId] = Field(
        default=[], examples=[[31]], description="Adapters that results should be unlike, up to 10."
    )
    unlike_text: str = Field(
        default="",
        max_length=2000,
        examples=["a photograph"],
        description="What the images should not look like.",
    )
    sort: Annotated[FoundSort, AnyCase] = Field(
        default="relevance",
        description="In another order than by relevance, what fits or perhaps fits, where "
        "anything does; `random` is kept for a `seed`.",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of `random`: another order.")
    limit: int = Field(default=10, ge=1, le=100, description="Of a page.")
    cursor: Cursor | None = Field(default=None, description="`next` of a page.")

    def paging(self) -> Paging:
        return Paging(self.limit, self.cursor, self.sort, self.seed)

    def likes(self) -> Likes:
        return Likes(tuple(self.like), tuple(self.unlike), self.unlike_text)


class SearchBody(SearchParams):
    """What `GET /v1/search` takes, for texts that are too long for an address."""

    q: str = Field(
        default="",
        max_length=MOST_CHARACTERS,
        examples=["a fox made of paper", "水墨画"],
        description="What the images look like.",
    )
    unlike_text: str = Field(
        default="",
        max_length=MOST_CHARACTERS,
        examples=["a photograph"],
        description="What the images should not look like.",
    )


class ListParams(FilterParams):
    sort: Annotated[Sort, AnyCase] = Field(
        default="newest", description="`random` is kept for a `seed`."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of `random`: another order.")
    state: Annotated[State, AnyCase] = Field(
        default="ready", description="Others are sorted by when they were added, newest first."
    )
    cursor: Cursor | None = Field(default=None, description="`next` of a page.")
    limit: int = Field(default=50, ge=1, le=200, description="Of a page.")


class FoundParams(Asked):
    sort: Annotated[FoundSort, AnyCase] = Field(
        default="relevance", description="`random` is kept for a `seed`."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of `random`: another order.")
    cursor: Cursor | None = Field(default=None, description="`next` of a page.")
    limit: int = Field(default=10, ge=1, le=100, description="Of a page.")

    def paging(self) -> Paging:
        return Paging(self.limit, self.cursor, self.sort, self.seed)


class SimilarParams(FoundParams):
    mature: Mature = "any"


class PageParams(Asked):
    cursor: Cursor | None = Field(default=None, description="`next` of a page.")
    limit: int = Field(default=20, ge=1, le=200, description="Of a page.")


class PictureParams(FilterParams):
    limit: int = Field(default=10, ge=1, le=100, description="Of a page.")
