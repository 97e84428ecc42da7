"""Search in an index of up to a million made-up adapters: how long, and how much it overlooks.

A fresh embedded PostgreSQL is filled by COPY, and asked through the functions that search uses;
the texts' embeddings are there already. docs/benchmarks/scale.md has the figures.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from benchmarks.memory import memory_bytes
from benchmarks.results import DOCS, RESULTS, write_results
from benchmarks.scale.clock import Taken, measure
from benchmarks.scale.filling import ENCODER, TEXT_ENCODER, fill, open_server
from benchmarks.scale.gallery import Gallery
from benchmarks.scale.publishing import CHANGED, publish
from benchmarks.scale.questions import (
    FIRST,
    NARROWINGS,
    SPACES,
    Narrowing,
    Questions,
    draw_questions,
    exact_answers,
)
from benchmarks.scale.report import draw, to_markdown
from registry.retrieval.browsing import browse
from registry.retrieval.facets import count_facets
from registry.retrieval.hybrid import DEPTH, SearchQuery, search
from registry.retrieval.ranking import Match
from registry.retrieval.results import load_browse_page, load_results
from registry.retrieval.statements import prepare, vector
from registry.retrieval.terms import Signal
from registry.retrieval.vector import nearest_by_captions, nearest_by_weights

PICTURE = DOCS / "images" / "scale.png"
Measured = dict[str, float]


def timed(
    engine: Engine, questions: Questions, ask: Callable[[Session, int], object]
) -> list[Taken]:
    """Return what every question took, each in a snapshot of its own."""
    with engine.connect() as raw:
        connection = raw.execution_options(isolation_level="REPEATABLE READ")
        return [
            measure(connection, partial(_once, connection, ask, number))
            for number in range(len(questions.texts))
        ]


def _once(connection: Connection, ask: Callable[[Session, int], object], number: int) -> None:
    with Session(connection) as session, session.begin():
        ask(session, number)


def search_page(questions: Questions, narrowing: Narrowing, session: Session, number: int) -> None:
    query = SearchQuery(questions.texts[number], narrowing.filters)
    load_results(session, search(session, query, questions, SPACES))


def browse_page(narrowing: Narrowing, session: Session, _: int) -> None:
    load_browse_page(session, browse(session, narrowing.filters, "downloads", None, FIRST))


def facets(narrowing: Narrowing, session: Session, _: int) -> None:
    count_facets(session, narrowing.filters)


def scan_plainly(questions: Questions, session: Session, number: int) -> None:
    """Ask both vector indexes for the nearest rows, and for nothing else."""
    prepare(session)
    nearest = vector(questions.embeddings[number])
    for embeddings in ("weight_embeddings", "caption_embeddings"):
        session.execute(
            text(
                f"SELECT embedding <=> :nearest FROM {embeddings} "
                f"ORDER BY embedding <=> :nearest LIMIT {FIRST}"
            ),
            {"nearest": nearest},
        ).all()


def nearest(
    session: Session, questions: Questions, number: int, signal: Signal, narrowing: Narrowing
) -> list[Match]:
    asked = questions.embeddings[number]
    filters = narrowing.filters
    if signal == "weights":
        return nearest_by_weights(session, asked, encoder=ENCODER, filters=filters, limit=DEPTH)
    return nearest_by_captions(
        session, asked, text_encoder=TEXT_ENCODER, filters=filters, limit=DEPTH
    )


def recall(
    engine: Engine,
    questions: Questions,
    narrowing: Narrowing,
    signal: Signal,
    wanted: Sequence[set[int]],
) -> float:
    """Return the share of the truly nearest ten that are among the first ten found."""
    found = total = 0
    for number, ids in enumerate(wanted):
        with Session(engine) as session:
            matches = nearest(session, questions, number, signal, narrowing)
        found += len(ids & {match.adapter_id for match in matches[:FIRST]})
        total += len(ids)
    return found / max(total, 1)


def summary(taken: Sequence[Taken]) -> Measured:
    """Return milliseconds: on the clock, and those that a processor worked for it."""
    clock = [one.clock for one in taken]
    worked = [one.here + one.there for one in taken]
    return {
        "p50": float(np.median(clock)),
        "p99": float(np.quantile(clock, 0.99)),
        "worked_p50": float(np.median(worked)),
        "worked_p99": float(np.quantile(worked, 0.99)),
        "here_p50": float(np.median([one.here for one in taken])),
    }


def search_meanwhile(
    engine: Engine, gallery: Gallery, adapters: int, questions: Questions
) -> Measured:
    """Search while adapters are published; return seconds of that, and what searches took."""
    page = partial(search_page, questions, NARROWINGS[0])
    before = summary(timed(engine, questions, page))
    taken: list[Taken] = []
    with ThreadPoolExecutor(1) as threads:
        published = threads.submit(publish, engine, gallery, adapters)
        while not published.done():
            taken += timed(engine, questions, page)
    meanwhile = summary(taken)
    return {
        "changed": CHANGED,
        "seconds": published.result(),
        "before_p99": before["p99"],
        "meanwhile_p99": meanwhile["p99"],
    }


def index_sizes(engine: Engine) -> dict[str, int]:
    """Return bytes by index and table, those above a megabyte."""
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT relname, pg_relation_size(oid) AS bytes FROM pg_class "
                "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') "
                "AND pg_relation_size(oid) > 1e6 ORDER BY 2 DESC"
            )
        )
        return {row.relname: row.bytes for row in rows}


def run(adapters: int, count: int, seed: int, folder: Path, *, publishes: bool) -> dict[str, Any]:
    """Fill a database, or take the one in `folder`, and ask it everything."""
    gallery = Gallery(seed)
    questions = draw_questions(gallery, count)
    kept = folder / "filled.json"
    with open_server(folder) as engine:
        if not kept.exists():
            kept.write_text(json.dumps(fill(engine, gallery, adapters)))
        exact = exact_answers(gallery, adapters, questions)
        memory = memory_bytes("VmRSS")
        rows = []
        for narrowing in NARROWINGS:
            page = partial(search_page, questions, narrowing)
            # Once for the caches: what is measured is a server that has been up for a while.
            timed(engine, questions, page)
            taken = timed(engine, questions, page)
            signals: tuple[Signal, ...] = ("weights", "captions")
            rows.append(
                {
                    "share": narrowing.share,
                    **summary(taken),
                    "browse": summary(timed(engine, questions, partial(browse_page, narrowing))),
                    "facets": summary(timed(engine, questions, partial(facets, narrowing))),
                    "recall": {
                        signal: recall(
                            engine, questions, narrowing, signal, exact[narrowing.share, signal]
                        )
                        for signal in signals
                    },
                }
            )
        return {
            "adapters": adapters,
            "questions": count,
            "filled": json.loads(kept.read_text()),
            "bytes": index_sizes(engine),
            "bare": summary(timed(engine, questions, partial(scan_plainly, questions))),
            "filters": rows,
            "memory_grew": memory_bytes("VmRSS") - memory,
            "publishing": search_meanwhile(engine, gallery, adapters, questions)
            if publishes
            else None,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep",
        type=Path,
        help="keep the databases in this folder, use those that are there, and change none",
    )
    parser.add_argument("--publish", action="store_true", help="change those that are kept, too")
    parser.add_argument("--output", type=Path, default=RESULTS / "scale.json")
    options = parser.parse_args()
    results = []
    with ExitStack() as stack:
        home = options.keep or Path(stack.enter_context(TemporaryDirectory()))
        for adapters in options.adapters:
            folder = home / f"{options.seed}-{adapters}"
            folder.mkdir(parents=True, exist_ok=True)
            publishes = options.keep is None or options.publish
            results.append(
                run(adapters, options.questions, options.seed, folder, publishes=publishes)
            )
            if len(results) > 1:  # one size is no curve
                draw(results, PICTURE)
            write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
