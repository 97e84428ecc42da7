"""Finding adapters by a picture: by what its file says, by covers like it, and by what it shows."""

import threading
import time
from dataclasses import replace
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from crawler.pictures.reading import ReadPicture, Told
from crawler.pictures.texts import PictureTexts
from encoder.image_encoder import ImageEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.session import transaction
from registry.fusion.recipe import Recipe
from registry.retrieval.by_description import Described, describe
from registry.retrieval.by_picture import (
    PicturePage,
    by_image,
    read_for_search,
    search_by_picture,
    search_by_told,
)
from registry.retrieval.filters import Filters
from registry.retrieval.finder import Finder
from registry.retrieval.given_values import Paging
from registry.retrieval.picture_files import picture_bytes


class PictureSearch:
    """Keeps the image encoder that it has loaded. Safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        blobs: BlobStore,
        finder: Finder,
    ) -> None:
        self._settings = settings
        self._sessions, self._blobs = sessions, blobs
        self._finder = finder
        self._lock = threading.Lock()
        self._image_encoder: ImageEncoder | None = None

    def search(
        self,
        picture: Path | str | bytes,
        filters: Filters,
        limit: int,
        *,
        describe: bool = True,
    ) -> PicturePage:
        """Return up to `limit` adapters that a picture was made with, or that made one like it.

        A recipe as JSON leads to those that it names. Without `describe` no vision model is asked.

        Raises:
            PictureError: it is no picture, or none that can be read.
            RecipeError: it is JSON, and no recipe.
        """
        started = time.perf_counter()
        data = picture_bytes(picture)
        if data.lstrip()[:1] == b"{":
            return self._search_by_recipe(Recipe.from_json(data), filters, limit)
        read = read_for_search(data)
        # Before a session is open: a vision model may think for half a minute.
        described = self._describe(read, filters, limit) if describe else Described()
        with transaction(self._sessions) as session:
            more = [iter(described.found)]
            if self._settings.image_encoder is not None:
                more += [by_image(session, self._open_image_encoder, read, filters, limit)]
            page = search_by_picture(session, self._blobs, read, filters, limit, more)
        return replace(
            page,
            notes=(*page.notes, described.note) if described.note else page.notes,
            description=described.text,
            milliseconds=(time.perf_counter() - started) * 1000,
        )

    def _search_by_recipe(self, recipe: Recipe, filters: Filters, limit: int) -> PicturePage:
        told = Told.by(PictureTexts(recipe=recipe.model_dump(mode="json", by_alias=True)))
        with transaction(self._sessions) as session:
            return search_by_told(session, told, filters, limit)

    def _describe(self, picture: ReadPicture, filters: Filters, limit: int) -> Described:
        """Say what a picture shows, where an endpoint for that is set up."""
        settings = self._settings
        if settings.caption_endpoint is None:
            return Described()
        # Here, for it brings HTTP, which a search without an endpoint does without.
        from registry.refresh.captioners import open_captioner

        return describe(
            picture.image,
            settings.caption_languages[0],
            lambda: open_captioner(settings, patient=False),
            lambda text: self._finder.search(text, filters, Paging(limit=limit)),
        )

    def _open_image_encoder(self) -> ImageEncoder:
        """Return what pictures are compared by; its model is loaded when it is first asked."""
        assert self._settings.image_encoder is not None
        with self._lock:
            if self._image_encoder is None:
                self._image_encoder = ImageEncoder(self._settings.image_encoder)
            return self._image_encoder
