"""What the API says and accepts. The names here are its contract; change them with care."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field

from registry.api.urls import cover_url, thumbnail_url
from registry.db.runs import RunFacts
from registry.db.status import Status
from registry.fusion.options import Mode
from registry.retrieval.browsing import Sort
from registry.retrieval.by_picture import PicturePage, PictureResult, Way
from registry.retrieval.cards import AdapterCard, State
from registry.retrieval.cursors import LONGEST_CURSOR
from registry.retrieval.details import AdapterDetail
from registry.retrieval.duplicates import DuplicateKind
from registry.retrieval.facets import FacetName, Facets
from registry.retrieval.filter_options import FilterOptions, make_filters
from registry.retrieval.filters import Filters, Maturity
from registry.retrieval.fitness import Band, Signal
from registry.retrieval.found import FoundSort, Paging
from registry.retrieval.likeness import Compared, Likes
from registry.retrieval.results import (
    BrowsePage,
    ComparedBy,
    DuplicateResult,
    DuplicatesPage,
    SearchPage,
    SearchResult,
    Similar,
)

Text = Annotated[str, Field(max_length=200)]
# Greater numbers are no longer exact in JSON, as most programs read it, our own description too.
MOST_ID = 2**53 - 1
AdapterId = Annotated[int, Field(ge=1, le=MOST_ID)]
# Of an image that is drawn for whoever asks.
MOST_STEPS = 100
MOST_SIDE = 2048


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class _Asked(BaseModel):
    # A misspelt parameter is an error rather than ignored.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Words = Annotated[list[Text], Field(max_length=20)]
Rank = Annotated[int, Field(ge=1, le=2**31 - 1)]
Size = Annotated[str, Field(max_length=30)]
Moment = Annotated[str, Field(max_length=40)]
Cursor = Annotated[str, Field(max_length=LONGEST_CURSOR)]


class FilterParams(_Asked):
    """Filters may be repeated where several values make sense; one of them must hold, but an
    adapter has all of `tag`. Values are compared without regard to case.
    """

    base_model: Words = Field(default=[], description="As hubs and trainers call it, too.")
    family: Words = Field(default=[], description="All base models of an architecture.")
    author: Words = []
    tag: Words = Field(default=[], description="An adapter has all of them.")
    licence: Words = []
    commercial: bool | None = Field(
        default=None, description="Whether its licence lets pictures be sold."
    )
    hub: Words = []
    trainer: Words = []
    min_rank: Rank | None = Field(default=None, description="The median of its layers' ranks.")
    max_rank: Rank | None = None
    min_size: Size | None = Field(default=None, description="Bytes, or like 200MB.")
    max_size: Size | None = None
    updated_since: Moment | None = Field(default=None, description="A day, like 2026-01-31.")
    updated_before: Moment | None = None
    trigger_words: bool | None = Field(default=None, description="Whether it has any.")
    fusable: bool | None = None
    mature: Maturity = Field(
        default="any", description="`hide` keeps what nobody has rated; `only` what is mature."
    )

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
        description="What the images look like. May be left out where `like` is given.",
    )
    like: list[AdapterId] = Field(
        default=[], description="Adapters that results should be like, up to 10."
    )
    unlike: list[AdapterId] = Field(
        default=[], description="Adapters that results should be unlike, up to 10."
    )
    unlike_text: str = Field(
        default="", max_length=2000, description="What the images should not look like."
    )
    sort: FoundSort = Field(
        default="relevance",
        description="In another order than by relevance, what fits or perhaps fits, where "
        "anything does; `random` is kept for a `seed`.",
    )
    seed: int = Field(default=0, ge=0, lt=2**32)
    limit: int = Field(default=10, ge=1, le=100)
    cursor: Cursor | None = Field(default=None, description="`next` of a page.")

    def likes(self) -> Likes:
        return Likes(tuple(self.like), tuple(self.unlike), self.unlike_text)


class ListParams(FilterParams):
    sort: Sort = Field(default="newest", description="`random` is kept for a `seed`.")
    seed: int = Field(default=0, ge=0, lt=2**32)
    state: State = Field(
        default="ready", description="Others are sorted by when they were added, newest first."
    )
    cursor: Cursor | None = Field(default=None, description="`next` of a page.")
    limit: int = Field(default=50, ge=1, le=200)


class FoundParams(_Asked):
    sort: FoundSort = Field(default="relevance", description="`random` is kept for a `seed`.")
    seed: int = Field(default=0, ge=0, lt=2**32)
    cursor: Cursor | None = Field(default=None, description="`next` of a page.")
    limit: int = Field(default=10, ge=1, le=100)

    def paging(self) -> Paging:
        return Paging(self.sort, self.cursor, self.limit, self.seed)


class PageParams(_Asked):
    cursor: Cursor | None = None
    limit: int = Field(default=20, ge=1, le=200)


class CoverAnswer(_Answer):
    position: int
    url: str
    thumbnail_url: str
    width: int | None = None
    height: int | None = None
    prompt: str | None = None
    captions: list[str] = []


class AdapterAnswer(_Answer):
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
    def from_card(cls, card: AdapterCard) -> Self:
        return cls(**_card_fields(card))


class ClaimAnswer(_Answer):
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
    def from_detail(cls, detail: AdapterDetail) -> Self:
        card = detail.card
        covers = [
            CoverAnswer(
                position=cover.position,
                url=cover_url(card.id, cover.position, cover.sha256),
                thumbnail_url=thumbnail_url(card.id, cover.position, cover.sha256),
                width=cover.width,
                height=cover.height,
                prompt=cover.prompt,
                captions=list(cover.captions),
            )
            for cover in detail.covers
        ]
        return cls(
            **(_card_fields(card) | {"covers": covers}),
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


def _file_url(detail: AdapterDetail) -> str | None:
    handed_out = detail.verdict is not None and detail.card.refusal is None
    return f"/v1/adapters/{detail.card.id}/file" if handed_out else None


class ResultAnswer(_Answer):
    """`signals` are similarities, `positions` places (from 1) in each signal's own list."""

    adapter: AdapterAnswer
    score: float = Field(
        description="How probable it is that it does what was asked for; of similar adapters, "
        "how similar they are."
    )
    band: Band | None = Field(
        default=None, description="What that means, in words; null where nothing was asked."
    )
    exact: bool = Field(description="Its name, trigger word or hash was asked for.")
    elsewhere: bool = Field(
        default=False, description="It is exact, and for another base model than was asked for."
    )
    signals: dict[Signal, float | None]
    positions: dict[Signal, int | None]
    also: list[AdapterAnswer] = Field(
        default=[], description="Other listings of the same tensors, folded into this result."
    )

    @classmethod
    def from_result(cls, result: SearchResult) -> Self:
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


