"""What is shown of an adapter: in a list, and on its own page."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from registry.db.models import Adapter, Caption, Cover, CrawlRun, File
from registry.errors import AdapterNotFoundError
from registry.retrieval.duplicates import Duplicate
from registry.retrieval.filters import Filters, conditions
from registry.retrieval.ranking import SearchHit


@dataclass(frozen=True, slots=True)
class CoverLink:
    """Where a cover is, and the hash by which a browser may keep it."""

    position: int
    sha256: str
    width: int


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """An adapter in a list."""

    id: int
    name: str
    author: str
    hub: str
    base_model: str
    trigger_words: tuple[str, ...]
    tags: tuple[str, ...]
    licence: str | None
    mature: bool | None
    downloads: int
    updated_at: datetime
    file_sha256: str | None
    # None unless it is https: hubs are strangers, and javascript: is an address too.
    page_url: str | None
    covers: tuple[CoverLink, ...]
    # Its file was read, and nothing in it speaks against fusing it.
    fusable: bool


@dataclass(frozen=True, slots=True)
class CoverFacts:
    position: int
    sha256: str
    thumbnail_sha256: str
    width: int
    height: int
    prompt: str | None
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AdapterDetail:
    """All that is known of an adapter; `verdict` and the file's facts once it was read."""

    card: AdapterCard
    repo: str
    version: str
    description: str
    state: str
    refusal: str | None
    file_name: str
    file_size: int | None
    # As Civitai and web UIs name a file; AutoV3 does not change with the header.
    autov2: str | None
    autov3: str | None
    verdict: dict[str, Any] | None
    created_at: datetime
    covers: tuple[CoverFacts, ...]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """`also` are listings of the same tensors elsewhere, or under another name."""

    card: AdapterCard
    hit: SearchHit
    also: tuple[AdapterCard, ...] = ()


@dataclass(frozen=True, slots=True)
class DuplicateResult:
    """An adapter that is another one again, and in what way."""

    card: AdapterCard
    duplicate: Duplicate


@dataclass(frozen=True, slots=True)
class SearchPage:
    """The answer to a question. `notes` say what it lacks, for people.

    When not `fits`, nothing here does what was asked for: `results` are none, or the nearest
    if those were wanted.
    """

    text: str
    base_model: str
    results: tuple[SearchResult, ...]
    notes: tuple[str, ...]
    milliseconds: float
    fits: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """An adapter chosen to draw a prompt with."""

    card: AdapterCard
    # Of the prompt and its parts with the adapter's weights, -1..1; None where no active encoder
    # knows them.
    similarities: tuple[float, ...] | None
    # Of its weights, by that encoder, of length 1.
    embedding: tuple[float, ...] | None = None
    # The words of the prompt that it was found for.
    part: str = ""


@dataclass(frozen=True, slots=True)
class RunFacts:
    id: int
    hub: str
    started_at: datetime
    finished_at: datetime | None
    state: str
    counts: dict[str, Any]
    error: str | None


def count_by_base_model(session: Session) -> dict[str, int]:
    """Return how many adapters are ready of every base model, most first."""
    rows = session.execute(
        select(Adapter.base_model, func.count().label("ready"))
        .where(Adapter.state == "ready")
        .group_by(Adapter.base_model)
        .order_by(func.count().desc(), Adapter.base_model)
    )
    return {row.base_model: row.ready for row in rows}


def load_results(session: Session, hits: Sequence[SearchHit]) -> tuple[SearchResult, ...]:
    cards = load_cards(session, [id_ for hit in hits for id_ in (hit.adapter_id, *hit.also)])
    # One may have been retired since the search.
    return tuple(
        SearchResult(cards[hit.adapter_id], hit, tuple(cards[i] for i in hit.also if i in cards))
        for hit in hits
        if hit.adapter_id in cards
    )


def load_duplicates(session: Session, found: Sequence[Duplicate]) -> tuple[DuplicateResult, ...]:
    cards = load_cards(session, [one.adapter_id for one in found])
    return tuple(
        DuplicateResult(cards[one.adapter_id], one) for one in found if one.adapter_id in cards
    )


def load_cards(session: Session, adapter_ids: Collection[int]) -> dict[int, AdapterCard]:
    adapters = session.scalars(select(Adapter).where(Adapter.id.in_(adapter_ids))).all()
    return _cards(session, adapters)


