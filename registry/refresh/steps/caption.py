"""Step 4: cover prompts -> captions and their embeddings."""

from collections.abc import Iterator, Sequence

from sqlalchemy import literal
from sqlalchemy.dialects.postgresql import insert

from registry.db import pending
from registry.db.models import Caption, CaptionEmbedding
from registry.refresh.step import SharedStep, StepOutcome

# Texts encoded at once.
BATCH = 64


class CaptionStep(SharedStep):
    """Takes prompts as captions, and embeds what has no embedding; one outcome a caption."""

    name = "caption"
    title = "Encoding captions"
    queue = "caption"
    page = job = BATCH

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return pending.count_to_caption(session, self.context.text_encoder.name)

    def list_keys(self, size: int) -> Iterator[list[str]]:
        self._take_prompts()
        after = 0
        while True:
            with self.context.sessions() as session:
                ids = pending.keys_to_caption(session, self.context.text_encoder.name, after, size)
            if not ids:
                return
            yield [str(caption_id) for caption_id in ids]
            after = ids[-1]

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        text_encoder, ids = self.context.text_encoder, [int(key) for key in keys]
        with self.context.sessions() as session:
            page = pending.list_to_caption(session, text_encoder.name, ids)
        if not page:
            return
        texts = {caption.text_md5: caption.text for caption in page}
        embeddings = text_encoder.encode(list(texts.values()))
        rows = [
            {"text_md5": md5, "text_encoder": text_encoder.name, "embedding": embedding}
            for md5, embedding in zip(texts, embeddings.tolist(), strict=True)
        ]
        with self.context.sessions.begin() as session:
            session.execute(insert(CaptionEmbedding).on_conflict_do_nothing(), rows)
        yield from (StepOutcome(caption.adapter) for caption in page)

    def _take_prompts(self) -> None:
        prompts = pending.prompts_to_take().add_columns(literal("hub"))
        with self.context.sessions.begin() as session:
            session.execute(
                insert(Caption)
                .from_select(["cover_id", "text", "source"], prompts)
                .on_conflict_do_nothing()
            )
