"""Covers -> captions: of their prompts, and by a vision model, a batch in one transaction."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from encoder.captions.captioner import Captioner, Language
from encoder.captions.prompts import PROMPT_VERSION
from encoder.errors import CaptionerError, CaptionError
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db import captions, pending
from registry.db.captions import CaptionVersion, PendingImage, Texts, Wanted
from registry.db.holds import hold
from registry.db.models import Caption
from registry.errors import BlobNotFoundError
from registry.refresh.captioners import name_of_captioner, what_is_missing
from registry.refresh.problems import reported
from registry.refresh.step import StepOutcome
from registry.text.hub_prompts import CLEANING_VERSION, clean_prompt

# What images are held as while they are captioned, by a refresh, a worker or a command.
HELD_AS = "caption"
# Images listed at once: to order all that wait takes longer than to caption a few.
PAGE = 256
# Prompts cleaned in one transaction.
PROMPTS = 1000


def version_of(model: str, language: Language) -> CaptionVersion:
    """Return what a model's captions are stored as."""
    return CaptionVersion(model, PROMPT_VERSION, language)


def wanted_captions(settings: Settings, since: datetime) -> list[Wanted]:
    """Return the captions that the settings ask for, one kind a language; none without a model."""
    if what_is_missing(settings):
        return []
    model = name_of_captioner(settings)
    return [Wanted(version_of(model, name), since) for name in settings.caption_languages]


def take_known(sessions: sessionmaker[Session], wanted: Iterable[CaptionVersion] = ()) -> None:
    """Make captions of what is known: of prompts, and of what was seen in equal images.

    Of an image that has `wanted` ones search uses these.
    """
    _take_prompts(sessions)
    with sessions.begin() as session:
        captions.copy_to_covers(session)
        for version in wanted:
            captions.use_again(session, version)


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


@dataclass(frozen=True, slots=True)
class Captioning:
    """Has images captioned, over one database and one blob store.

    Nothing is locked: who calls `caption` holds the images' keys, so that nobody else does the
    same.
    """

    sessions: sessionmaker[Session]
    blobs: BlobStore
    wanted: Wanted

    @property
    def language(self) -> Language:
        return self.wanted.version.language

    def key(self, sha256: str) -> str:
        """Name a task: to caption an image in a language."""
        return f"{self.language} {sha256}"

    def count_waiting(self) -> int:
        with self.sessions() as session:
            return captions.count_waiting(session, self.wanted)

    def list_waiting(self, limit: int, *, but: Collection[str] = ()) -> list[str]:
        """Return hashes of images that wait, those first of which captions help most."""
        with self.sessions() as session:
            images = captions.list_waiting(session, self.wanted, limit, but=but)
        return [image.sha256 for image in images]

    def caption(self, captioner: Captioner, hashes: Sequence[str]) -> Iterator[StepOutcome]:
        """Caption those of some images that still wait; an outcome for each, once it is stored.

        Raises:
            CaptionerError: the captioner cannot be used; what came before is stored.
        """
        with self.sessions() as session:
            images = captions.still_waiting(session, self.wanted, hashes)
        for start in range(0, len(images), captioner.batch_size):
            yield from self._caption_batch(captioner, images[start : start + captioner.batch_size])

    def _caption_batch(
        self, captioner: Captioner, images: Sequence[PendingImage]
    ) -> Iterator[StepOutcome]:
        """Caption images, and store it in one transaction.

        What has come is stored also when the rest cannot: each answer was paid for.
        """
        results: list[tuple[PendingImage, Texts | str]] = []
        failure: CaptionerError | None = None
        try:
            for result in self._look_at(captioner, images):
                results.append(result)  # noqa: PERF402 (what came stays when the rest does not)
        except CaptionerError as error:
            failure = error
        finally:
            with self.sessions.begin() as session:
                outcomes = [self._store(session, *result) for result in results]
        yield from outcomes
        if failure is not None:
            raise failure

    def _look_at(
        self, captioner: Captioner, images: Sequence[PendingImage]
    ) -> Iterator[tuple[PendingImage, Texts | str]]:
        """Yield each image with what is seen in it, or in words why there is nothing."""
        found: list[PendingImage] = []
        data: list[bytes] = []
        for image in images:
            try:
                with self.blobs.open(image.sha256) as stream:
                    data.append(stream.read())
            except BlobNotFoundError as error:
                yield image, reported(error)
            else:
                found.append(image)
        for place, result in captioner.caption(data, self.language):
            if isinstance(result, CaptionError):
                yield found[place], reported(result)
            else:
                yield found[place], Texts(result.short, result.medium, result.long)

    def _store(self, session: Session, image: PendingImage, result: Texts | str) -> StepOutcome:
        version = self.wanted.version
        if isinstance(result, str):
            captions.store_failure(session, version, image.sha256, result)
            return StepOutcome(image.adapter, False, result)
        captions.store_captions(session, version, image.sha256, result)
        return StepOutcome(image.adapter)


def caption_images(
    work: Captioning, captioner: Captioner, limit: int | None = None
) -> Iterator[StepOutcome]:
    """Caption up to `limit` images that wait for it; one outcome an image, once it is stored.

    Any number of processes may do so at once, refreshes and workers too: each takes images that
    no other is at. Stopped or killed anywhere, it goes on from there.

    Raises:
        CaptionerError: the captioner cannot be used; what came before is stored.
    """
    engine: Engine = work.sessions.kw["bind"]
    left = limit
    # In somebody else's hands, and listed first for as long as they are.
    elsewhere: set[str] = set()
    while left is None or left > 0:
        page = work.list_waiting(PAGE if left is None else min(PAGE, left), but=elsewhere)
        if not page:
            return
        for start in range(0, len(page), captioner.batch_size):
            batch = page[start : start + captioner.batch_size]
            with hold(engine, HELD_AS, [work.key(sha256) for sha256 in batch]) as held:
                mine = [key.split()[1] for key in held]
                elsewhere.update(set(batch).difference(mine))
                for outcome in work.caption(captioner, mine):
                    left = None if left is None else left - 1
                    yield outcome
