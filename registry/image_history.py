"""Images that were asked for over the API or on the page, kept as long as there is room."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from registry.db import images
from registry.db.images import FinishedImage, ImageFacts
from registry.db.session import transaction


class ImageHistory:
    """What `registry.db.images` says, each call in a transaction of its own."""

    def __init__(self, sessions: sessionmaker[Session], most_bytes: int) -> None:
        self._sessions, self._most_bytes = sessions, most_bytes

    def ask(self, asked: Sequence[Mapping[str, Any]]) -> Sequence[ImageFacts]:
        """Note images to be drawn, and return them."""
        with transaction(self._sessions) as session:
            return [images.get_image(session, one) for one in images.ask(session, asked)]

    def begin(self, image_id: int) -> bool:
        """Say that an image is being drawn; return False if nobody wants it any more."""
        with transaction(self._sessions) as session:
            return images.begin(session, image_id)

    def step(self, image_id: int, done: int, total: int) -> bool:
        """Note how far an image is; return False if nobody wants it any more."""
        with transaction(self._sessions) as session:
            return images.step(session, image_id, done, total)

    def stay_alive(self, image_ids: Collection[int]) -> None:
        """Say that these are still to be drawn here."""
        with transaction(self._sessions) as session:
            images.stay_alive(session, image_ids)

    def finish(self, image_id: int, made: FinishedImage) -> bool:
        """Store an image, and remove the oldest where there is no room for all."""
        with transaction(self._sessions) as session:
            return images.finish(session, image_id, made, self._most_bytes)

    def fail(self, image_id: int, problem: dict[str, Any]) -> None:
        with transaction(self._sessions) as session:
            images.fail(session, image_id, problem)

    def interrupt(self, image_id: int) -> None:
        """Say that who was to draw an image has ended."""
        with transaction(self._sessions) as session:
            images.interrupt(session, image_id)

    def cancel(self, image_id: int) -> ImageFacts:
        """Give an image up, if it is not finished; or raise ImageNotFoundError."""
        with transaction(self._sessions) as session:
            images.cancel(session, image_id)
            return images.get_image(session, image_id)

    def get(self, image_id: int) -> ImageFacts:
        """Return an image's facts, or raise ImageNotFoundError."""
        with transaction(self._sessions) as session:
            return images.get_image(session, image_id)

    def list(self, *, before_id: int | None = None, limit: int = 20) -> Sequence[ImageFacts]:
        """Return images, the last asked for first."""
        with transaction(self._sessions) as session:
            return images.list_images(session, before_id=before_id, limit=limit)

    def file(self, image_id: int, *, thumbnail: bool = False) -> bytes:
        """Return an image's PNG, or its small WebP; or raise what `images.load_file` does."""
        with transaction(self._sessions) as session:
            return images.load_file(session, image_id, thumbnail=thumbnail)

    def remove(self, image_id: int) -> None:
        """Remove an image, given up if it is not finished; or raise ImageNotFoundError."""
        with transaction(self._sessions) as session:
            images.remove(session, image_id)
