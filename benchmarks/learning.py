"""Measure what an index without an encoder teaches itself: MRR by captioned adapters, and time.

Each index is a database of its own with the sketches and captions of some of the zoo's adapters,
each by an author of its own; `Registry.learn`'s own code trains, judges, and promotes or refuses.
`--synthetic N` times it instead on N random sketches of a large family.
"""

import argparse
import hashlib
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import numpy as np
from sqlalchemy import func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.results import DOCS, RESULTS, write_results
from benchmarks.search.world import DAY, open_index
from benchmarks.tables import signed, table, with_interval
from demo.paths import DATA
from encoder.base_models.families import find_family
from encoder.sketches.sketch import Sketch, default_layout
from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.training.progress import silent
from encoder.training.train import sketch_files
from registry.blobs import BlobStore
from registry.db.encoder_models import Sketch as StoredSketch
from registry.db.models import Adapter, Caption, CaptionEmbedding, Cover, File
from registry.refresh import learn
from registry.refresh.learn import Learner, Lesson

mpl.use("Agg")

COUNTS = (40, 80, 120, 160, 240, 320, 480, 640, 960)
# Made-up sketches held in memory at once.
PAGE = 250
TOPICS = ("ink", "neon", "clay", "wool", "cat", "fox", "castle", "tree", "moon", "ship", "gold")
Captions = Sequence[Sequence[str]]


def clear(sessions: sessionmaker[Session]) -> None:
    """Remove all but encoders."""
    with sessions.begin() as session:
        session.execute(
            text("TRUNCATE files, adapters, captions, caption_embeddings RESTART IDENTITY CASCADE")
        )


def add(
    sessions: sessionmaker[Session],
    sketches: Sequence[Sketch],
    captions: Captions,
    encoder: TextEncoder,
) -> None:
    """Index sketches and captions, each adapter by an author of its own."""
    family = sketches[0].family
    with sessions.begin() as session:
        first = (session.scalar(select(func.max(Adapter.id))) or 0) + 1
        numbers = range(first, first + len(sketches))
        hashes = [f"{number:064x}" for number in numbers]
        session.execute(
            insert(File), [{"sha256": own, "size": 1, "base_model": family} for own in hashes]
        )
        session.execute(
            insert(StoredSketch),
            [
                {"file_sha256": own, "version": made.version, "data": made.to_bytes()}
                for own, made in zip(hashes, sketches, strict=True)
            ],
        )
        session.execute(
            insert(Adapter),
            [listed(n, family, own) for n, own in zip(numbers, hashes, strict=True)],
        )
        picture = {"sha256": "", "thumbnail_sha256": "", "width": 1, "height": 1, "phash": 0}
        session.execute(
            insert(Cover), [{"id": n, "adapter_id": n, "position": 0, **picture} for n in numbers]
        )
        said = [(n, one) for n, own in zip(numbers, captions, strict=True) for one in own]
        session.execute(
            insert(Caption), [{"cover_id": n, "text": one, "source": "hub"} for n, one in said]
        )
        distinct = sorted({one for _, one in said})
        rows = [
            {
                "text_md5": hashlib.md5(one.encode(), usedforsecurity=False).hexdigest(),
                "text_encoder": encoder.name,
                "embedding": row.tolist(),
            }
            for one, row in zip(distinct, encoder.encode(distinct), strict=True)
        ]
        session.execute(upsert(CaptionEmbedding).on_conflict_do_nothing(), rows)


def listed(number: int, base_model: str, sha256: str) -> dict[str, Any]:
    return {
        "id": number,
        "hub": "zoo",
        "endpoint": "",
        "repo": f"author-{number}/adapter",
        "version": "",
        "file_name": "adapter.safetensors",
        "name": f"adapter {number}",
        "author": f"author {number}",
        "description": "",
        "trigger_words": [],
        "tags": [],
        "base_model": base_model,
        "downloads": 0,
        "hub_created_at": DAY,
        "hub_updated_at": DAY,
        "page_url": "",
        "state": "ready",
        "file_sha256": sha256,
    }


def teach(
    sessions: sessionmaker[Session], encoder: TextEncoder, base_model: str, folder: Path
) -> Lesson:
    learner = Learner(sessions, BlobStore(folder / "blobs"), encoder, folder)
    return learner.learn(base_model, silent)


def curve(
    zoo: Sequence[Sketch], captions: Captions, encoder: TextEncoder, seeds: int
) -> list[dict[str, Any]]:
    """Learn from more and more of the zoo; return what each index taught itself."""
    rows = []
    for count in (*(c for c in COUNTS if c < len(zoo)), len(zoo)):
        for seed in range(seeds if count < len(zoo) else 1):
            drawn = np.random.default_rng(seed).permutation(len(zoo))[:count]
            with open_index() as sessions, TemporaryDirectory() as folder:
                add(sessions, [zoo[i] for i in drawn], [captions[i] for i in drawn], encoder)
                lesson = teach(sessions, encoder, zoo[0].family, Path(folder))
                rows.append(row_of(count, lesson))
            print(rows[-1], flush=True)
    return rows


