"""The zoo as an index: adapters with metadata of a chosen quality in a real PostgreSQL."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session, sessionmaker

from crawler.records import AdapterRecord, CoverRecord, FileRecord
from demo.concepts import Concept, plan
from demo.listing import AUTHORS, BASE_MODEL, CHATTER, OPAQUE_NAMES
from demo.paths import BUILD
from encoder.adapter.lora_file import read
from encoder.arrays import Floats
from encoder.sketches.sketch import sketch
from encoder.text_encoder import TextEncoder
from encoder.weight_encoders.checkpoint import WeightEncoder, load_encoder
from registry.db.descriptions import list_to_describe, store_descriptions
from registry.db.embedded import EmbeddedPostgres
from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.migrate import migrate
from registry.db.models import Adapter, Base, Caption, CaptionEmbedding, Cover, File
from registry.db.records import settle
from registry.db.session import connect
from registry.retrieval.calibration import calibrate
from registry.retrieval.encoder_spaces import ServingEncoder
from registry.retrieval.filters import Filters
from registry.retrieval.ranking import Calibration
from registry.text.cached_encoder import load_cached_text_encoder

Language = Literal["en", "zh"]
# Of adapters; where it is both, every other one is written of in Chinese.
Written = Literal["en", "zh", "both"]
Quality = Literal["full", "uncaptioned", "removed", "misleading"]
Setup = Literal["full", "uncaptioned", "sparse"]
# What is known of every fourth adapter, the next one, and so on.
SETUPS: dict[Setup, tuple[Quality, Quality, Quality, Quality]] = {
    "full": ("full",) * 4,
    "uncaptioned": ("uncaptioned", "uncaptioned", "full", "full"),
    "sparse": ("removed", "misleading", "full", "full"),
}

# (language of captions and words, of questions)
LANGUAGES: tuple[tuple[Language, Language], ...] = (("en", "en"), ("zh", "zh"), ("en", "zh"))
FILTERS = Filters((BASE_MODEL,))
DAY = datetime(2025, 1, 1, tzinfo=UTC)
ENCODER = "benchmarked"


@dataclass(frozen=True)
class World:
    """Concepts whose adapters are indexed, with their weight embeddings; lists in parallel."""

    concepts: Sequence[Concept]
    embeddings: Floats
    encoder: ServingEncoder
    text_encoder: TextEncoder

    def of(self, wanted: Sequence[int]) -> "World":
        """The same with only some of the adapters."""
        chosen = [self.concepts[i] for i in wanted]
        return replace(self, concepts=chosen, embeddings=self.embeddings[list(wanted)])


def load_world(split: str, checkpoint: Path, folder: Path = BUILD / "zoo") -> World:
    """Read and embed the adapters of a split."""
    concepts = {concept.key: concept for concept in plan().concepts}
    entries = json.loads((folder / "listing.json").read_text())
    own = [entry for entry in entries if entry["_split"] == split]
    loaded: WeightEncoder = load_encoder(checkpoint)
    embeddings = loaded.encode([sketch(read(folder / entry["file"])) for entry in own])
    return World(
        concepts=[concepts[entry["_key"]] for entry in own],
        embeddings=embeddings,
        encoder=ServingEncoder(ENCODER, loaded),
        text_encoder=load_cached_text_encoder(loaded.text_encoder),
    )


@contextmanager
def open_index() -> Iterator[sessionmaker[Session]]:
    """A database of its own that vanishes afterwards."""
    # Not below pytest's or a user's folders: PostgreSQL may be another user's process.
    with TemporaryDirectory(prefix="autolora-benchmark-") as folder:
        Path(folder).chmod(0o755)
        options = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        with EmbeddedPostgres(Path(folder) / "database" / "postgres", options) as server:
            engine = connect(server.url())
            migrate(engine)
            yield sessionmaker(engine, expire_on_commit=False)
            engine.dispose()


def qualities(count: int, setup: Setup, seed: int) -> list[Quality]:
    """What is known of every adapter; which ones lack it is drawn."""
    found = [SETUPS[setup][place % 4] for place in range(count)]
    random.Random(seed).shuffle(found)
    return found


def describe(
    concepts: Sequence[Concept],
    known: Sequence[Quality],
    language: Written,
    hidden: Sequence[int],
    seed: int = 0,
) -> list[AdapterRecord]:
    """Return what a hub says of each concept's adapter.

    `hidden` is the caption (0 short, 1 medium, 2 long) of each that its covers do not show: it
    is for asking. A misleading adapter has all its words, captions included, from another
    one of them.
    """
    rng = random.Random(f"search/{seed}")
    records = []
    facts = zip(concepts, known, hidden, strict=True)
    for number, (concept, quality, place) in enumerate(facts):
        kept = [other for other in range(3) if other != place]
        other = rng.choice([c for c in concepts if c.key != concept.key])
        about = other if quality == "misleading" else concept
        own: Language = ("en", "zh")[number % 2] if language == "both" else language
        records.append(_record(rng, number, about, quality, own, kept))
    return records


def captions_of(
    concepts: Sequence[Concept], language: Language, places: Sequence[int]
) -> list[str]:
    """Return one caption of each concept: that at its place (0 short, 1 medium, 2 long)."""
    captions = [c.captions_zh if language == "zh" else c.captions for c in concepts]
    return [own[place] for own, place in zip(captions, places, strict=True)]


def fill(
    sessions: sessionmaker[Session],
    world: World,
    known: Sequence[Quality],
    language: Written,
    hidden: Sequence[int],
    seed: int = 0,
    *,
    active: bool = True,
) -> list[int]:
    """Index the world's adapters anew, as `describe` has them; return their ids.

    Its encoder is `active` in the index or not.
    """
    records = describe(world.concepts, known, language, hidden, seed)
    ids = fill_words(sessions, records)
    with sessions.begin() as session:
        session.add(
            Encoder(
                name=ENCODER,
                base_model=BASE_MODEL,
                text_encoder=world.text_encoder.name,
                sketch_version="benchmark",
                checkpoint_sha256=ENCODER,
                metrics={},
                active=active,
            )
        )
        session.flush()
        _insert_embeddings(session, world, records)
        session.flush()
        _tell(session, world.text_encoder, ids)
        # Without statistics PostgreSQL plans for tables of any size.
        session.execute(text("ANALYZE"))
    return ids


def fill_words(sessions: sessionmaker[Session], records: Sequence[AdapterRecord]) -> list[int]:
    """Index what is written of adapters, nothing else; return their ids, 1 and up in order."""
    hashes = _hashes(records)
    verdict = {"fusable": True, "loadable": True}
    with sessions.begin() as session:
        tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
        session.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        session.execute(
            insert(File),
            [
                {"sha256": own, "size": 1, "base_model": BASE_MODEL, "verdict": verdict}
                for own in hashes
            ],
        )
        rows = [
            {
                **settle(record, None),
                "id": number,
                "hub": record.hub,
                "endpoint": "https://example.org",
                "repo": record.repo,
                "version": record.version,
                "file_name": record.file.name,
                "file_sha256": own,
                "state": "ready",
            }
            for number, (record, own) in enumerate(zip(records, hashes, strict=True), start=1)
        ]
        session.execute(insert(Adapter), rows)
        session.execute(text("ANALYZE"))
    return [row["id"] for row in rows]


def _hashes(records: Sequence[AdapterRecord]) -> list[str]:
    return [f"{number:064x}" for number in range(len(records))]


def calibrated(sessions: sessionmaker[Session], world: World) -> Calibration:
    """What similarities mean in the index as it is filled, as a promotion measures it."""
    with sessions() as session:
        return calibrate(session, session.get_one(Encoder, 1), world.encoder.loaded)


def as_served(sessions: sessionmaker[Session], world: World) -> World:
    """The world with its encoder calibrated on the index, as a promotion does it."""
    return replace(world, encoder=replace(world.encoder, calibration=calibrated(sessions, world)))


def _tell(session: Session, text_encoder: TextEncoder, ids: Sequence[int]) -> None:
    """Embed what is said of adapters, as the step of a refresh does."""
    said = list_to_describe(session, text_encoder.name, ids)
    if said:
        embeddings = text_encoder.encode([one.text for one in said]).tolist()
        store_descriptions(session, text_encoder.name, said, embeddings)


def _insert_embeddings(session: Session, world: World, records: Sequence[AdapterRecord]) -> None:
    session.execute(
        insert(WeightEmbedding),
        [
            {"file_sha256": own, "encoder_id": 1, "embedding": row.tolist()}
            for own, row in zip(_hashes(records), world.embeddings, strict=True)
        ],
    )
    prompts = [
        (number + 1, place, cover.prompt)
        for number, record in enumerate(records)
        for place, cover in enumerate(record.covers)
    ]
    if not prompts:
        return
    picture = {"sha256": "", "thumbnail_sha256": "", "width": 1, "height": 1, "phash": 0}
    session.execute(
        insert(Cover),
        [
            {"id": n, "adapter_id": own, "position": place, "prompt": prompt, **picture}
            for n, (own, place, prompt) in enumerate(prompts, start=1)
        ],
    )
    session.execute(
        insert(Caption),
        [
            {"cover_id": n, "text": prompt, "source": "hub"}
            for n, (_, _, prompt) in enumerate(prompts, start=1)
        ],
    )
    distinct = {
        row.text_md5: row.text for row in session.execute(select(Caption.text_md5, Caption.text))
    }
    embeddings = world.text_encoder.encode(list(distinct.values()))
    session.execute(
        insert(CaptionEmbedding),
        [
            {"text_md5": md5, "text_encoder": world.text_encoder.name, "embedding": row.tolist()}
            for md5, row in zip(distinct, embeddings, strict=True)
        ],
    )


def _record(
    rng: random.Random,
    number: int,
    about: Concept,
    quality: Quality,
    language: Language,
    kept: Sequence[int],
) -> AdapterRecord:
    """What a hub lists; `removed` adapters say nothing of what they do."""
    captions = about.captions_zh if language == "zh" else about.captions
    chinese = language == "zh"
    subject = about.subject_zh if chinese else about.subject
    words: dict[str, Any] = {
        "name": subject if chinese else f"{subject.title()} LoRA",
        "description": f"用来画{subject}，建议权重为 1。" if chinese else f"Draws {subject}.",
        "trigger_words": (subject if chinese else about.trigger,),
        "tags": ("lora", subject) if chinese else ("lora", *re.findall(r"[a-z]{3,}", subject)[:3]),
    }
    shown = () if quality in ("removed", "uncaptioned") else kept
    if quality == "removed":
        name = rng.choice(OPAQUE_NAMES).format(number)
        words = {"name": name, "trigger_words": (), "tags": ("lora",)}
        words["description"] = rng.choice(CHATTER)
    return AdapterRecord(
        hub="zoo",
        repo=f"someone/{number:04d}",
        version="",
        author=AUTHORS[number % len(AUTHORS)],
        base_model_words=(BASE_MODEL,),
        licence=None,
        mature=None,
        downloads=0,
        created_at=DAY,
        updated_at=DAY,
        page_url="https://example.org",
        file=FileRecord(f"loras/{number:04d}.safetensors", None, None),
        covers=tuple(CoverRecord(f"https://example.org/{n}", captions[n]) for n in shown),
        **words,
    )
