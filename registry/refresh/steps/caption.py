"""Step 4: covers -> captions, from their prompts and by a vision model."""

from collections.abc import Iterator

from encoder.errors import CaptionerError
from registry.db import captions
from registry.refresh.captioners import name_of_captioner, open_captioner, what_is_missing
from registry.refresh.captioning import caption_images, take_known, version_of
from registry.refresh.step import Step, StepOutcome, one_line


class CaptionStep(Step):
    """Takes prompts as captions, and has a model look at images; one outcome an image looked at.

    The model is asked about `caption_limit` images in each language: nobody waits for a first
    refresh to look at a whole hub, and no night costs more than that.
    """

    name = "caption"
    title = "Captioning covers"

    @property
    def skipped(self) -> str:
        return what_is_missing(self.context.settings)

    def remaining(self) -> int:
        settings = self.context.settings
        if self.skipped:
            return 0
        model = name_of_captioner(settings)
        with self.context.sessions() as session:
            now = captions.now(session)
            waiting = [
                captions.count_waiting(session, version_of(model, language), now)
                for language in settings.caption_languages
            ]
        return sum(min(count, settings.caption_limit) for count in waiting)

    def run(self) -> Iterator[StepOutcome]:
        context = self.context
        take_known(context.sessions)
        if self.skipped:
            return
        try:
            with open_captioner(context.settings) as captioner:
                for language in context.settings.caption_languages:
                    yield from caption_images(
                        context.sessions,
                        context.blobs,
                        captioner,
                        language,
                        limit=context.settings.caption_limit,
                    )
        except CaptionerError as error:
            yield StepOutcome("captions", False, one_line(error))