def promotions(
    zoo: Sequence[Sketch], captions: Captions, encoder: TextEncoder
) -> list[dict[str, Any]]:
    """Learn from a half of the zoo, then from all of it, then from a third: what serves?"""
    rows = []
    with open_index() as sessions, TemporaryDirectory() as folder:
        for count in (len(zoo) // 2, len(zoo), len(zoo) // 3):
            clear(sessions)
            add(sessions, zoo[:count], captions[:count], encoder)
            rows.append(row_of(count, teach(sessions, encoder, zoo[0].family, Path(folder))))
            print(rows[-1], flush=True)
    return rows


def row_of(count: int, lesson: Lesson) -> dict[str, Any]:
    mrr, gain = lesson.mrr, lesson.gain
    return {
        "captioned": count,
        "trained_on": lesson.trained_on,
        "held_back": lesson.held_back,
        "mrr": [mrr.mean, mrr.low, mrr.high],
        "gain": None if gain is None else [gain.mean, gain.low, gain.high],
        "promoted": lesson.encoder is not None,
        "outcome": lesson.outcome,
        "seconds": lesson.seconds,
    }


def large(count: int, base_model: str, encoder: TextEncoder) -> dict[str, Any]:
    """Time learning from made-up sketches of a large family, each a mixture of a few topics."""
    family = find_family(base_model)
    assert family is not None
    layout, rng = default_layout(family), np.random.default_rng(0)
    shape = (len(TOPICS), int(layout.sizes.sum()))
    topics = rng.standard_normal(shape, dtype=np.float32) / 50
    layers = len(layout.shapes)
    with open_index() as sessions, TemporaryDirectory() as folder:
        for start in range(0, count, PAGE):
            sketches, captions = [], []
            for _ in range(min(PAGE, count - start)):
                chosen = rng.choice(len(TOPICS), 3, replace=False)
                noise = rng.standard_normal(shape[1], dtype=np.float32) / 50
                values = (topics[chosen].sum(axis=0) + noise).astype(np.float16)
                present = np.ones(layers, np.bool_)
                strengths = np.zeros(layers, np.float32)
                sketches.append(Sketch(layout, family.name, values, strengths, present))
                captions.append([" and ".join(TOPICS[i] for i in chosen)])
            add(sessions, sketches, captions, encoder)
        started, cpu = time.monotonic(), time.process_time()
        lesson = teach(sessions, encoder, family.name, Path(folder))
        return {
            **row_of(count, lesson),
            "base_model": family.name,
            "values": shape[1],
            "seconds": time.monotonic() - started,
            "cpu_seconds": time.process_time() - cpu,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        }


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    counts = sorted({row["captioned"] for row in rows})
    each = [[row["mrr"][0] for row in rows if row["captioned"] == count] for count in counts]
    axes.plot(counts, [np.mean(values) for values in each], "o-")
    for count, values in zip(counts, each, strict=True):
        axes.plot([count] * len(values), values, ".", color="gray")
    axes.set(
        xscale="log", xlabel="captioned adapters in the index", ylabel="MRR, authors held back"
    )
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def to_markdown(results: dict[str, Any]) -> str:
    parts = []
    if "curve" in results:
        parts.append("![MRR by captioned adapters](../images/learning.png)\n")
        for key in ("curve", "promotions"):
            head = ["captioned", "trained on", "held back", "MRR", "gain", "serves", "seconds"]
            parts.append(table(head, map(to_row, results[key])))
    if "large" in results:
        row = results["large"]
        parts.append(
            f"{row['captioned']} made-up sketches of {row['base_model']}, {row['values']:,} values "
            f"each: {row['seconds']:.0f} s, {row['cpu_seconds']:.0f} CPU s, "
            f"{row['peak_gb']:.1f} GB at most.\n"
        )
    return "\n".join(parts)


def to_row(row: dict[str, Any]) -> list[str]:
    return [
        str(row["captioned"]),
        str(row["trained_on"]),
        str(row["held_back"]),
        with_interval(row["mrr"]),
        "-" if row["gain"] is None else signed(row["gain"]),
        "yes" if row["promoted"] else "no",
        f"{row['seconds']:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=DATA / "zoo", help="A folder with listing.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--synthetic", type=int, help="Time learning from so many made-up sketches")
    parser.add_argument("--base-model", default="flux.1", help="Of made-up sketches")
    parser.add_argument("--output", type=Path, default=RESULTS / "learning.json")
    options = parser.parse_args()
    encoder = load_text_encoder()
    # How few are enough is what is measured.
    learn.FEWEST_ADAPTERS, learn.FEWEST_HELD_BACK = 10, 2
    learn.FEWEST_AUTHORS_HELD_BACK = 2
    if options.synthetic:
        results: dict[str, Any] = {"large": large(options.synthetic, options.base_model, encoder)}
    else:
        entries = json.loads((options.zoo / "listing.json").read_text())
        zoo = sketch_files([options.zoo / entry["file"] for entry in entries])
        captions = [entry["_captions"] for entry in entries]
        results = {
            "curve": curve(zoo, captions, encoder, options.seeds),
            "promotions": promotions(zoo, captions, encoder),
        }
        draw(results["curve"], DOCS / "images" / "learning.png")
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
