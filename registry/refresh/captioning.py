"""Covers -> captions: of their prompts, and by a vision model, a batch in one transaction."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from encoder.captions.captioner import Captioner, Language
from encoder.captions.prompts import PROMPT_VERSION
from encoder.errors import CaptionError
from registry.blobs import BlobStore
from registry.db import captions, pending
from registry.db.captions import CaptionVersion, PendingImage, Texts
from registry.db.models import Caption
from registry.errors import BlobNotFoundError
from registry.refresh.step import StepOutcome, one_line
from registry.text.hub_prompts import CLEANING_VERSION, clean_prompt

# Images listed at once: to order all that wait takes longer than to caption a few.
PAGE = 256
# Prompts cleaned in one transaction.
PROMPTS = 1000


def version_of(model: str, language: Language) -> CaptionVersion:
    """Return what a model's captions are stored as."""
    return CaptionVersion(model, PROMPT_VERSION, language)


def take_known(sessions: sessionmaker[Session]) -> None:
    """Make captions of what is known: of prompts, and of what was seen in equal images."""
    _take_prompts(sessions)
    with sessions.begin() as session:
        captions.copy_to_covers(session)


def _take_prompts(sessions: sessionmaker[Session]) -> None:
    """Make captions of covers' prompts, cleaned; what another version cleaned is replaced."""
    after = 0
    while True:
        with sessions.begin() as session:
            page = pending.list_prompts(session, CLEANING_VERSION, after, PROMPTS)
            if not page:
                return
            ids = [prompt.cover_id for prompt in page]
            session.execute(
                delete(Caption).where(Caption.cover_id.in_(ids), Caption.source == "hub")
            )
            rows = [
                {
                    "cover_id": prompt.cover_id,
                    "text": text,
                    "source": "hub",
                    "prompt_version": CLEANING_VERSION,
                }
                for prompt in page
                if (text := clean_prompt(prompt.prompt))
            ]
            if rows:
                session.execute(insert(Caption).on_conflict_do_nothing(), rows)
        after = page[-1].cover_id


def caption_images(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    captioner: Captioner,
    language: Language,
    *,
    limit: int | None = None,
    again: bool = False,
) -> Iterator[StepOutcome]:
    """Caption up to `limit` images that wait for it; one outcome an image, once it is stored.

    Any number of processes may do so at once: each takes images that no other is at. `again`
    takes in those that were given up. Stopped or killed anywhere, it goes on from there.

    Raises:
        CaptionerError: the captioner cannot be used; what came before is stored.
    """
    version = version_of(captioner.name, language)
    with sessions() as session:
        started = captions.now(session)
    left, passed = limit, 0
    while left is None or left > 0:
        count = PAGE if left is None else min(PAGE, left)
        with sessions() as session:
            page = captions.list_waiting(
                session, version, started, count, offset=passed, again=again
            )
        if not page:
            return
        done = 0
        for start in range(0, len(page), captioner.batch_size):
            batch = page[start : start + captioner.batch_size]
            for outcome in caption_batch(
                sessions, blobs, captioner, version, batch, before=started, again=again
            ):
                done += 1
                yield outcome
        # The others are in somebody else's hands, and still listed first.
        passed += len(page) - done
        left = None if left is None else left - done


def caption_batch(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    captioner: Captioner,
    version: CaptionVersion,
    images: Sequence[PendingImage],
    *,
    before: datetime,
    again: bool = False,
) -> list[StepOutcome]:
    """Claim images, caption them and store it, in one transaction; return what came of each.

    Those that another process is at, or was tried since `before`, are left out. What has come is
    stored also when the rest cannot: each image was paid for.

    Raises:
        CaptionerError: the captioner cannot be used; what came before is stored.
    """
    results: list[tuple[PendingImage, Texts | str]] = []
    with sessions() as session:
        claimed = captions.claim(session, version, images, before, again=again)
        try:
            results.extend(_look_at(blobs, captioner, version, claimed))
        finally:
            # Only now, for rows are locked from their writing on.
            outcomes = [_store(session, version, image, result) for image, result in results]
            session.commit()
    return outcomes


def _look_at(
    blobs: BlobStore,
    captioner: Captioner,
    version: CaptionVersion,
    images: Sequence[PendingImage],
) -> Iterator[tuple[PendingImage, Texts | str]]:
    """Yield each image with what is seen in it, or in words why there is nothing."""
    found: list[PendingImage] = []
    data: list[bytes] = []
    for image in images:
        try:
            with blobs.open(image.sha256) as stream:
                data.append(stream.read())
        except BlobNotFoundError as error:
            yield image, one_line(error)
        else:
            found.append(image)
    for place, result in captioner.caption(data, version.language):
        if isinstance(result, CaptionError):
            yield found[place], one_line(result)
        else:
            yield found[place], Texts(result.short, result.medium, result.long)


def _store(
    session: Session, version: CaptionVersion, image: PendingImage, result: Texts | str
) -> StepOutcome:
    if isinstance(result, str):
        captions.store_failure(session, version, image.sha256, result)
        return StepOutcome(image.adapter, False, result)
    captions.store_captions(session, version, image.sha256, result)
    return StepOutcome(image.adapter)
