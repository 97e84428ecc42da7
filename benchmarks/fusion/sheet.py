"""Draw held-out pairs as people would see them: both adapters added up, averaged and gated.

Loss says little of what a person recognises, so a person has to look. `--blind` puts the ways
of fusing of every pair in a random order and writes the order apart, for judging without
knowing; without it the sheet is labelled. Pairs are drawn, not chosen: an object with a style,
a colour, a texture or a background in turn. With `--beside 1` a third adapter is loaded that
the prompt does not name.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks.results import RESULTS
from demo.concepts import Concept, plan
from demo.listing import BASE_MODEL
from demo.paths import BUILD, DATA
from encoder.adapter.lora_file import LoraWeights, read
from encoder.arrays import Floats
from encoder.sketches.sketch import sketch
from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.weight_encoders.checkpoint import WeightEncoder, load_encoder
from registry.fusion.backends.pipeline import PipelineBackend, load_backend
from registry.fusion.fused_image import FusedImage
from registry.fusion.gates.file import load_gates
from registry.fusion.generate import generate
from registry.fusion.loaded_adapter import LoadedAdapter
from registry.fusion.options import Drawing, GuideFrom, Mode
from registry.fusion.sheets import draw_rows
from registry.text.prompt_phrases import texts_of

KINDS = ("style", "colour", "texture", "background")
# A mode, and what guidance leads away from.
Way = tuple[Mode, GuideFrom]
SHIPPED: Way = ("gated", "base")
# What sheets show: diffusers' sum, the same with adapters resting, the average, what is shipped.
WAYS: dict[str, Way] = {
    "sum": ("sum", "fused"),
    "sum, resting": ("sum", "base"),
    "average": ("average", "fused"),
    "gated": SHIPPED,
}
TILE = 96


@dataclass(frozen=True)
class Pair:
    """Two adapters that a prompt names, that prompt, and others that it does not name."""

    adapters: tuple[Concept, Concept]
    prompt: str
    beside: tuple[Concept, ...] = ()


class Painter:
    """Draws with adapters of the zoo, as `registry.fuse` does."""

    def __init__(self, zoo: Path, encoder: Path, gates: Path) -> None:
        text_encoder: TextEncoder = load_text_encoder()
        self.backend: PipelineBackend = load_backend(DATA / "base", BASE_MODEL, text_encoder)
        self.gates = load_gates(gates, BASE_MODEL)
        self._encoder: WeightEncoder = load_encoder(encoder)
        self._text_encoder = text_encoder
        entries = json.loads((zoo / "listing.json").read_text())
        self._files = {entry["_key"]: zoo / entry["file"] for entry in entries}
        self._loaded: dict[str, tuple[LoraWeights, Floats]] = {}

    def draw(self, prompt: str, concepts: tuple[Concept, ...], way: Way, seed: int) -> Image.Image:
        adapters = [self.load(concept, prompt) for concept in concepts]
        mode, guide_from = way
        drawing = Drawing(seed=seed, mode=mode, guide_from=guide_from, check=False)
        return generate(prompt, adapters, self.backend, self.gates, drawing).image

    def fuse(
        self,
        prompt: str,
        concepts: tuple[Concept, ...],
        mode: Mode,
        seed: int,
        *,
        check: bool = False,
    ) -> FusedImage:
        return self.fuse_loaded(
            prompt, [self.load(concept, prompt) for concept in concepts], mode, seed, check=check
        )

    def fuse_loaded(
        self,
        prompt: str,
        adapters: Sequence[LoadedAdapter],
        mode: Mode,
        seed: int,
        *,
        check: bool = False,
    ) -> FusedImage:
        drawing = Drawing(seed=seed, mode=mode, check=check)
        return generate(prompt, adapters, self.backend, self.gates, drawing)

    def load(self, concept: Concept, prompt: str) -> LoadedAdapter:
        if concept.key not in self._loaded:
            read_once = read(self._files[concept.key])
            self._loaded[concept.key] = read_once, self._encoder.encode([sketch(read_once)])[0]
        weights, embedding = self._loaded[concept.key]
        queries = self._encoder.encode_query(self._text_encoder.encode(texts_of(prompt)))
        return LoadedAdapter(
            concept.key,
            self._files[concept.key].name,
            weights,
            similarities=(queries @ embedding).tolist(),
            embedding=embedding.tolist(),
        )


def draw_pairs(
    split: str, count: int, seed: int, beside: int = 0, *, once: bool = True
) -> list[Pair]:
    """Draw pairs of a split: an object, and one of another kind, each adapter `once` or often.

    Those `beside` them are any others.
    """
    rng = random.Random(seed)
    concepts = [concept for concept in plan().concepts if concept.split == split]
    of_kind = {
        kind: [concept for concept in concepts if concept.kind == kind]
        for kind in ("object", *KINDS)
    }
    if once:
        for queue in of_kind.values():
            rng.shuffle(queue)

    def take(kind: str) -> Concept:
        return of_kind[kind].pop() if once else rng.choice(of_kind[kind])

    pairs = []
    for number in range(count):
        thing, look = take("object"), take(KINDS[number % len(KINDS)])
        others = [concept for concept in concepts if concept not in (thing, look)]
        prompt = f"{thing.subject}, {look.trigger}"
        pairs.append(Pair((thing, look), prompt, tuple(rng.sample(others, beside))))
    return pairs


def rows_of(
    painter: Painter, pairs: list[Pair], seed: int, blind: random.Random | None
) -> Iterator[tuple[str, list[tuple[str, Image.Image]], list[str]]]:
    """Yield each pair's title, labelled pictures, and the order of its fused ones."""
    for number, pair in enumerate(track(pairs, "Pairs", console=Console(stderr=True)), start=1):
        order = list(WAYS)
        if blind is not None:
            blind.shuffle(order)
        pictures = [("base alone", painter.draw(pair.prompt, (), ("base", "base"), seed))]
        pictures += [
            (concept.kind, painter.draw(pair.prompt, (concept,), SHIPPED, seed))
            for concept in pair.adapters
        ]
        labels = [name if blind is None else str(k) for k, name in enumerate(order, start=1)]
        loaded = (*pair.adapters, *pair.beside)
        pictures += [
            (label, painter.draw(pair.prompt, loaded, WAYS[name], seed))
            for label, name in zip(labels, order, strict=True)
        ]
        beside = "".join(f" (beside: {concept.trigger})" for concept in pair.beside)
        yield f"{number}. {pair.prompt}{beside}", pictures, order


