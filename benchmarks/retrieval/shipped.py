"""Measure the shipped encoder on the held-out adapters that ship: no zoo has to be made first.

`python -m benchmarks.retrieval.shipped`; its ridge without concepts and looks stands beside it.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, write_results
from benchmarks.retrieval.zoo import SMALL_GALLERY, Space, Zoo, measure
from benchmarks.tables import table, with_interval
from demo.paths import DATA
from encoder.training.train import sketch_files
from encoder.weight_encoders.checkpoint import load_encoder
from encoder.weight_encoders.ridge import RidgeEncoder


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    languages = {"English": "english, own", "Chinese": "chinese, own"}
    head = [
        "encoder", "asked in", "R@1", "R@5", "R@10", "nDCG@10", "MRR", f"MRR of {SMALL_GALLERY}",
    ]  # fmt: skip
    ranks = ("recall_at_1", "recall_at_5", "recall_at_10", "ndcg_at_10")
    lines = [
        [
            row["encoder"],
            language,
            *(f"{100 * row[own][name][0]:.1f}" for name in ranks),
            with_interval(row[own]["mrr"]),
            f"{row[own][f'mrr_of_{SMALL_GALLERY}']:.3f}",
        ]
        for row in rows
        for language, own in languages.items()
    ]
    return table(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=DATA / "zoo")
    parser.add_argument("--encoder", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--output", type=Path, default=RESULTS / "retrieval_shipped.json")
    options = parser.parse_args()
    zoo, encoder = Zoo.load(options.zoo), load_encoder(options.encoder)
    assert isinstance(encoder, RidgeEncoder)
    sketches = sketch_files(zoo.paths)
    encoders = {
        "its ridge alone": replace(encoder, known=None),
        "as shipped": encoder,
    }
    rows = [
        {"encoder": name, **measure(zoo, Space(own.encode(sketches), own.encode_query), "held-out")}
        for name, own in encoders.items()
    ]
    write_results(options.output, rows, to_markdown(rows))


if __name__ == "__main__":
    main()
