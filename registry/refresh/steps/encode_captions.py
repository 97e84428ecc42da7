"""Captions -> their embeddings."""

from collections.abc import Iterator, Sequence

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from encoder.text_encoder import TextEncoder
from registry.db import pending
from registry.db.models import CaptionEmbedding
from registry.refresh.step import SharedStep, StepOutcome

# Texts encoded at once.
BATCH = 64


class EncodeCaptionsStep(SharedStep):
    """Embeds captions that have no embedding; one outcome a caption."""

    name = "encode"
    title = "Encoding captions"
    queue = "embed"
    page = job = BATCH

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return pending.count_to_encode(session, self.context.text_encoder.name)

    def list_keys(self, size: int) -> Iterator[list[str]]:
        for ids in _list_ids(self.context.sessions, self.context.text_encoder, size):
            yield [str(caption_id) for caption_id in ids]

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        ids = [int(key) for key in keys]
        yield from _encode(self.context.sessions, self.context.text_encoder, ids)


def encode_captions(
    sessions: sessionmaker[Session], text_encoder: TextEncoder
) -> Iterator[StepOutcome]:
    """Embed captions that have no embedding by `text_encoder`; one outcome a caption."""
    for ids in _list_ids(sessions, text_encoder, BATCH):
        yield from _encode(sessions, text_encoder, ids)


def _list_ids(
    sessions: sessionmaker[Session], text_encoder: TextEncoder, size: int
) -> Iterator[list[int]]:
    after = 0
    while True:
        with sessions() as session:
            ids = pending.keys_to_encode(session, text_encoder.name, after, size)
        if not ids:
            return
        yield ids
        after = ids[-1]


def _encode(
    sessions: sessionmaker[Session], text_encoder: TextEncoder, ids: Sequence[int]
) -> Iterator[StepOutcome]:
    with sessions() as session:
        page = pending.list_to_encode(session, text_encoder.name, ids)
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
