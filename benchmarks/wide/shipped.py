"""Measure the shipped encoder on adapters of art that nothing shipped has seen, voice by voice."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.results import RESULTS, write_results
from benchmarks.retrieval.zoo import Space
from benchmarks.wide.asking import Encoded, in_one, in_parts
from benchmarks.wide.tables import describe, encoders_table
from benchmarks.wide.zoo import Outside
from demo.paths import DATA, WIDE
from encoder.training.train import sketch_files
from encoder.weight_encoders.checkpoint import load_encoder
from encoder.weight_encoders.ridge import RidgeEncoder

# By what they are called in tables: of the demo's concepts, looks and effects are the first kind,
# sorts of things the second, and names the third.
VOICES = {"concepts": "concepts", "names": "concepts 2", "looks": "looks"}


def shipped_spaces(outside: Outside, checkpoint: Path) -> Iterator[tuple[str, Encoded]]:
    """Yield what each voice of the shipped encoder says by itself, and all of it."""
    encoder = load_encoder(checkpoint)
    assert isinstance(encoder, RidgeEncoder)
    sketches = sketch_files(outside.paths)
    alone = replace(encoder, known=None)
    yield "the ridge alone", in_one(Space(alone.encode(sketches), alone.encode_query))
    voices = encoder.voices(sketches)
    for name, voice in VOICES.items():
        yield f"{name} alone", in_one(Space(voices[voice], encoder.text.project))
    embeddings = encoder.encode(sketches)
    yield "all, asked in one", in_one(Space(embeddings, encoder.encode_query))
    yield "as shipped", in_parts(embeddings, encoder)


def arguments_of(description: str) -> argparse.ArgumentParser:
    """Return a parser of what says which adapters an encoder is measured on."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--zoo", type=Path, default=WIDE)
    parser.add_argument("--split", default="held-out", choices=("validation", "held-out"))
    parser.add_argument("--first-group", type=int, default=0, help="leave out those before")
    return parser


def main() -> None:
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, default=DATA / "encoder.safetensors")
    parser.add_argument("--output", type=Path, default=RESULTS / "wide_shipped.json")
    options = parser.parse_args()
    outside = Outside.load(options.zoo, options.split, options.first_group)
    spaces = shipped_spaces(outside, options.encoder)
    encoders = [{"name": name, **describe(outside, own)} for name, own in spaces]
    results = {"split": options.split, "encoders": encoders}
    write_results(options.output, results, encoders_table(encoders))


if __name__ == "__main__":
    main()
