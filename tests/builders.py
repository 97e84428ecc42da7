"""Rows with everything filled in but what a test says."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.models import EMBEDDING_DIM, Adapter, Caption, CaptionEmbedding, Cover, File

LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
TEXT_ENCODER = "use-multilingual-v3"

_numbers = count(1)


def axis(index: int) -> list[float]:
    """The unit vector along one axis: equal axes have similarity 1, others 0."""
    return [float(i == index) for i in range(EMBEDDING_DIM)]


def add_adapter(
    session: Session,
    *,
    embedding: Sequence[float] | None = None,
    encoder: Encoder | None = None,
    captions: Sequence[tuple[str, Sequence[float]]] = (),
    file_sha256: str | None = None,
    **what_matters: Any,
) -> Adapter:
    """Add a ready adapter with its file; columns of `adapters` by name.

    `embedding` is its weights' in `encoder` (default: the active one of its base model, made
    when missing). Each of `captions`, a text and its embedding, gets a cover of its own.
    """
    number = next(_numbers)
    values: dict[str, Any] = {
        "hub": "modelscope",
        "endpoint": "https://modelscope.cn",
        "repo": f"someone/adapter-{number}",
        "version": "",
        "file_name": "adapter.safetensors",
        "name": f"adapter {number}",
        "author": "someone",
        "description": "",
        "trigger_words": [],
        "tags": [],
        "base_model": "demo-flux-tiny",
        "licence": None,
        "mature": None,
        "downloads": 0,
        "hub_created_at": LONG_AGO,
        "hub_updated_at": LONG_AGO,
        "page_url": f"https://example.org/adapter-{number}",
        "state": "ready",
        "covers_done": True,
    }
    unknown = what_matters.keys() - Adapter.__table__.columns.keys()
    assert not unknown, f"adapters have no {unknown}"
    values |= what_matters
    said = " ".join([values["name"], values["author"], values["description"]])
    values["words"] = by_place(values.get("words", said), values)
    sha256 = file_sha256 or hashlib.sha256(f"file {number}".encode()).hexdigest()
    file = {
        "sha256": sha256,
        "size": 1000,
        "base_model": values["base_model"],
        "verdict": {"loadable": True, "fusable": True, "reasons": []},
        "read_at": LONG_AGO,
    }
    session.execute(insert(File).values(file).on_conflict_do_nothing())
    adapter = Adapter(file_sha256=sha256, **values)
    session.add(adapter)
    session.flush()
    if embedding is not None:
        encoder = encoder or active_encoder(session, adapter.base_model)
        session.add(
            WeightEmbedding(file_sha256=sha256, encoder_id=encoder.id, embedding=list(embedding))
        )
    session.flush()
    if captions:
        add_captions(session, adapter, captions)
    return adapter


def by_place(words: str, values: Mapping[str, Any]) -> str:
    """Put each of some words on the line of the place where it stands: see `segment_places`."""
    if "\n" in words:
        return words
    names = " ".join([values["name"], *values["trigger_words"]]).lower()
    lines: tuple[list[str], ...] = [], [], []
    for word in words.split():
        of_author = 1 if word in values["author"].lower() else 2
        lines[0 if word in names else of_author].append(word)
    return "\n".join(map(" ".join, lines))


def active_encoder(session: Session, base_model: str) -> Encoder:
    """The active encoder of a base model; made when there is none."""
    found = session.scalar(select(Encoder).where(Encoder.base_model == base_model, Encoder.active))
    return found or add_encoder(session, base_model=base_model)


def add_encoder(session: Session, **what_matters: Any) -> Encoder:
    """Add an active encoder; columns of `encoders` by name. Its checkpoint is in no store."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "name": f"encoder-{number}",
        "base_model": "demo-flux-tiny",
        "text_encoder": TEXT_ENCODER,
        "sketch_version": "1",
        "checkpoint_sha256": hashlib.sha256(f"encoder {number}".encode()).hexdigest(),
        "metrics": {},
        "active": True,
    }
    encoder = Encoder(**(values | what_matters))
    session.add(encoder)
    session.flush()
    return encoder


def add_captions(
    session: Session, adapter: Adapter, captions: Sequence[tuple[str, Sequence[float]]]
) -> None:
    texts = [text for text, _ in captions]
    hashes = [
        hashlib.sha256(f"cover {adapter.id} {position}".encode()).hexdigest()
        for position in range(len(captions))
    ]
    covers = session.scalars(
        insert(Cover).returning(Cover.id, sort_by_parameter_order=True),
        [
            {
                "adapter_id": adapter.id,
                "position": position,
                "sha256": sha256,
                "thumbnail_sha256": sha256,
                "width": 32,
                "height": 32,
                "phash": 0,
                "prompt": text,
            }
            for position, (text, sha256) in enumerate(zip(texts, hashes, strict=True))
        ],
    )
    names = session.scalars(
        insert(Caption).returning(Caption.text_md5, sort_by_parameter_order=True),
        [
            {"cover_id": cover, "text": text, "source": "hub"}
            for cover, text in zip(covers, texts, strict=True)
        ],
    )
    embeddings = [
        {"text_md5": name, "text_encoder": TEXT_ENCODER, "embedding": list(embedding)}
        for name, (_, embedding) in zip(names, captions, strict=True)
    ]
    session.execute(insert(CaptionEmbedding).values(embeddings).on_conflict_do_nothing())