class SimilarAnswer(_Answer):
    """Adapters with similar weights, and how they were compared."""

    compared_by: ComparedBy = Field(
        description="`encoder`: the active weight encoder, which knows what images look like; "
        "`fingerprints`: the directions of both changes, which tell copies and retrained "
        "kin, and are near 0 otherwise; `nothing`: the file has neither."
    )
    results: list[ResultAnswer]
    total: int = Field(description="Of all pages; at most the 100 most similar are listed.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")

    @classmethod
    def from_similar(cls, similar: Similar) -> Self:
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


class DuplicateAnswer(_Answer):
    """An adapter that is another one again."""

    adapter: AdapterAnswer
    kind: DuplicateKind = Field(
        description="`file`: the same bytes; `tensors`: the same tensors under another header; "
        "`change`: the same change of the base, written otherwise; `strength`: that change at "
        "another strength, as the same tensors with another alpha are; `near`: nearly that."
    )
    similarity: float = Field(description="The cosine of both changes, estimated.")
    strength: float = Field(description="How many times stronger it changes the base.")

    @classmethod
    def from_result(cls, result: DuplicateResult) -> Self:
        duplicate = result.duplicate
        return cls(
            adapter=AdapterAnswer.from_card(result.card),
            kind=duplicate.kind,
            similarity=round(duplicate.similarity, 4),
            strength=round(duplicate.strength, 4),
        )


class DuplicateListAnswer(_Answer):
    items: list[DuplicateAnswer]
    total: int = Field(description="Of all pages.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")

    @classmethod
    def from_page(cls, page: DuplicatesPage) -> Self:
        items = [DuplicateAnswer.from_result(result) for result in page.results]
        return cls(items=items, total=page.total, next=page.next)


