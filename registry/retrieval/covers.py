"""The pictures of adapters: where they are, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from registry.db.drawn_covers import DrawnCover, DrawnFacts, load_drawn
from registry.db.models import Adapter, Caption, Cover


@dataclass(frozen=True, slots=True)
class CoverLink:
    """Where a cover is, and the hash by which a browser may keep it."""

    position: int
    sha256: str
    width: int
    # It was drawn here, for an adapter that came without any.
    drawn: bool = False


class CoverFiles(NamedTuple):
    """The bytes of a cover, by their hashes."""

    sha256: str
    thumbnail_sha256: str


_LISTED = select(
    func.jsonb_agg(
        aggregate_order_by(
            func.jsonb_build_array(Cover.position, Cover.sha256, Cover.width), Cover.position
        )
    )
).where(Cover.adapter_id == Adapter.id)
# With the file that the adapter has now.
_DRAWN = select(
    func.jsonb_build_array(func.jsonb_build_array(0, DrawnCover.sha256, DrawnCover.width, true()))
).where(
    DrawnCover.adapter_id == Adapter.id,
    DrawnCover.sha256.is_not(None),
    DrawnCover.file_sha256 == Adapter.file_sha256,
)
# Of each adapter that is selected, what makes its CoverLinks, the first one first; of one without
# covers that of the one drawn here.
LINKS = func.coalesce(
    *(links.correlate(Adapter).scalar_subquery() for links in (_LISTED, _DRAWN))
).label("links")


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
    # How it was drawn, if it was drawn here.
    recipe: dict[str, Any] | None = None


def find_cover(session: Session, adapter_id: int, position: int) -> CoverFiles | None:
    cover = session.execute(
        select(Cover.sha256, Cover.thumbnail_sha256).where(
            Cover.adapter_id == adapter_id, Cover.position == position
        )
    ).first()
    if cover is not None:
        return CoverFiles(cover.sha256, cover.thumbnail_sha256)
    drawn = load_drawn(session, [adapter_id]).get(adapter_id) if position == 0 else None
    return None if drawn is None else CoverFiles(drawn.sha256, drawn.thumbnail_sha256)


def links_of(told: Sequence[Sequence[Any]] | None) -> list[CoverLink]:
    """Return the covers of an adapter by what LINKS says."""
    return [CoverLink(*link) for link in told or ()]


def drawn_facts(drawn: DrawnFacts) -> CoverFacts:
    """Return all that is known of a cover that was drawn here."""
    return CoverFacts(
        position=0,
        sha256=drawn.sha256,
        thumbnail_sha256=drawn.thumbnail_sha256,
        width=drawn.width,
        height=drawn.height,
        prompt=drawn.recipe["full_prompt"],
        captions=(),
        recipe=drawn.recipe,
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
