"""Images that were asked for: what waits, what is drawn, and what came of it.

A process that draws says now and then that it lives. What nobody draws any more counts as
interrupted, so that a killed server leaves nothing that seems to be under way.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.db.row_facts import facts_of
from registry.db.work_models import DrawnImage, ImageFile
from registry.errors import ImageNotDoneError, ImageNotFoundError
from registry.image_states import UNFINISHED, ImageState

# A process says that it lives every few seconds (registry.api.drawing); one that has not for so
# long is dead, or has lost the database.
LOST_AFTER = timedelta(seconds=45)
# What a process that draws finds its images in. They count as interrupted when its machine has
# slept, whoever looks first; that it goes on shows that they are not.
WAITING: tuple[ImageState, ...] = ("waiting", "interrupted")
DRAWING: tuple[ImageState, ...] = (*UNFINISHED, "interrupted")
GOES_ON: Mapping[str, Any] = {"state": "drawing", "seen_at": func.now(), "finished_at": None}


@dataclass(frozen=True)
class ImageFacts:
    """All of an image but its files. `ahead` is how many are drawn before it, while it waits."""

    id: int
    asked: dict[str, Any]
    state: ImageState
    ahead: int
    done: int
    total: int
    recipe: dict[str, Any] | None
    activity: dict[str, Any] | None
    problem: dict[str, Any] | None
    bytes: int
    created_at: datetime
    finished_at: datetime | None

    @property
    def is_finished(self) -> bool:
        return self.state not in UNFINISHED


@dataclass(frozen=True)
class FinishedImage:
    """What drawing gave. A sheet has no recipe."""

    png: bytes
    thumbnail: bytes
    recipe: dict[str, Any] | None = None
    activity: dict[str, Any] | None = None


def ask(session: Session, asked: Sequence[Mapping[str, Any]]) -> list[int]:
    """Note images to be drawn; return their ids."""
    statement = insert(DrawnImage).returning(DrawnImage.id, sort_by_parameter_order=True)
    return list(session.scalars(statement, [{"asked": dict(one)} for one in asked]))


def begin(session: Session, image_id: int) -> bool:
    """Say that an image is being drawn; return False if nobody wants it any more."""
    return _change(session, image_id, WAITING, **GOES_ON)


def step(session: Session, image_id: int, done: int, total: int) -> bool:
    """Note how far an image is; return False if nobody wants it any more."""
    return _change(session, image_id, DRAWING, done=done, total=total, **GOES_ON)


def stay_alive(session: Session, image_ids: Collection[int]) -> None:
    """Say that these are still to be drawn by who has them."""
    session.execute(
        update(DrawnImage)
        .where(DrawnImage.id.in_(image_ids), DrawnImage.state.in_(DRAWING))
        .values(
            seen_at=func.now(),
            state=case((DrawnImage.state == "interrupted", "waiting"), else_=DrawnImage.state),
            finished_at=None,
        )
    )


def finish(session: Session, image_id: int, made: FinishedImage, most_bytes: int) -> bool:
    """Store an image, and remove the oldest if all take more than `most_bytes`.

    Returns False if nobody wants it any more.
    """
    size = len(made.png) + len(made.thumbnail)
    facts = {"recipe": made.recipe, "activity": made.activity, "bytes": size}
    if not _change(session, image_id, DRAWING, state="done", finished_at=func.now(), **facts):
        return False
    session.add(ImageFile(image_id=image_id, png=made.png, thumbnail=made.thumbnail))
    session.flush()
    newer = func.sum(DrawnImage.bytes).over(order_by=DrawnImage.id.desc())
    sums = select(DrawnImage.id, newer.label("bytes")).where(DrawnImage.state == "done").subquery()
    old = select(sums.c.id).where(sums.c.bytes > most_bytes, sums.c.id != image_id)
    session.execute(delete(DrawnImage).where(DrawnImage.id.in_(old)))
    return True


def fail(session: Session, image_id: int, problem: dict[str, Any]) -> None:
    _end(session, image_id, "failed", problem=problem)


def cancel(session: Session, image_id: int) -> None:
    """Give an image up: who draws it notices at the next step. A finished one stays as it is.

    Raises:
        ImageNotFoundError: there is none of this id.
    """
    if not _end(session, image_id, "cancelled"):
        get_image(session, image_id)


def interrupt(session: Session, image_id: int) -> None:
    """Say that who was to draw an image has ended."""
    _end(session, image_id, "interrupted")


def get_image(session: Session, image_id: int) -> ImageFacts:
    """Return an image's facts.

    Raises:
        ImageNotFoundError: there is none of this id.
    """
    _interrupt_lost(session)
    image = session.get(DrawnImage, image_id)
    if image is None:
        raise ImageNotFoundError(image_id)
    return _facts(session, image)


def list_images(session: Session, *, before_id: int | None, limit: int) -> list[ImageFacts]:
    """Return images, the last asked for first, with ids below `before_id`."""
    _interrupt_lost(session)
    query = select(DrawnImage)
    if before_id is not None:
        query = query.where(DrawnImage.id < before_id)
    images = session.scalars(query.order_by(DrawnImage.id.desc()).limit(limit))
    return [_facts(session, image) for image in images]


def load_file(session: Session, image_id: int, *, thumbnail: bool = False) -> bytes:
    """Return an image's PNG, or its small WebP.

    Raises:
        ImageNotFoundError: there is none of this id.
        ImageNotDoneError: it has no picture, or none yet.
    """
    column = ImageFile.thumbnail if thumbnail else ImageFile.png
    data = session.scalar(select(column).where(ImageFile.image_id == image_id))
    if data is None:
        raise ImageNotDoneError(image_id, get_image(session, image_id).state)
    return data


def remove(session: Session, image_id: int) -> None:
    """Remove an image; one that is being drawn is given up.

    Raises:
        ImageNotFoundError: there is none of this id.
    """
    query = delete(DrawnImage).where(DrawnImage.id == image_id).returning(DrawnImage.id)
    if session.scalar(query) is None:
        raise ImageNotFoundError(image_id)


def _change(session: Session, image_id: int, states: Collection[ImageState], **values: Any) -> bool:
    changed = session.execute(
        update(DrawnImage)
        .where(DrawnImage.id == image_id, DrawnImage.state.in_(states))
        .values(**values)
        .returning(DrawnImage.id)
    )
    return changed.first() is not None


def _end(session: Session, image_id: int, state: ImageState, **values: Any) -> bool:
    return _change(session, image_id, UNFINISHED, state=state, finished_at=func.now(), **values)


def _interrupt_lost(session: Session) -> None:
    # What the dead said before the clock was set back stays ahead of it; the living go on.
    heard_of = DrawnImage.seen_at.between(func.now() - LOST_AFTER, func.now() + LOST_AFTER)
    session.execute(
        update(DrawnImage)
        .where(DrawnImage.state.in_(UNFINISHED), ~heard_of)
        .values(state="interrupted", finished_at=func.now())
    )


def _facts(session: Session, image: DrawnImage) -> ImageFacts:
    ahead = 0
    if image.state == "waiting":
        query = select(func.count()).where(
            DrawnImage.state.in_(UNFINISHED), DrawnImage.id < image.id
        )
        ahead = session.scalar(query) or 0
    return facts_of(ImageFacts, image, ahead=ahead)
