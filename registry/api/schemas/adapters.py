"""An adapter as the API tells it."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from registry.api.schemas.shapes import Answer, Asked, Text
from registry.api.urls import cover_url, thumbnail_url

# Only for who reads: who asks a registry elsewhere needs these shapes, and no database.
if TYPE_CHECKING:
    from registry.retrieval.cards import AdapterCard
    from registry.retrieval.details import AdapterDetail
    from registry.retrieval.results import BrowsePage


CoverSource = Literal["hub", "sidecar", "drawn"]


class CoverAnswer(Answer):
    position: int
    source: CoverSource = Field(
        default="hub",
        description="Whose it is: the hub's listing, a file beside the adapter, or drawn here for "
        "an adapter that came without any.",
    )
    url: str
    thumbnail_url: str
    width: int | None = None
    height: int | None = None
    prompt: str | None = None
    captions: list[str] = Field(default=[])
    recipe: dict[str, Any] | None = Field(
        default=None, description="How it was drawn, where that was done here."
    )


class AdapterAnswer(Answer):
    """An adapter in a list."""

    id: int
    url: str
    name: str
    author: str
    hub: str
    base_model: str
    trigger_words: list[str]
    tags: list[str]
    licence: str | None
    mature: bool | None
    downloads: int
    updated_at: datetime
    file_sha256: str | None
    page_url: str | None
    fusable: bool
    strength: float | None = Field(description="What its author or owner prefers to use it at.")
    state: str
    refusal: str | None = Field(
        description="Why its state is `refused`, or why its hub gives no file."
    )
    file_name: str
    covers: list[CoverAnswer]

    @classmethod
    def from_card(cls, card: "AdapterCard") -> Self:
        return cls(**card_fields(card))


class ClaimAnswer(Answer):
    """What a person says that an adapter is for."""

    base_model: str
    who: str
    when: datetime


class AdapterDetailAnswer(AdapterAnswer):
    """All that is known of an adapter."""

    repo: str
    version: str
    description: str
    negative_prompt: str
    file_size: int | None
    file_url: str | None
    autov2: str | None
    autov3: str | None
    verdict: dict[str, Any] | None
    claim: ClaimAnswer | None = Field(description="What a person says that it is for.")
    created_at: datetime

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


class ClaimRequest(Asked):
    """What a person says that an adapter is for; hubs' words for it are understood too."""

    base_model: Text = Field(min_length=1)
    who: Annotated[str, Field(max_length=100)] = Field(
        default="", description="Whose word it is; shown with the verdict."
    )


class AdapterListAnswer(Answer):
    items: list[AdapterAnswer]
    total: int = Field(description="Of all pages, as the first was asked for.")
    total_exact: bool = Field(description="If not, there are more than `total`.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")

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