class SearchAnswer(_Answer):
    text: str
    base_models: list[str] = Field(description="Those that were asked for; none if all were.")
    fits: bool = Field(description="Whether any of these results fits, as far as can be told.")
    results: list[ResultAnswer]
    found: dict[str, int] = Field(
        description="What fits or perhaps fits, counted by base model, as far as the list is "
        "ranked."
    )
    next: str | None = Field(description="The cursor of the next page; null on the last.")
    notes: list[str]
    compared_by: list[Compared] = Field(
        description="What told likeness, where `like` or `unlike` were given."
    )
    milliseconds: float

    @classmethod
    def from_page(cls, page: SearchPage) -> Self:
        return cls(
            text=page.text,
            base_models=list(page.base_models),
            fits=page.fits,
            results=[ResultAnswer.from_result(result) for result in page.results],
            found=dict(page.found),
            next=page.next,
            notes=list(page.notes),
            compared_by=list(page.compared_by),
            milliseconds=round(page.milliseconds, 1),
        )


class PictureParams(FilterParams):
    limit: int = Field(default=10, ge=1, le=100)


class FoundByAnswer(_Answer):
    """One way by which a picture led to an adapter."""

    way: Way = Field(
        description="`hash`, `version` (Civitai's number), `name`: as the picture's metadata says; "
        "`cover`: it is a cover of the adapter; `near cover`: a cover looks nearly the same; "
        "`image`: the image encoder finds a cover alike; `description`: what a vision model says "
        "of the picture."
    )
    similarity: float = Field(
        description="1 for what is named, the share of equal bits of two covers' hashes, the "
        "cosine of two pictures, or the probability that an adapter does what the description says."
    )
    strength: float | None = Field(description="At which the picture was made with it.")
    cover: int | None = Field(description="The position of the cover that looks like it.")


class PictureResultAnswer(_Answer):
    adapter: AdapterAnswer
    found_by: list[FoundByAnswer] = Field(description="The surest way first.")

    @classmethod
    def from_result(cls, result: PictureResult) -> Self:
        return cls(
            adapter=AdapterAnswer.from_card(result.card),
            found_by=[FoundByAnswer.model_validate(by) for by in result.found_by],
        )


class MissingAnswer(_Answer):
    """An adapter that a picture names, and that is not here."""

    name: str
    hashes: list[str]
    version: str = Field(description="Civitai's number of the version, where that is told.")
    strength: float | None


class PictureAnswer(_Answer):
    results: list[PictureResultAnswer]
    missing: list[MissingAnswer]
    prompt: str = Field(description="What the picture was asked for, where it says.")
    description: str = Field(description="What a vision model says of it, where there is one.")
    notes: list[str]
    milliseconds: float

    @classmethod
    def from_page(cls, page: PicturePage) -> Self:
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
            description=page.description,
            notes=list(page.notes),
            milliseconds=round(page.milliseconds, 1),
        )


class ClaimRequest(_Asked):
    """What a person says that an adapter is for; hubs' words for it are understood too."""

    base_model: Text = Field(min_length=1)
    who: Annotated[str, Field(max_length=100)] = Field(
        default="", description="Whose word it is; shown with the verdict."
    )


class AdapterListAnswer(_Answer):
    items: list[AdapterAnswer]
    total: int = Field(description="Of all pages, as the first was asked for.")
    total_exact: bool = Field(description="If not, there are more than `total`.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")

    @classmethod
    def from_page(cls, page: BrowsePage) -> Self:
        return cls(
            items=[AdapterAnswer.from_card(card) for card in page.cards],
            total=page.total.count,
            total_exact=page.total.exact,
            next=page.next,
        )


class FacetValueAnswer(_Answer):
    value: str
    count: int


class FacetAnswer(_Answer):
    """`value` is what the filter of the same `name` takes; of `size`, the least of a range."""

    name: FacetName
    values: list[FacetValueAnswer]
    more: int = Field(description="How many values there are besides these.")
    exact: bool = Field(description="If not, counts come from a sample and are about right.")


class FacetsAnswer(_Answer):
    """Each facet is counted under all filters but its own; tags under all."""

    total: int
    total_exact: bool = Field(description="If not, there are more than `total`.")
    about: int = Field(description="How many there are, estimated where they are not counted.")
    facets: list[FacetAnswer]

    @classmethod
    def from_facets(cls, facets: Facets) -> Self:
        return cls(
            total=facets.total.count,
            total_exact=facets.total.exact,
            about=facets.about,
            facets=[FacetAnswer.model_validate(facet) for facet in facets.facets],
        )


