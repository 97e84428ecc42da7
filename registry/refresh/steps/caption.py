"""Step 4: cover prompts -> captions and their embeddings."""

from collections.abc import Iterator

from sqlalchemy import literal
from sqlalchemy.dialects.postgresql import insert

from registry.db import pending
from registry.db.models import Caption, CaptionEmbedding
from registry.refresh.step import Step, StepOutcome

# Texts encoded at once.
BATCH = 64


class CaptionStep(Step):
    """Takes prompts as captions, and embeds what has no embedding; one outcome a caption."""

    name = "caption"
    title = "Encoding captions"

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return pending.count_to_caption(session, self.context.text_encoder.name)

    def run(self) -> Iterator[StepOutcome]:
        self._take_prompts()
        text_encoder, after = self.context.text_encoder, 0
        while True:
            with self.context.sessions() as session:
                page = pending.list_to_caption(session, text_encoder.name, after, BATCH)
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
            after = page[-1].caption_id

    def _take_prompts(self) -> None:
        prompts = pending.prompts_to_take().add_columns(literal("hub"))
        with self.context.sessions.begin() as session:
            session.execute(
                insert(Caption)
                .from_select(["cover_id", "text", "source"], prompts)
                .on_conflict_do_nothing()
            )
