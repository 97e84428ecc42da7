"""Covers -> embeddings by the image encoder that the settings name, if they do."""

from collections.abc import Iterator, Sequence

from PIL import Image

from crawler.broken_images import BROKEN_IMAGE
from crawler.covers import on_white
from encoder.errors import ImageEncoderError
from encoder.image_encoder import ImageEncoder
from registry.db import cover_embeddings
from registry.db.cover_embeddings import PendingCover
from registry.errors import BlobNotFoundError
from registry.refresh.problems import reported
from registry.refresh.step import RefreshContext, SharedStep, StepOutcome

# Pictures encoded at once.
BATCH = 16


class EmbedCoversStep(SharedStep):
    """Embeds covers, to be compared with pictures; one outcome a picture."""

    name = "covers"
    title = "Encoding covers"
    queue = "embed"
    page = job = BATCH

    def __init__(self, context: RefreshContext) -> None:
        super().__init__(context)
        self._encoder: ImageEncoder | None = None
        # Why the settings' encoder cannot be used.
        self._problem = "no image encoder is set: REGISTRY_IMAGE_ENCODER names its folder"
        if context.image_encoder is not None:
            try:
                self._encoder = ImageEncoder(context.image_encoder)
            except ImageEncoderError as error:
                self._problem = reported(error)

    @classmethod
    def is_wanted(cls, context: RefreshContext) -> bool:
        return context.image_encoder is not None

    def prepare(self) -> Iterator[StepOutcome]:
        """Yield why the encoder cannot be used, if it cannot."""
        if self._encoder is None:
            assert self.context.image_encoder is not None
            yield StepOutcome(self.context.image_encoder.name, False, self._problem)

    def remaining(self) -> int:
        if self._encoder is None:
            return 0
        with self.context.sessions() as session:
            return cover_embeddings.count_to_embed(session, self._encoder.name)

    def list_keys(self, size: int) -> Iterator[list[str]]:
        after = ""
        while self._encoder is not None:
            name = self._encoder.name
            with self.context.sessions() as session:
                hashes = cover_embeddings.keys_to_embed(session, name, after, size)
            if not hashes:
                return
            # A worker may be set to another encoder than who hands this out.
            yield [f"{name} {sha256}" for sha256 in hashes]
            after = hashes[-1]

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        # All of one refresh, so of one encoder.
        wanted, hashes = keys[0].split()[0], [key.split()[1] for key in keys]
        encoder = self._encoder
        if encoder is None:
            yield StepOutcome(wanted, False, self._problem)
            return
        if wanted != encoder.name:
            problem = f"wanted where REGISTRY_IMAGE_ENCODER is {encoder.name}; set it alike"
            yield StepOutcome(wanted, False, problem)
            return
        with self.context.sessions() as session:
            pictures = cover_embeddings.list_to_embed(session, encoder.name, hashes)
        try:
            yield from self._embed(encoder, pictures)
        except ImageEncoderError as error:
            # What cannot be loaded fails for every cover alike.
            self._encoder, self._problem = None, reported(error)
            yield StepOutcome(encoder.name, False, self._problem)

    def finish(self) -> Iterator[StepOutcome]:
        if self._encoder is not None:
            with self.context.sessions.begin() as session:
                cover_embeddings.build_index(session, self._encoder.name)
        return iter(())

    def _embed(
        self, encoder: ImageEncoder, pictures: Sequence[PendingCover]
    ) -> Iterator[StepOutcome]:
        images: dict[str, Image.Image] = {}
        for picture in pictures:
            try:
                with self.context.blobs.open(picture.sha256) as stream, Image.open(stream) as image:
                    images[picture.sha256] = on_white(image.convert("RGBA")).convert("RGB")
            except (BlobNotFoundError, *BROKEN_IMAGE) as error:
                # One that a broken disk cut is no picture any more.
                yield StepOutcome(picture.adapter, False, f"its cover: {reported(error)}")
        if not images:
            return
        vectors = encoder.encode(list(images.values())).tolist()
        with self.context.sessions.begin() as session:
            cover_embeddings.store(session, encoder.name, dict(zip(images, vectors, strict=True)))
        names = {picture.sha256: picture.adapter for picture in pictures}
        yield from (StepOutcome(names[sha256]) for sha256 in images)
