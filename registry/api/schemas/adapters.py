"""An adapter as the API tells it."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from registry.api.schemas.shapes import (
    Answer,
    BaseModelName,
    Bytes,
    Id,
    Kept,
    Moment,
    Next,
    Sha256,
    Text,
)
from registry.api.urls import cover_url, thumbnail_url
from registry.retrieval.terms import State

# Only for who reads: who asks a registry elsewhere needs these shapes, and no database.
if TYPE_CHECKING:
    from registry.retrieval.cards import AdapterCard
    from registry.retrieval.details import AdapterDetail
    from registry.retrieval.results import BrowsePage


CoverSource = Literal["hub", "sidecar", "drawn"]


class CoverAnswer(Answer):
    position: int = Field(examples=[0])
    source: CoverSource = Field(
        default="hub",
        description="Whose it is: the hub's listing, a file beside the adapter, or drawn here for "
        "an adapter that came without any.",
    )
    url: str = Field(examples=["/v1/adapters/7/covers/0?v=9f2b4c1d0a3e"])
    thumbnail_url: str = Field(examples=["/v1/adapters/7/covers/0?v=9f2b4c1d0a3e&thumbnail=true"])
    width: int | None = Field(default=None, examples=[832])
    height: int | None = Field(default=None, examples=[1216])
    prompt: str | None = Field(default=None, examples=["a fox folded from orange paper, origami"])
    captions: list[str] = Field(
        default=[], examples=[["A fox folded from orange paper on a grey table."]]
    )
    recipe: dict[str, Any] | None = Field(
        default=None,
        examples=[None],
        description="How it was drawn, where that was done here.",
    )


class AdapterAnswer(Answer):
    """An adapter in a list."""

    id: Id
    url: str = Field(examples=["/v1/adapters/7"])
    name: str = Field(examples=["Paper Fox"])
    author: str = Field(examples=["ann"])
    hub: str = Field(examples=["civitai"])
    base_model: BaseModelName
    trigger_words: list[str] = Field(examples=[["pprfx"]])
    tags: list[str] = Field(examples=[["origami", "fox"]])
    licence: str | None = Field(examples=["apache-2.0"])
    mature: bool | None = Field(examples=[False])
    downloads: int = Field(examples=[1204])
    updated_at: Moment
    file_sha256: Sha256 | None
    page_url: str | None = Field(examples=["https://civitai.com/models/1234?modelVersionId=5678"])
    fusable: bool = Field(examples=[True])
    strength: float | None = Field(
        examples=[0.8], description="What its author or owner prefers to use it at."
    )
    state: State
    refusal: str | None = Field(
        examples=[None], description="Why its state is `refused`, or why its hub gives no file."
    )
    file_name: str = Field(examples=["paper-fox.safetensors"])
    covers: list[CoverAnswer]

    @classmethod
    def from_card(cls, card: "AdapterCard") -> Self:
        return cls(**card_fields(card))


class ClaimAnswer(Answer):
    """What a person says that an adapter is for."""

    base_model: BaseModelName
    who: str = Field(examples=["ann"])
    when: Moment


Verdict = Annotated[
    dict[str, Any],
    Field(
        description="What its file holds: format, trainer, base model, ranks and layers.",
        examples=[
            {
                "fusable": True,
                "reason": "",
                "base_model": "flux.1-dev",
                "base_model_source": "layers",
                "format": "kohya",
                "ranks": {"16": 304},
            }
        ],
    ),
]


class AdapterDetailAnswer(AdapterAnswer):
    """All that is known of an adapter."""

    repo: str = Field(examples=["1234"])
    version: str = Field(examples=["5678"])
    description: str = Field(examples=["Things folded from paper."])
    negative_prompt: str = Field(examples=["blurry"])
    file_size: Bytes | None
    file_url: str | None = Field(examples=["/v1/adapters/7/file"])
    autov2: str | None = Field(examples=["5f70bf18a0"])
    autov3: str | None = Field(examples=["0a1b2c3d4e5f"])
    verdict: Verdict | None
    claim: ClaimAnswer | None = Field(description="What a person says that it is for.")
    created_at: Moment

    @classmethod
    def from_detail(cls, detail: "AdapterDetail") -> Self:
        card = detail.card
        covers = [
            CoverAnswer(
                position=cover.position,
                source=_source(card, drawn=cover.recipe is not None),
                url=cover_url(card.id, cover.position, cover.sha256),
                thumbnail_url=thumbnail_url(card.id, cover.position, cover.sha256),
                width=cover.width,
                height=cover.height,
                prompt=cover.prompt,
                captions=list(cover.captions),
                recipe=cover.recipe,
            )
            for cover in detail.covers
        ]
        return cls(
            **(card_fields(card) | {"covers": covers}),
            repo=detail.repo,
            version=detail.version,
            description=detail.description,
            negative_prompt=detail.negative_prompt,
            file_size=detail.file_size,
            autov2=detail.autov2,
            autov3=detail.autov3,
            file_url=_file_url(detail),
            verdict=detail.verdict,
            claim=ClaimAnswer.model_validate(detail.claim) if detail.claim else None,
            created_at=detail.created_at,
        )


def _file_url(detail: "AdapterDetail") -> str | None:
    handed_out = detail.verdict is not None and detail.card.refusal is None
    return f"/v1/adapters/{detail.card.id}/file" if handed_out else None


class ClaimRequest(Kept):
    """What a person says that an adapter is for; hubs' words for it are understood too."""

    base_model: Text = Field(examples=["flux.1-dev"], min_length=1)
    who: Annotated[str, Field(max_length=100)] = Field(
        default="", examples=["ann"], description="Whose word it is; shown with the verdict."
    )


class AdapterListAnswer(Answer):
    items: list[AdapterAnswer]
    total: int = Field(examples=[1], description="Of all pages, as the first was asked for.")
    total_exact: bool = Field(examples=[True], description="If not, there are more than `total`.")
    next: Next

    @classmethod
    def from_page(cls, page: "BrowsePage") -> Self:
        return cls(
            items=[AdapterAnswer.from_card(card) for card in page.cards],
            total=page.total.count,
            total_exact=page.total.exact,
            next=page.next,
        )


def card_fields(card: "AdapterCard") -> dict[str, Any]:
    return {
        "id": card.id,
        "url": f"/v1/adapters/{card.id}",
        "name": card.name,
        "author": card.author,
        "hub": card.hub,
        "base_model": card.base_model,
        "trigger_words": list(card.trigger_words),
        "tags": list(card.tags),
        "licence": card.licence,
        "mature": card.mature,
        "downloads": card.downloads,
        "updated_at": card.updated_at,
        "file_sha256": card.file_sha256,
        "page_url": card.page_url,
        "fusable": card.fusable,
        "strength": card.strength,
        "state": card.state,
        "refusal": card.refusal,
        "file_name": card.file_name,
        "covers": [
            CoverAnswer(
                position=cover.position,
                source=_source(card, drawn=cover.drawn),
                url=cover_url(card.id, cover.position, cover.sha256),
                thumbnail_url=thumbnail_url(card.id, cover.position, cover.sha256),
            )
            for cover in card.covers
        ],
    }


def _source(card: "AdapterCard", *, drawn: bool) -> CoverSource:
    if drawn:
        return "drawn"
    return "sidecar" if card.hub == "folder" else "hub"
