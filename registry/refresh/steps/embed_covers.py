"""Covers -> embeddings by the image encoder that the settings name, if they do."""

from collections.abc import Iterator, Sequence

from PIL import Image

from crawler.covers import on_white
from encoder.errors import ImageEncoderError
from encoder.image_encoder import ImageEncoder
from registry.db import cover_embeddings
from registry.db.cover_embeddings import PendingCover
from registry.errors import BlobNotFoundError
from registry.refresh.step import RefreshContext, Step, StepOutcome, one_line

# Pictures encoded at once.
BATCH = 16


class EmbedCoversStep(Step):
    """Embeds covers, to be compared with pictures; one outcome a cover."""

    name = "covers"
    title = "Encoding covers"

    def __init__(self, context: RefreshContext) -> None:
        super().__init__(context)
        self._encoder: ImageEncoder | None = None

    @classmethod
    def is_wanted(cls, context: RefreshContext) -> bool:
        return context.image_encoder is not None

    def prepare(self) -> Iterator[StepOutcome]:
        folder = self.context.image_encoder
        assert folder is not None
        try:
            self._encoder = ImageEncoder(folder)
        except ImageEncoderError as error:
            yield StepOutcome(folder.name, False, one_line(error))

    def remaining(self) -> int:
        if self._encoder is None:
            return 0
        with self.context.sessions() as session:
            return cover_embeddings.count_to_embed(session, self._encoder.name)

    def run(self) -> Iterator[StepOutcome]:
        encoder, after = self._encoder, 0
        while encoder is not None:
            with self.context.sessions() as session:
                page = cover_embeddings.list_to_embed(session, encoder.name, after, BATCH)
            if not page:
                break
            try:
                yield from self._embed(encoder, page)
            except ImageEncoderError as error:
                # What cannot be loaded fails for every cover alike.
                yield StepOutcome(encoder.name, False, one_line(error))
                return
            after = page[-1].cover_id
        if encoder is not None:
            with self.context.sessions.begin() as session:
                cover_embeddings.build_index(session, encoder.name)

    def _embed(self, encoder: ImageEncoder, page: Sequence[PendingCover]) -> Iterator[StepOutcome]:
        images: dict[str, Image.Image] = {}
        for cover in {cover.sha256: cover for cover in page}.values():
            try:
                with self.context.blobs.open(cover.sha256) as stream, Image.open(stream) as image:
                    images[cover.sha256] = on_white(image.convert("RGBA")).convert("RGB")
            except BlobNotFoundError as error:
                yield StepOutcome(cover.adapter, False, one_line(error))
        if not images:
            return
        vectors = encoder.encode(list(images.values())).tolist()
        with self.context.sessions.begin() as session:
            cover_embeddings.store(session, encoder.name, dict(zip(images, vectors, strict=True)))
        names = {cover.sha256: cover.adapter for cover in page}
        yield from (StepOutcome(names[sha256]) for sha256 in images)