def list_cards(
    session: Session, *, filters: Filters, before_id: int | None, limit: int
) -> list[AdapterCard]:
    """Return ready adapters, newest here first, below `before_id`: the page's key."""
    query = select(Adapter).where(*conditions(filters))
    if before_id is not None:
        query = query.where(Adapter.id < before_id)
    adapters = session.scalars(query.order_by(Adapter.id.desc()).limit(limit)).all()
    return list(_cards(session, adapters).values())


def get_detail(session: Session, adapter_id: int) -> AdapterDetail:
    """Raises:
    AdapterNotFoundError: there is none of this id.
    """
    adapter = session.scalar(
        select(Adapter)
        .where(Adapter.id == adapter_id)
        .options(selectinload(Adapter.covers).selectinload(Cover.captions))
    )
    if adapter is None:
        raise AdapterNotFoundError(adapter_id)
    file = None if adapter.file_sha256 is None else session.get(File, adapter.file_sha256)
    covers = tuple(_cover(cover) for cover in adapter.covers)
    links = [CoverLink(cover.position, cover.sha256, cover.width) for cover in covers]
    fusable = file is not None and bool((file.verdict or {}).get("fusable"))
    return AdapterDetail(
        card=_card(adapter, links, fusable),
        repo=adapter.repo,
        version=adapter.version,
        description=adapter.description,
        state=adapter.state,
        refusal=adapter.refusal,
        file_name=adapter.file_name,
        file_size=None if file is None else file.size,
        autov2=None if file is None else file.sha256[:10].upper(),
        autov3=None if file is None or not file.body_sha256 else file.body_sha256[:12].upper(),
        verdict=None if file is None else file.verdict,
        created_at=adapter.hub_created_at,
        covers=covers,
    )


def find_cover(session: Session, adapter_id: int, position: int) -> Cover | None:
    return session.scalar(
        select(Cover).where(Cover.adapter_id == adapter_id, Cover.position == position)
    )


def list_runs(session: Session, *, before_id: int | None, limit: int) -> list[RunFacts]:
    """Return refreshes, newest first."""
    query = select(CrawlRun)
    if before_id is not None:
        query = query.where(CrawlRun.id < before_id)
    return [
        RunFacts(
            run.id,
            run.hub,
            run.started_at,
            run.finished_at,
            run.state,
            run.counts,
            run.error,
        )
        for run in session.scalars(query.order_by(CrawlRun.id.desc()).limit(limit))
    ]


def safe_page_url(url: str) -> str | None:
    """Return `url` if a browser may be sent there: https, with a host, nothing else."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme == "https" and parts.hostname else None


def _cards(session: Session, adapters: Sequence[Adapter]) -> dict[int, AdapterCard]:
    links: dict[int, list[CoverLink]] = {adapter.id: [] for adapter in adapters}
    rows = session.execute(
        select(Cover.adapter_id, Cover.position, Cover.sha256, Cover.width)
        .where(Cover.adapter_id.in_(links))
        .order_by(Cover.adapter_id, Cover.position)
    )
    for row in rows:
        links[row.adapter_id].append(CoverLink(row.position, row.sha256, row.width))
    fusable = set(
        session.scalars(
            select(File.sha256).where(
                File.sha256.in_({adapter.file_sha256 for adapter in adapters}),
                File.verdict["fusable"].as_boolean(),
            )
        )
    )
    return {
        adapter.id: _card(adapter, links[adapter.id], adapter.file_sha256 in fusable)
        for adapter in adapters
    }


def _card(adapter: Adapter, covers: Sequence[CoverLink], fusable: bool) -> AdapterCard:
    return AdapterCard(
        id=adapter.id,
        name=adapter.name,
        author=adapter.author,
        hub=adapter.hub,
        base_model=adapter.base_model,
        trigger_words=tuple(adapter.trigger_words),
        tags=tuple(adapter.tags),
        licence=adapter.licence,
        mature=adapter.mature,
        downloads=adapter.downloads,
        updated_at=adapter.hub_updated_at,
        file_sha256=adapter.file_sha256,
        page_url=safe_page_url(adapter.page_url),
        covers=tuple(covers),
        fusable=fusable,
    )


def _cover(cover: Cover) -> CoverFacts:
    captions: Sequence[Caption] = cover.captions
    return CoverFacts(
        position=cover.position,
        sha256=cover.sha256,
        thumbnail_sha256=cover.thumbnail_sha256,
        width=cover.width,
        height=cover.height,
        prompt=cover.prompt,
        captions=tuple(caption.text for caption in captions if caption.text != cover.prompt),
    )
