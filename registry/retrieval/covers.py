"""The pictures of adapters: where they are, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from registry.db.models import Adapter, Caption, Cover


@dataclass(frozen=True, slots=True)
class CoverLink:
    """Where a cover is, and the hash by which a browser may keep it."""

    position: int
    sha256: str
    width: int


# Of each adapter that is selected, what makes its CoverLinks, the first one first.
LINKS = (
    select(
        func.jsonb_agg(
            aggregate_order_by(
                func.jsonb_build_array(Cover.position, Cover.sha256, Cover.width), Cover.position
            )
        )
    )
    .where(Cover.adapter_id == Adapter.id)
    .correlate(Adapter)
    .scalar_subquery()
    .label("links")
)


@dataclass(frozen=True, slots=True)
class CoverFacts:
    position: int
    sha256: str
    thumbnail_sha256: str
    width: int
    height: int
    prompt: str | None
    # What a vision model saw, the shortest first; search uses these.
    captions: tuple[str, ...]


def find_cover(session: Session, adapter_id: int, position: int) -> Cover | None:
    return session.scalar(
        select(Cover).where(Cover.adapter_id == adapter_id, Cover.position == position)
    )


def cover_facts(cover: Cover) -> CoverFacts:
    """Return all that is known of a cover; its captions have to be loaded."""
    seen: Sequence[Caption] = [
        caption for caption in cover.captions if caption.source == "vlm" and not caption.superseded
    ]
    return CoverFacts(
        position=cover.position,
        sha256=cover.sha256,
        thumbnail_sha256=cover.thumbnail_sha256,
        width=cover.width,
        height=cover.height,
        prompt=cover.prompt,
        captions=tuple(c.text for c in sorted(seen, key=lambda c: (c.language, len(c.text)))),
    )
