"""Covers -> captions, from their prompts and by a vision model."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import cached_property

from encoder.captions.captioner import LANGUAGES, Captioner, Language
from encoder.errors import CaptionerError
from registry.db.captions import Wanted
from registry.db.session import now
from registry.errors import CaptionSettingsError
from registry.refresh.captioners import name_of_captioner, open_captioner, what_is_missing
from registry.refresh.captioning import HELD_AS, Captioning, take_known, version_of
from registry.refresh.problems import reported
from registry.refresh.step import RefreshContext, SharedStep, StepOutcome


class CaptionStep(SharedStep):
    """Takes prompts as captions, and has a model look at images; one outcome an image looked at.

    The model is asked about `caption_limit` images in each language: nobody waits for a first
    refresh to look at a whole hub, and no night costs more than that. A key is a language and the
    hash of an image.
    """

    name = HELD_AS
    title = "Captioning covers"
    queue = "caption"
    page = 64
    job = 16

    def __init__(self, context: RefreshContext) -> None:
        super().__init__(context)
        self._opened = ExitStack()
        # Nothing is asked of it any more once it has failed.
        self._is_down = False

    @property
    def skipped(self) -> str:
        return what_is_missing(self.context.settings)

    def remaining(self) -> int:
        settings = self.context.settings
        languages = [] if self.skipped else settings.caption_languages
        waiting = [self._work(language).count_waiting() for language in languages]
        return sum(min(count, settings.caption_limit) for count in waiting)

    def list_keys(self, size: int) -> Iterator[list[str]]:
        settings = self.context.settings
        languages = [] if self.skipped else settings.caption_languages
        works = [self._work(language) for language in languages]
        take_known(self.context.sessions, [work.wanted.version for work in works])
        for work in works:
            keys = [work.key(sha256) for sha256 in work.list_waiting(settings.caption_limit)]
            for start in range(0, len(keys), size):
                yield keys[start : start + size]

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        for language in LANGUAGES:
            hashes = [key.split()[1] for key in keys if key.split()[0] == language]
            if not hashes or self._is_down:
                continue
            try:
                yield from self._work(language).caption(self._captioner, hashes)
            except (CaptionerError, CaptionSettingsError) as error:
                self._is_down = True
                yield StepOutcome("captions", False, reported(error))

    def close(self) -> None:
        self._opened.close()

    def _work(self, language: Language) -> Captioning:
        context = self.context
        version = version_of(name_of_captioner(context.settings), language)
        return Captioning(context.sessions, context.blobs, Wanted(version, self._started))

    @cached_property
    def _started(self) -> datetime:
        with self.context.sessions() as session:
            return now(session)

    @cached_property
    def _captioner(self) -> Captioner:
        return self._opened.enter_context(open_captioner(self.context.settings))
