"""Questions to galleries, and what every signal says of every adapter."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.search.far_off import FAR_OFF
from benchmarks.search.galleries import Gallery
from benchmarks.search.world import (
    FILTERS,
    LANGUAGES,
    SETUPS,
    Language,
    Setup,
    captions_of,
    describe,
    fill_words,
    qualities,
)
from crawler.records import AdapterRecord, CoverRecord
from encoder.arrays import Floats
from encoder.text_encoder import TextEncoder
from registry.retrieval.strangers import between
from registry.retrieval.words import matching_adapters

# Every adapter is asked for by each of its captions.
TURNS = 3


@dataclass(frozen=True)
class Asked:
    """One gallery in one set-up: (signals, questions, adapters), NaN where there is no score.

    Weights and captions in deviations above strangers. The first questions are about the
    adapters in their order, the others about nothing here.
    """

    scores: Floats
    gallery: int
    setup: Setup
    languages: tuple[Language, Language]


def ask(sessions: sessionmaker[Session], galleries: Sequence[Gallery]) -> Iterator[Asked]:
    """Ask for every adapter by the caption its covers do not show, in all set-ups."""
    for turn in range(TURNS):
        for number, gallery in enumerate(galleries):
            count = len(gallery.concepts)
            # Every length is asked for, among covers that show captions of every length.
            hidden = [(place + turn) % 3 for place in range(count)]
            for setup in SETUPS:
                known = qualities(count, setup, seed=turn)
                for indexed, language in LANGUAGES:
                    records = describe(gallery.concepts, known, indexed, hidden, seed=turn)
                    texts = captions_of(gallery.concepts, language, hidden)
                    # Half of the far-off texts; the others are for reporting.
                    texts += [pair[language == "zh"] for pair in FAR_OFF[::2]]
                    fill_words(sessions, records)
                    scores = [
                        *by_embeddings(gallery, records, texts),
                        by_words(sessions, texts, count),
                    ]
                    found = np.stack(scores)
                    for place, others in gallery.also.items():
                        found[:, place, list(others)] = np.nan
                    yield Asked(found, number, setup, (indexed, language))


def by_embeddings(
    gallery: Gallery, records: Sequence[AdapterRecord], texts: Sequence[str]
) -> tuple[Floats, Floats]:
    """Compare questions with weights and with the best cover's caption, (texts, adapters) each.

    As PostgreSQL does it where it finds everything, and calibrated as
    `registry.retrieval.calibration` does it, with each adapter's first caption.
    """
    shown = [prompt_of(cover) for record in records for cover in record.covers]
    counts = np.array([len(record.covers) for record in records])
    owners = np.flatnonzero(counts)
    starts = (np.cumsum(counts) - counts)[owners]
    asked = embed(gallery.text_encoder, texts)
    captions = embed(gallery.text_encoder, shown)
    by_captions = np.full((len(texts), len(records)), np.nan, np.float32)
    aim = gallery.encoder.encode_caption_query
    by_captions[:, owners] = np.maximum.reduceat(aim(asked) @ captions.T, starts, axis=1)
    first = captions[starts]
    others = ~np.eye(len(records), dtype=bool)[owners]
    mean, deviation = between((aim(first) @ first.T)[others[:, owners]])
    by_captions = (by_captions - mean) / deviation
    weights = gallery.embeddings.T
    mean, deviation = between((gallery.encoder.encode_query(first) @ weights)[others])
    by_weights = (gallery.encoder.encode_query(asked) @ weights - mean) / deviation
    return by_weights, by_captions


def prompt_of(cover: CoverRecord) -> str:
    assert cover.prompt is not None, "all covers here are described"
    return cover.prompt


def by_words(sessions: sessionmaker[Session], texts: Sequence[str], count: int) -> Floats:
    """What words find in the index as it is filled, (texts, adapters)."""
    found = np.full((len(texts), count), np.nan, np.float32)
    with sessions() as session:
        for place, text in enumerate(texts):
            for match in matching_adapters(session, text, filters=FILTERS, limit=count):
                found[place, match.adapter_id - 1] = match.score
    return found


def embed(text_encoder: TextEncoder, texts: Sequence[str]) -> Floats:
    """Embed texts (texts, dim), each distinct one once."""
    distinct = list(dict.fromkeys(texts))
    rows = dict(zip(distinct, text_encoder.encode(distinct), strict=True))
    return np.stack([rows[text] for text in texts])
