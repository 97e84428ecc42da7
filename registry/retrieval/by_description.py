"""A picture -> what a vision model says of it -> adapters that do that."""

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from PIL import Image

from encoder.captions.captioner import Captioner, Language
from encoder.errors import CaptionerError, CaptionError
from registry.errors import CaptionSettingsError
from registry.retrieval.by_picture import FoundBy
from registry.retrieval.errors import NothingIndexedError
from registry.retrieval.results import SearchPage

logger = logging.getLogger(__name__)

NOT_DESCRIBED = "The vision model did not describe the picture; see the log."


@dataclass(frozen=True, slots=True)
class Described:
    """A picture in words, and what those find; or in `note` why there are none."""

    text: str = ""
    found: tuple[tuple[int, FoundBy], ...] = ()
    note: str = ""


def describe(
    picture: Image.Image,
    language: Language,
    open_captioner: Callable[[], AbstractContextManager[Captioner]],
    search: Callable[[str], SearchPage],
) -> Described:
    """Let a vision model describe a picture, and search for its description.

    Of three captions the medium one is asked: it names subject and style in a sentence. What
    probably does something else is left out, for a picture is no promise that anything fits.
    """
    file = io.BytesIO()
    picture.save(file, "PNG")
    try:
        with open_captioner() as captioner:
            [(_, captions)] = captioner.caption([file.getvalue()], language)
        if isinstance(captions, CaptionError):
            raise captions
    except (CaptionError, CaptionerError, CaptionSettingsError) as error:
        # The other ways still tell; why may name addresses, which are for the log.
        logger.warning("%s", error)
        return Described(note=NOT_DESCRIBED)
    try:
        return Described(captions.medium, tuple(_found(search(captions.medium))))
    except NothingIndexedError:
        return Described(captions.medium)


def _found(page: SearchPage) -> Iterator[tuple[int, FoundBy]]:
    for result in page.results:
        if result.hit.band != "probably not":
            yield result.card.id, FoundBy("description", result.hit.score)
