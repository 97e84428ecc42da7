"""What searches and lists answer."""

from typing import TYPE_CHECKING, Self

from pydantic import Field

from registry.api.schemas.adapters import AdapterAnswer
from registry.api.schemas.shapes import Answer, Count, Next
from registry.retrieval.terms import (
    Band,
    Compared,
    ComparedBy,
    DuplicateKind,
    FacetName,
    Signal,
)

if TYPE_CHECKING:
    from registry.retrieval.cards import AdapterCard
    from registry.retrieval.facets import Facets
    from registry.retrieval.results import (
        DuplicateResult,
        DuplicatesPage,
        SearchPage,
        SearchResult,
        Similar,
    )


class ResultAnswer(Answer):
    """`signals` are similarities, `positions` places (from 1) in each signal's own list."""

    adapter: AdapterAnswer
    score: float | None = Field(
        examples=[0.87],
        description="How probable it is that it does what was asked for; of similar adapters, "
        "how similar they are; null where nothing was asked.",
    )
    band: Band | None = Field(
        default=None, description="What that means, in words; null where nothing was asked."
    )
    exact: bool = Field(
        examples=[False], description="Its name, trigger word or hash was asked for."
    )
    elsewhere: bool = Field(
        default=False,
        examples=[False],
        description="It is exact, and for another base model than was asked for.",
    )
    signals: dict[Signal, float | None] = Field(
        examples=[{"weights": 0.31, "captions": 0.62, "words": None}]
    )
    positions: dict[Signal, int | None] = Field(
        examples=[{"weights": 2, "captions": 1, "words": None}]
    )
    also: list[AdapterAnswer] = Field(
        default=[], description="Other listings of the same tensors, folded into this result."
    )

    @classmethod
    def from_result(cls, result: "SearchResult") -> Self:
        return cls(
            adapter=AdapterAnswer.from_card(result.card),
            score=round(result.hit.score, 4),
            band=result.hit.band,
            exact=result.hit.exact,
            elsewhere=result.hit.elsewhere,
            signals=dict(result.hit.signals),
            positions=dict(result.hit.positions),
            also=[AdapterAnswer.from_card(card) for card in result.also],
        )

    @classmethod
    def of_listed(cls, card: "AdapterCard") -> Self:
        """Show an adapter that was not asked for in particular."""
        adapter = AdapterAnswer.from_card(card)
        return cls(adapter=adapter, score=None, exact=False, signals={}, positions={})


class SimilarAnswer(Answer):
    """Adapters with similar weights, and how they were compared."""

    compared_by: ComparedBy = Field(
        description="`encoder`: the active weight encoder, which knows what images look like; "
        "`fingerprints`: the directions of both changes, which tell copies and retrained "
        "kin, and are near 0 otherwise; `nothing`: the file has neither."
    )
    results: list[ResultAnswer]
    total: Count = Field(description="Of all pages; at most the 100 most similar are listed.")
    next: Next

    @classmethod
    def from_similar(cls, similar: "Similar") -> Self:
        return cls(
            compared_by=similar.compared_by,
            results=[
                # A similarity is no probability.
                ResultAnswer.from_result(result).model_copy(update={"band": None})
                for result in similar.results
            ],
            total=similar.total,
            next=similar.next,
        )


class DuplicateAnswer(Answer):
    """An adapter that is another one again."""

    adapter: AdapterAnswer
    kind: DuplicateKind = Field(
        description="`file`: the same bytes; `tensors`: the same tensors under another header; "
        "`change`: the same change of the base, written otherwise; `strength`: that change at "
        "another strength, as the same tensors with another alpha are; `near`: nearly that."
    )
    similarity: float = Field(
        examples=[0.9998], description="The cosine of both changes, estimated."
    )
    strength: float = Field(
        examples=[1.0], description="How many times stronger it changes the base."
    )

    @classmethod
    def from_result(cls, result: "DuplicateResult") -> Self:
        duplicate = result.duplicate
        return cls(
            adapter=AdapterAnswer.from_card(result.card),
            kind=duplicate.kind,
            similarity=round(duplicate.similarity, 4),
            strength=round(duplicate.strength, 4),
        )


class DuplicateListAnswer(Answer):
    items: list[DuplicateAnswer]
    total: Count = Field(description="Of all pages.")
    next: Next

    @classmethod
    def from_page(cls, page: "DuplicatesPage") -> Self:
        items = [DuplicateAnswer.from_result(result) for result in page.results]
        return cls(items=items, total=page.total, next=page.next)


class SearchAnswer(Answer):
    text: str = Field(examples=["a fox made of paper"])
    base_models: list[str] = Field(
        examples=[[]], description="Those that were asked for; none if all were."
    )
    fits: bool = Field(
        examples=[True], description="Whether any of these results fits, as far as can be told."
    )
    results: list[ResultAnswer]
    found: dict[str, int] = Field(
        examples=[{"flux.1-dev": 1}],
        description="What fits or perhaps fits, counted by base model, as far as the list is "
        "ranked.",
    )
    total: int | None = Field(
        default=None,
        examples=[None],
        description="Of all pages, where nothing was asked; null where results are ranked.",
    )
    total_exact: bool | None = Field(
        default=None, examples=[None], description="If not, there are more than `total`."
    )
    next: Next
    notes: list[str] = Field(examples=[[]])
    compared_by: list[Compared] = Field(
        examples=[[]], description="What told likeness, where `like` or `unlike` were given."
    )
    milliseconds: float = Field(examples=[18.4])

    @classmethod
    def from_page(cls, page: "SearchPage") -> Self:
        return cls(
            text=page.text,
            base_models=list(page.base_models),
            fits=page.fits,
            results=[
                *(ResultAnswer.from_result(result) for result in page.results),
                *(ResultAnswer.of_listed(card) for card in page.listed),
            ],
            found=dict(page.found),
            total=None if page.total is None else page.total.count,
            total_exact=None if page.total is None else page.total.exact,
            next=page.next,
            notes=list(page.notes),
            compared_by=list(page.compared_by),
            milliseconds=round(page.milliseconds, 1),
        )


class FacetValueAnswer(Answer):
    value: str = Field(examples=["flux.1-dev"])
    count: int = Field(examples=[1])


class FacetAnswer(Answer):
    """`value` is what the filter of the same `name` takes; of `size`, the least of a range."""

    name: FacetName
    values: list[FacetValueAnswer]
    more: int = Field(examples=[0], description="How many values there are besides these.")
    exact: bool = Field(
        examples=[True], description="If not, counts come from a sample and are about right."
    )


class FacetsAnswer(Answer):
    """Each facet is counted under all filters but its own; tags under all."""

    total: Count
    total_exact: bool = Field(examples=[True], description="If not, there are more than `total`.")
    about: Count = Field(description="How many there are, estimated where they are not counted.")
    facets: list[FacetAnswer]

    @classmethod
    def from_facets(cls, facets: "Facets") -> Self:
        return cls(
            total=facets.total.count,
            total_exact=facets.total.exact,
            about=facets.about,
            facets=[FacetAnswer.model_validate(facet) for facet in facets.facets],
        )