def parser_for_painting(doc: str) -> argparse.ArgumentParser:
    """Return a parser that asks for what a painter needs, and for a split."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--encoder", type=Path, default=BUILD / "encoder.safetensors")
    parser.add_argument("--gates", type=Path, default=BUILD / "gates.safetensors")
    parser.add_argument("--split", default="held-out", choices=("held-out", "validation"))
    return parser


def main() -> None:
    parser = parser_for_painting(__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="leave out so many pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--beside", type=int, default=0, help="adapters that nobody asks for")
    parser.add_argument("--blind", action="store_true", help="shuffle, and write the order apart")
    parser.add_argument("--output", type=Path, default=RESULTS / "fusion-sheet.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    painter = Painter(options.zoo, options.encoder, options.gates)
    pairs = draw_pairs(options.split, options.pairs, options.seed, options.beside)
    pairs = pairs[options.first :]
    blind = random.Random(options.seed) if options.blind else None
    rows = list(rows_of(painter, pairs, options.seed, blind))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw_rows([(title, pictures) for title, pictures, _ in rows], TILE).save(options.output)
    if options.blind:
        orders = {title: order for title, _, order in rows}
        options.output.with_suffix(".json").write_text(json.dumps(orders, indent=1) + "\n")


if __name__ == "__main__":
    main()
