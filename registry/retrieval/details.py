"""All that is known of one adapter."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from registry.db.claims import SOMEBODY
from registry.db.drawn_covers import load_drawn
from registry.db.favourites import Favourite
from registry.db.models import Adapter, Cover, File
from registry.errors import AdapterNotFoundError, AdapterNotReadyError, FileWithheldError
from registry.retrieval.cards import AdapterCard, card_of
from registry.retrieval.covers import CoverFacts, CoverLink, cover_facts, drawn_facts


@dataclass(frozen=True, slots=True)
class PersonsClaim:
    """What a person says that an adapter is for, whatever its layers say to that."""

    base_model: str
    who: str
    when: datetime


@dataclass(frozen=True, slots=True)
class AdapterDetail:
    """All that is known of an adapter; `verdict` and the file's facts once it was read."""

    card: AdapterCard
    repo: str
    version: str
    description: str
    file_size: int | None
    # Else it was read here, and only where it is listed people find it.
    is_kept: bool
    # Hashes by which Civitai and web UIs name a file; AutoV3 does not change with the header.
    autov2: str | None
    autov3: str | None
    verdict: dict[str, Any] | None
    claim: PersonsClaim | None
    created_at: datetime
    covers: tuple[CoverFacts, ...]
    # What its author or owner pairs it with.
    negative_prompt: str

    def handed_out_sha256(self) -> str:
        """Return the hash of its file, if people may have it.

        Raises:
            FileWithheldError: it was refused.
            AdapterNotReadyError: it was not fetched or read yet.
        """
        sha256 = self.card.file_sha256
        if sha256 is not None and self.card.refusal is not None:
            raise FileWithheldError(self.card.name, self.card.refusal)
        if sha256 is None or self.verdict is None:
            raise AdapterNotReadyError(self.card.name, self.card.id)
        return sha256


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
    covers = tuple(cover_facts(cover) for cover in adapter.covers) or tuple(
        map(drawn_facts, load_drawn(session, [adapter_id]).values())
    )
    links = [
        CoverLink(cover.position, cover.sha256, cover.width, drawn=cover.recipe is not None)
        for cover in covers
    ]
    fusable = file is not None and bool((file.verdict or {}).get("fusable"))
    note = session.scalar(select(Favourite.note).where(Favourite.adapter_id == adapter_id))
    return AdapterDetail(
        card=card_of(adapter, links, fusable, file.refusal if file else None, note),
        repo=adapter.repo,
        version=adapter.version,
        description=adapter.description,
        file_size=None if file is None else file.size,
        is_kept=file is not None and file.state == "stored",
        autov2=None if file is None else file.sha256[:10].upper(),
        autov3=None if file is None or not file.body_sha256 else file.body_sha256[:12].upper(),
        verdict=None if file is None else file.verdict,
        claim=_claim_of(adapter),
        created_at=adapter.hub_created_at,
        covers=covers,
        negative_prompt=adapter.record.get("negative_prompt", ""),
    )


def _claim_of(adapter: Adapter) -> PersonsClaim | None:
    if adapter.claimed_base_model is None or adapter.claimed_at is None:
        return None
    return PersonsClaim(
        adapter.claimed_base_model, adapter.claimed_by or SOMEBODY, adapter.claimed_at
    )
