"""What is shown of an adapter in a list."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from registry.db.favourites import Favourite
from registry.db.models import Adapter, File, Listing
from registry.retrieval.covers import LINKS, CoverLink, links_of
from registry.retrieval.statements import Answer, ask, bigints, written

# Of one file, that are told.
MOST_LISTINGS = 10
# What a card tells of an adapter: not its words and its description, which are long.
SHOWN = (
    Adapter.id,
    Adapter.name,
    Adapter.author,
    Adapter.hub,
    Adapter.base_model,
    Adapter.trigger_words,
    Adapter.tags,
    Adapter.licence,
    Adapter.mature,
    Adapter.downloads,
    Adapter.hub_updated_at,
    Adapter.file_sha256,
    Adapter.page_url,
    # Of what was listed, what is shown: the rest is long.
    func.jsonb_build_object(
        "strength", Adapter.record["strength"], "withheld", Adapter.record["withheld"]
    ).label("record"),
    Adapter.state,
    Adapter.refusal,
    Adapter.file_name,
)


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
    # The multiplier that its author or owner prefers, where they say.
    strength: float | None
    state: str
    # Why the state is "refused", for people.
    refusal: str | None
    # Its path where it is listed.
    file_name: str
    # What people here noted of it, "" for nothing; None where it is no favourite.
    favourite_note: str | None


def count_by_base_model(session: Session, among: Collection[int] | None = None) -> dict[str, int]:
    """Return how many adapters are ready of every base model, most first; or `among` these."""
    counted = select(Listing.base_model, func.count().label("ready"))
    if among is not None:
        counted = counted.where(Listing.adapter_id.in_(among))
    rows = session.execute(
        counted.group_by(Listing.base_model).order_by(func.count().desc(), Listing.base_model)
    )
    return {row.base_model: row.ready for row in rows}


def load_cards(session: Session, adapter_ids: Collection[int]) -> dict[int, AdapterCard]:
    return ask_cards(session, adapter_ids)()


def ask_cards(session: Session, adapter_ids: Collection[int]) -> Answer[dict[int, AdapterCard]]:
    """Ask for adapters by id, and return what gives their cards."""
    found = ask(session, _statement(), {"ids": bigints(adapter_ids)})
    return lambda: {
        row.id: card_of(row, links_of(row.links), bool(row.fusable), row.file_refusal, row.note)
        for row in found()
    }


# Every list asks it, and to put it together takes longer than PostgreSQL does to answer.
@cache
def _statement() -> str:
    shown = (
        select(
            *SHOWN,
            File.verdict["fusable"].as_boolean().label("fusable"),
            File.refusal.label("file_refusal"),
            Favourite.note,
            LINKS,
        )
        .outerjoin(File, File.sha256 == Adapter.file_sha256)
        .outerjoin(Favourite, Favourite.adapter_id == Adapter.id)
    )
    return f"{written(shown)} WHERE adapters.id = ANY (%(ids)s::bigint[])"


def cards_of_file(session: Session, sha256: str) -> list[AdapterCard]:
    """Return the adapters that are listed with a file and may be handed out, oldest first."""
    sound = select(Adapter.id).where(
        Adapter.file_sha256 == sha256,
        Adapter.state.in_(["ready", "gone"]),
        Adapter.refusal.is_(None),
    )
    cards = load_cards(
        session, session.scalars(sound.order_by(Adapter.id).limit(MOST_LISTINGS)).all()
    )
    return [cards[id_] for id_ in sorted(cards)]


def is_sound_file(session: Session, sha256: str) -> bool:
    """Whether this is an adapter's file that was read, and that no reader refused since."""
    sound = (
        select(Adapter.id)
        .join(Adapter.file)
        .where(
            File.sha256 == sha256,
            File.read_at.is_not(None),
            File.refusal.is_(None),
            Adapter.state.in_(["ready", "gone"]),
            Adapter.refusal.is_(None),
        )
        .limit(1)
    )
    return session.scalar(sound) is not None


def safe_page_url(url: str) -> str | None:
    """Return `url` if a browser may be sent there: https, with a host, nothing else."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme == "https" and parts.hostname else None


def _withheld(adapter: Adapter | Row[Any]) -> str | None:
    """Why the hub gives nobody the file, or not us; what was fetched before stays."""
    return (adapter.record.get("withheld") or None) if adapter.file_sha256 is None else None


def card_of(
    adapter: Adapter | Row[Any],
    covers: Sequence[CoverLink],
    fusable: bool,
    file_refusal: str | None,
    favourite_note: str | None,
) -> AdapterCard:
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
        strength=adapter.record.get("strength"),
        state=adapter.state,
        # What is given a refused file is refused by the next refresh.
        refusal=adapter.refusal or file_refusal or _withheld(adapter),
        file_name=adapter.file_name,
        favourite_note=favourite_note,
    )
