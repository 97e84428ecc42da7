"""Measure what words alone allow: adapters embedded as their own true captions.

`python -m demo.world.art` makes the art; no adapter is trained. An encoder that told of every
adapter exactly what its captions say would find so much, and words lose the rest. Questions are
compared as the shipped encoder does, plainly, and in spaces learned from the wide world's training
captions, without and with ways of saying the same look (`demo/world/said.py`).
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import RESULTS, write_results
from benchmarks.retrieval.zoo import Space
from benchmarks.tables import table
from benchmarks.wide.asking import in_one
from benchmarks.wide.figures import gallery_places, reciprocal
from benchmarks.wide.otherwise import Otherwise
from demo.paths import DATA
from demo.world.concepts import KINDS, Concept, Planner, split_of
from demo.world.sources import Split
from demo.world.splits import is_stranger
from demo.world.ways_to_say import ways_to_say
from encoder.arrays import Floats
from encoder.text_encoder import TextEncoder, load_text_encoder, normalise
from encoder.training.train import encode_captions
from encoder.weight_encoders.checkpoint import load_encoder
from encoder.weight_encoders.text_space import TextSpace

# How often ways of saying the same are counted, beside the captions of some 1,500 adapters.
COUNTED = 10

Project = Callable[[Floats], Floats]


def concepts_of(split: Split, groups: int) -> list[Concept]:
    planner = Planner.load(split)
    numbers = [number for number in range(groups) if split_of(number) == split]
    every = [concept for number in numbers for concept in planner.group(number)[1]]
    return [concept for concept in every if is_stranger(concept.sources)]


def captions_of(concepts: Sequence[Concept], text_encoder: TextEncoder) -> Floats:
    """Embed what is said of adapters, (n, captions, dim)."""
    said = [[*concept.told.captions, *concept.told.captions_zh] for concept in concepts]
    return np.stack(encode_captions(said, text_encoder))


def spaces(groups: int, text_encoder: TextEncoder) -> Iterator[tuple[str, Project]]:
    yield "plainly", lambda embeddings: embeddings
    yield "as shipped", load_encoder(DATA / "encoder.safetensors").encode_query
    captions = list(captions_of(concepts_of("train", groups), text_encoder))
    yield "by training captions", TextSpace.fit(captions).project
    said = encode_captions(ways_to_say(), text_encoder)
    yield "and ways of saying the same", TextSpace.fit([*captions, *said * COUNTED]).project


def found_by(project: Project, concepts: Sequence[Concept], captions: Floats) -> dict[str, float]:
    """Return the MRR in galleries of 60, of all, by kind and of another writer's questions."""
    embeddings = normalise(np.stack([project(own) for own in captions]).mean(axis=1))
    keys = [concept.key for concept in concepts]
    kinds = np.array([concept.kind for concept in concepts])
    encoded = in_one(Space(embeddings, project))
    questions = (
        [concept.told.question for concept in concepts],
        [concept.told.question_zh for concept in concepts],
    )
    values = np.mean(
        [reciprocal(gallery_places(encoded.ask(texts), embeddings, keys)) for texts in questions],
        axis=0,
    )
    rows = [{"kind": concept.kind, "key": concept.key} for concept in concepts]
    otherwise = Otherwise.of(rows)
    others, of = otherwise.found(encoded, keys), kinds[otherwise.members]
    return {
        "all": float(values.mean()),
        **{kind: float(values[kinds == kind].mean()) for kind in KINDS},
        **{
            f"{kind}, asked by another writer": float(others[of == kind].mean())
            for kind in ("style", "effect")
        },
    }


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    head = ["of them", *(row["name"] for row in rows)]
    lines = [[name, *(f"{row['mrr'][name]:.3f}" for row in rows)] for name in rows[0]["mrr"]]
    return table(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--groups", type=int, default=60)
    parser.add_argument("--output", type=Path, default=RESULTS / "wide_words.json")
    options = parser.parse_args()
    text_encoder = load_text_encoder()
    concepts = concepts_of(options.split, options.groups)
    captions = captions_of(concepts, text_encoder)
    rows = [
        {"name": name, "mrr": found_by(project, concepts, captions)}
        for name, project in spaces(options.groups, text_encoder)
    ]
    write_results(options.output, rows, to_markdown(rows))


if __name__ == "__main__":
    main()