class RunAnswer(_Answer):
    id: int
    hub: str
    started_at: datetime
    finished_at: datetime | None
    state: str
    counts: dict[str, Any]
    seconds: dict[str, float] = Field(description="How long each step took.")
    fetched_bytes: int = Field(description="What the hub sent of files.")
    bytes_per_adapter: int | None = Field(
        description="The same for each adapter that became findable; null where none did."
    )
    error: str | None

    @classmethod
    def from_run(cls, run: RunFacts) -> Self:
        return cls.model_validate(run)


class RunListAnswer(_Answer):
    items: list[RunAnswer]
    next: str | None


class NightAnswer(_Answer):
    id: int
    due_at: datetime
    started_at: datetime
    finished_at: datetime | None
    state: str
    attempts: int = Field(description="More than 1 where it was interrupted, and begun again.")
    report: dict[str, Any]
    error: str | None


class NightListAnswer(_Answer):
    items: list[NightAnswer]
    next: str | None


class WorkerAnswer(_Answer):
    host: str
    pid: int
    queues: list[str]
    started_at: datetime
    seen_at: datetime
    alive: bool


class StatusAnswer(_Answer):
    states: dict[str, int] = Field(description="Adapters by state.")
    refusals: dict[str, int] = Field(description="Refused adapters by reason.")
    waiting: dict[str, int] = Field(description="What each step has left to do.")
    queued: dict[str, int] = Field(description="Jobs that are handed out to workers, by queue.")
    workers: list[WorkerAnswer]
    last_night: NightAnswer | None
    next_night: datetime | None = Field(description="Null where this server has none done.")

    @classmethod
    def from_status(cls, status: Status, next_night: datetime | None) -> Self:
        return cls.model_validate(asdict(status) | {"next_night": next_night})


class ChosenAdapter(_Asked):
    id: AdapterId
    strength: float | None = Field(
        default=None, ge=-4.0, le=4.0, description="Default: the adapter's own, or else 1."
    )


class ChooseParams(_Asked):
    """With `adapters`, those are returned rather than searched for."""

    prompt: str = Field(min_length=1, max_length=2000)
    k: int = Field(default=3, ge=1, le=5)
    adapters: list[AdapterId] | None = Field(default=None, min_length=1, max_length=20)
    base_model: Text | None = None


class ChoiceAnswer(_Answer):
    adapter: AdapterAnswer
    similarities: list[float] | None = Field(
        description="Of the prompt, and of each of its parts, to the weights, -1..1."
    )
    embedding: list[float] | None = Field(
        description="Of the weights, by the active encoder; gates want it."
    )


class FuseRequest(_Asked):
    """Without `adapters`, up to `k` are found for the prompt."""

    prompt: str = Field(min_length=1, max_length=2000)
    k: int = Field(default=3, ge=1, le=5)
    adapters: list[ChosenAdapter] | None = Field(default=None, min_length=1, max_length=5)
    base_model: Text | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    steps: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    width: int | None = Field(default=None, ge=16, le=MOST_SIDE)
    height: int | None = Field(
        default=None, ge=16, le=MOST_SIDE, description="As wide, if not given."
    )
    mode: Mode = "gated"


class ActivityAnswer(_Answer):
    """How far an adapter's gates stood open: their mean, and by layer; none without gates."""

    id: int | None
    name: str
    sha256: str
    mean: float | None
    layers: dict[str, float]


class FuseAnswer(_Answer):
    image: str = Field(description="The PNG, with its recipe inside, as a data URL.")
    recipe: dict[str, Any]
    activity: list[ActivityAnswer]


class Health(_Answer):
    status: Literal["ok"] = "ok"


class Readiness(Health):
    adapters: int
    base_models: dict[str, int]


class Problem(_Answer):
    """RFC 9457. `type` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str


def _card_fields(card: AdapterCard) -> dict[str, Any]:
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
                url=cover_url(card.id, cover.position, cover.sha256),
                thumbnail_url=thumbnail_url(card.id, cover.position, cover.sha256),
            )
            for cover in card.covers
        ],
    }
