"""Step 5: captions -> their embeddings."""

from collections.abc import Iterator

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from encoder.text_encoder import TextEncoder
from registry.db import pending
from registry.db.models import CaptionEmbedding
from registry.refresh.step import Step, StepOutcome

# Texts encoded at once.
BATCH = 64


class EncodeCaptionsStep(Step):
    """Embeds captions that have no embedding; one outcome a caption."""

    name = "encode"
    title = "Encoding captions"

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return pending.count_to_encode(session, self.context.text_encoder.name)

    def run(self) -> Iterator[StepOutcome]:
        return encode_captions(self.context.sessions, self.context.text_encoder)


def encode_captions(
    sessions: sessionmaker[Session], text_encoder: TextEncoder
) -> Iterator[StepOutcome]:
    """Embed captions that have no embedding by `text_encoder`; one outcome a caption."""
    after = 0
    while True:
        with sessions() as session:
            page = pending.list_to_encode(session, text_encoder.name, after, BATCH)
        if not page:
            return
        texts = {caption.text_md5: caption.text for caption in page}
        embeddings = text_encoder.encode(list(texts.values()))
        rows = [
            {"text_md5": md5, "text_encoder": text_encoder.name, "embedding": embedding}
            for md5, embedding in zip(texts, embeddings.tolist(), strict=True)
        ]
        with sessions.begin() as session:
            session.execute(insert(CaptionEmbedding).on_conflict_do_nothing(), rows)
        yield from (StepOutcome(caption.adapter) for caption in page)
        after = page[-1].caption_id
