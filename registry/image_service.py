"""Images of a registry: drawing them with its adapters, keeping them, and handing recipes on."""

from typing import TYPE_CHECKING

from registry.config import Settings
from registry.errors import BlobNotFoundError
from registry.fusion.errors import ComfyUINotSetError
from registry.image_history import ImageHistory
from registry.retrieval.cards import cards_of_file, is_sound_file
from registry.search_service import SearchService

# What draws is loaded when the first image is asked for.
if TYPE_CHECKING:
    from registry.fusion.exports.bundle import Bundle
    from registry.fusion.exports.sending import SentPrompt
    from registry.fusion.maker import Maker
    from registry.fusion.recipe import Recipe
    from registry.refresh.cover_drawing import CoverDrawing


class ImageService(SearchService):
    """Draws with the adapters that search finds, or with those that are named."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self._maker: Maker | None = None

    @property
    def maker(self) -> "Maker":
        """What makes images; base models, gates and weights are loaded when first needed."""
        with self._lock:
            if self._maker is None:
                from registry.fusion.maker import Maker
                from registry.fusion.studio import Studio

                self._maker = Maker(self, Studio(self.settings, self.file, self.peft_config))
            return self._maker

    @property
    def images(self) -> ImageHistory:
        """The images that were asked for over the API or on the page."""
        return ImageHistory(self.sessions, self.settings.image_history_bytes)

    @property
    def cover_drawing(self) -> "CoverDrawing":
        """What draws covers for adapters without."""
        from registry.refresh.cover_drawing import CoverDrawing

        return CoverDrawing(self.sessions, self.blobs, self.settings, self.maker.studio)

    def bundle(self, recipe: "Recipe") -> "Bundle":
        """Return a zip of the files of a recipe's adapters, to be read once.

        Raises:
            BlobNotFoundError: an adapter is not here, or may not be handed out.
            FileNotKeptError: its file was read, and is not kept here.
        """
        from registry.fusion.exports.adapters import exported
        from registry.fusion.exports.bundle import Bundle, BundledFile, Source

        files = []
        for adapter in exported(recipe):
            sha256 = adapter.used.sha256
            with self.transaction() as session:
                cards = cards_of_file(session, sha256) if is_sound_file(session, sha256) else []
            if not cards:
                raise BlobNotFoundError(sha256)
            sources = [Source(one.hub, one.author, one.page_url, one.licence) for one in cards]
            files.append(BundledFile(adapter, self.file(sha256), sources))
        return Bundle(recipe, files)

    def send_to_comfyui(self, recipe: "Recipe") -> "SentPrompt":
        """Have the ComfyUI of the settings draw a recipe: `registry.fusion.exports.sending`."""
        from registry.fusion.exports.sending import send

        if self.settings.comfyui_url is None:
            raise ComfyUINotSetError
        return send(recipe, self.settings.comfyui_url)
