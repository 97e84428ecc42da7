"""A gallery -> a fresh PostgreSQL, by COPY, and its largest indexes built after."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from rich.progress import track
from sqlalchemy import Connection, Engine, insert, text

from benchmarks.scale.gallery import (
    BATCH,
    Batch,
    Gallery,
    as_stored,
    author_name,
    caption_of,
    file_hash,
)
from encoder.arrays import Floats
from registry.db.embedded import EmbeddedPostgres
from registry.db.encoder_models import Encoder
from registry.db.migrate import migrate
from registry.db.models import EMBEDDING_DIM
from registry.db.session import connect

ENCODER, TEXT_ENCODER = "scale", "scale-texts"
ENCODER_ID = 1
DAY = datetime(2026, 1, 1, tzinfo=UTC)
# What PostgreSQL is given of a machine with 16 GB and more; everything else is its default.
SERVER = {
    "shared_buffers": "4GB",
    "maintenance_work_mem": "2500MB",
    "max_parallel_maintenance_workers": "1",
    "max_wal_size": "8GB",
}
COLUMNS = {
    "files": "sha256, size, base_model, verdict, read_at, reader_version, body_sha256, log_norm",
    "adapters": (
        "id, hub, endpoint, repo, version, file_name, name, author, description, trigger_words, "
        "tags, base_model, licence, downloads, hub_created_at, hub_updated_at, page_url, "
        "file_sha256, state, covers_done, words"
    ),
    "covers": "id, adapter_id, position, sha256, thumbnail_sha256, width, height, phash",
    "captions": "id, cover_id, text, source",
    "weight_embeddings": "file_sha256, encoder_id, embedding",
    "caption_embeddings": "text_md5, text_encoder, embedding",
}
Row = tuple[object, ...]


@contextmanager
def open_server(folder: Path) -> Iterator[Engine]:
    """Give an engine on the server whose data lies in `folder`, migrated."""
    with EmbeddedPostgres(folder / "postgres", SERVER) as server:
        engine = connect(server.url())
        try:
            migrate(engine)
            yield engine
        finally:
            engine.dispose()


def fill(engine: Engine, gallery: Gallery, adapters: int) -> dict[str, float]:
    """Load the first `adapters` of a gallery; return seconds by what took them."""
    with engine.begin() as connection:
        indexes = _drop_indexes(connection)
        connection.execute(
            insert(Encoder).values(
                id=ENCODER_ID,
                name=ENCODER,
                base_model="sdxl-1.0",
                text_encoder=TEXT_ENCODER,
                sketch_version="1",
                checkpoint_sha256="",
                metrics={},
                active=True,
            )
        )
    started = time.perf_counter()
    for number in track(range(-(-adapters // BATCH)), "Loading"):
        _load(engine, gallery.batch(number, min(BATCH, adapters - number * BATCH)))
    seconds = {"rows": time.perf_counter() - started}
    for name, definition in track(indexes.items(), "Building indexes"):
        started = time.perf_counter()
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL min_parallel_table_scan_size = 0"))
            connection.execute(text(definition))
        seconds[name] = time.perf_counter() - started
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in ("adapters", "covers", "captions", "encoders"):
            # What comes after the copied rows is numbered from there.
            sequence = f"pg_get_serial_sequence('{name}', 'id')"
            connection.execute(text(f"SELECT setval({sequence}, max(id)) FROM {name}"))
        # As autovacuum does in the hour after.
        started = time.perf_counter()
        connection.execute(text("VACUUM ANALYZE"))
        seconds["vacuum"] = time.perf_counter() - started
    return seconds


def _drop_indexes(connection: Connection) -> dict[str, str]:
    """Drop what is slow to keep while rows come, and return how each is made."""
    rows = connection.execute(
        text(
            "SELECT indexname, indexdef FROM pg_indexes JOIN pg_class ON relname = indexname "
            "JOIN pg_am ON pg_am.oid = relam "
            "WHERE schemaname = 'public' AND amname IN ('hnsw', 'gin') AND tablename <> 'files'"
        )
    ).all()
    for row in rows:
        connection.execute(text(f"DROP INDEX {row.indexname}"))
    return {row.indexname: row.indexdef for row in rows}


def _load(engine: Engine, batch: Batch) -> None:
    hashes = [file_hash(id_) for id_ in batch.ids]
    captions = [caption_of(id_) for id_ in batch.ids]
    md5 = [hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in captions]
    encoder = np.full(len(hashes), ENCODER_ID, ">i8")
    text_encoder = np.full(len(hashes), TEXT_ENCODER.encode())
    covers = (
        (id_, id_, 0, sha256, sha256, 512, 512, id_)
        for id_, sha256 in zip(batch.ids, hashes, strict=True)
    )
    sentences = ((id_, id_, said, "hub") for id_, said in zip(batch.ids, captions, strict=True))
    with engine.begin() as connection:
        # Triggers and foreign keys see to what comes one by one; here, it comes at once.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        _copy(raw, "files", _files(batch, hashes))
        _copy(raw, "adapters", _adapters(batch, hashes))
        _copy(raw, "covers", covers)
        _copy(raw, "captions", sentences)
        _copy_vectors(raw, "weight_embeddings", np.array(hashes, "S"), encoder, batch.weights)
        _copy_vectors(raw, "caption_embeddings", np.array(md5, "S"), text_encoder, batch.captions)
        ids = {"ids": list(batch.ids)}
        connection.execute(text("SELECT list_adapters(:ids)"), ids)
        connection.execute(text("SELECT list_words(:ids)"), ids)


def _files(batch: Batch, hashes: list[str]) -> Iterator[Row]:
    verdict: dict[str, Any] = {"loadable": True, "fusable": True, "reasons": []}
    facts = (batch.sizes.tolist(), batch.base_models, batch.trainers, batch.ranks.tolist())
    for sha256, size, base_model, trainer, rank in zip(hashes, *facts, strict=True):
        read = json.dumps({**verdict, "trainer": trainer, "ranks": [rank] * 3})
        yield sha256, size, base_model, read, DAY, "1", sha256[::-1], 1.0


def _adapters(batch: Batch, hashes: list[str]) -> Iterator[Row]:
    for place, (id_, sha256) in enumerate(zip(batch.ids, hashes, strict=True)):
        name, said, tags = batch.names[place], batch.descriptions[place], batch.tags[place]
        author, trigger = author_name(int(batch.authors[place])), f"trg{id_}"
        day = DAY - timedelta(days=int(batch.ages[place]))
        # As `segment_places` would leave them.
        named, others = as_stored(name), as_stored(said)
        words = f"{named} {trigger}\n{author} {author}\n{' '.join(tags)} {others}"
        yield (
            *(id_, "hub", "https://example.org", f"r{id_}", "", f"{id_}.safetensors"),
            *(name, author, said, [trigger], tags, batch.base_models[place]),
            *(batch.licences[place], int(batch.downloads[place]), day, day, ""),
            *(sha256, "ready", True, words),
        )


def _copy(connection: psycopg.Connection, table: str, rows: Iterable[Row]) -> None:
    with connection.cursor().copy(f"COPY {table} ({COLUMNS[table]}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _copy_vectors(
    connection: psycopg.Connection,
    table: str,
    keys: npt.NDArray[Any],
    others: npt.NDArray[Any],
    vectors: Floats,
) -> None:
    """Copy rows of two keys and a vector, in PostgreSQL's binary format [1] and pgvector's.

    - [1] https://www.postgresql.org/docs/18/sql-copy.html
    """
    fields = [("count", ">i2"), ("key_size", ">i4"), ("key", keys.dtype), ("other_size", ">i4")]
    fields += [("other", others.dtype), ("size", ">i4"), ("dim", ">i2"), ("unused", ">i2")]
    rows = np.zeros(len(keys), [*fields, ("vector", ">f2", (EMBEDDING_DIM,))])
    rows["count"], rows["key"], rows["other"], rows["vector"] = 3, keys, others, vectors
    rows["key_size"], rows["other_size"] = keys.dtype.itemsize, others.dtype.itemsize
    rows["size"], rows["dim"] = 4 + 2 * EMBEDDING_DIM, EMBEDDING_DIM
    header, end = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
    statement = f"COPY {table} ({COLUMNS[table]}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor().copy(statement) as copy:
        copy.write(header + rows.tobytes() + end)
