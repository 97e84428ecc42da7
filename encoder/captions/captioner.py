"""What writes captions: a vision model behind an endpoint, or on this machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from encoder.errors import CaptionError

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True, slots=True)
class Captions:
    """What is seen in one image, at three lengths; each is one line of visible signs."""

    short: str
    medium: str
    long: str


class Captioner(Protocol):
    """Looks at images and says what is in them."""

    @property
    def name(self) -> str:
        """Names the model; stored with each caption."""
        ...

    @property
    def batch_size(self) -> int:
        """How many images to give it at once, so that it is never idle."""
        ...

    def caption(
        self, images: Sequence[bytes], language: Language
    ) -> Iterator[tuple[int, Captions | CaptionError]]:
        """Yield each image's place in `images` with its captions, or with why it has none.

        They come as they are ready, in any order, each place once. `images` are files as they
        come: PNG, JPEG, WebP or GIF.

        Raises:
            CaptionerError: the model cannot be used; what was yielded before is good.
        """
        ...

    def close(self) -> None:
        """Give back connections or memory."""
        ...
