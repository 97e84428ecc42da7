"""Search in a folder as people have it: names, tags and trigger words, no encoder.

115 adapters named, tagged and described as on Civitai, and prompts of their covers as people post
them (described.json, written by hand, as the questions are; the prompts without having seen these),
through the steps of a refresh. What is said of them is compared with a question; beside it, what
words alone find, and what is found where covers with prompts are there. Constants of
`probabilities_of_said` (registry/retrieval/fitness.py) were learned without prompts, on the first
questions and the first half of those that nothing here answers.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import save_file

from benchmarks.crawl.measures import empty_registry, finish
from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from crawler.sources.folder.source import FolderSource
from registry.refresh.pipeline import Pipeline
from registry.retrieval.cards import load_cards
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.filters import Filters
from registry.retrieval.hybrid import SearchQuery, search
from registry.retrieval.ranking import SearchHit
from registry.retrieval.terms import SIGNALS, Signal
from registry.service import Registry

FILE = Path(__file__).with_suffix(".json")
# A layer that tells each base model.
LAYERS = {
    "SD 1.5": ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k", 640, 768),
    "Flux.1 D": ("lora_unet_single_blocks_3_modulation_lin", 9216, 3072),
}
SDXL = ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 640, 2048)
DEPTH = 100
WAYS: Mapping[str, Sequence[Signal]] = {"words alone": ("words",), "as it serves": SIGNALS}
PROMPTED = "as it serves, with prompts"
PREVIEWS = (".preview.png", ".png", ".thumb.png")
MEANS = ("mrr", "english", "chinese")
Row = Mapping[str, Any]


def write_folder(folder: Path, adapters: Sequence[Row]) -> None:
    """Write a small file for each adapter, and beside it what Civitai says of it."""
    for number, adapter in enumerate(adapters):
        rng = np.random.default_rng(number)
        key, outputs, inputs = LAYERS.get(adapter["base_model"], SDXL)
        tensors = {
            f"{key}.lora_down.weight": rng.standard_normal((2, inputs)).astype(np.float16),
            f"{key}.lora_up.weight": rng.standard_normal((outputs, 2)).astype(np.float16),
        }
        save_file(tensors, folder / f"{number:03}.safetensors")
        told = {
            "id": 1000 + number,
            "modelId": 1000 + number,
            "baseModel": adapter["base_model"],
            "trainedWords": adapter["trigger_words"],
            "model": {
                "name": adapter["name"],
                "type": "LORA",
                "tags": adapter["tags"],
                "description": adapter["description"],
            },
        }
        (folder / f"{number:03}.civitai.info").write_text(json.dumps(told), encoding="utf-8")


def write_covers(folder: Path, adapters: Sequence[Row]) -> None:
    """Write three previews beside each file, of noise, with prompts as they are posted."""
    rng = np.random.default_rng(0)
    for number, adapter in enumerate(adapters):
        for suffix, prompt in zip(PREVIEWS, adapter["prompts"], strict=True):
            about = PngInfo()
            about.add_itxt("parameters", f"{prompt}\nSteps: 20, Sampler: Euler a, Seed: 1")
            noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number:03}{suffix}", pnginfo=about)


def answer(registry: Registry, text: str, signals: Sequence[Signal]) -> list[tuple[str, SearchHit]]:
    """Return names and hits, best first."""
    query = SearchQuery(text, Filters(), DEPTH, signals)
    with registry.sessions() as session:
        hits = search(session, query, registry.text_encoder, [Space(None, ())])
        cards = load_cards(session, [hit.adapter_id for hit in hits])
    return [(cards[hit.adapter_id].name, hit) for hit in hits]


def measure(registry: Registry, questions: Sequence[Row], signals: Sequence[Signal]) -> Row:
    """Return the mean reciprocal place of the first that is right, and what is said of those."""
    reciprocals, bands = list[float](), Counter[str]()
    for question in questions:
        found = answer(registry, question["text"], signals)
        right = [place for place, (name, _) in enumerate(found) if name in question["right"]]
        reciprocals.append(1 / (right[0] + 1) if right else 0.0)
        bands[found[right[0]][1].band if right else "not found"] += 1
    chinese = np.array([not question["text"].isascii() for question in questions])
    places = np.array(reciprocals)
    return {
        "questions": len(questions),
        "mrr": places.mean(),
        "english": places[~chinese].mean(),
        "chinese": places[chinese].mean(),
        "bands": bands,
    }


def measure_absent(registry: Registry, texts: Sequence[str], signals: Sequence[Signal]) -> Row:
    """Count what is said of the first result for what no adapter here is about."""
    found = [answer(registry, text, signals) for text in texts]
    return {
        "questions": len(texts),
        "bands": Counter(one[0][1].band if one else "not found" for one in found),
    }


@contextmanager
def indexed(
    adapters: Sequence[Row], *writes: Callable[[Path, Sequence[Row]], None]
) -> Iterator[Registry]:
    """Write a folder, refresh a registry of its own from it, and give that."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "loras"
        folder.mkdir()
        for write in writes:
            write(folder, adapters)
        with empty_registry(Path(name) / "home") as registry:
            pipeline = Pipeline(
                registry.sessions, registry.blobs, registry.settings, registry.text_encoder
            )
            finish(pipeline.refresh(FolderSource(folder)))
            yield registry


def figures(registry: Registry, told: Row, signals: Sequence[Signal]) -> Mapping[str, Row]:
    """Measure every set of questions."""
    found = {
        which: measure(registry, questions, signals)
        for which, questions in told["questions"].items()
    }
    return found | {"of nothing here": measure_absent(registry, told["absent"], signals)}


def to_table(results: Mapping[str, Mapping[str, Row]]) -> str:
    bands = ("fits", "perhaps", "probably not", "not found")
    head = ["questions", "number", "by", "MRR", "English", "Chinese", *bands]
    rows = []
    for way, measured in results.items():
        for name, row in measured.items():
            figures = [f"{row[key]:.3f}" if key in row else "" for key in MEANS]
            counts = [str(row["bands"][band]) for band in bands]
            rows.append([name, str(row["questions"]), way, *figures, *counts])
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "described.json")
    output = parser.parse_args().output
    told = json.loads(FILE.read_text(encoding="utf-8"))
    with indexed(told["adapters"], write_folder) as registry:
        results = {way: figures(registry, told, signals) for way, signals in WAYS.items()}
    with indexed(told["adapters"], write_folder, write_covers) as registry:
        results[PROMPTED] = figures(registry, told, SIGNALS)
    write_results(output, results, to_table(results))


if __name__ == "__main__":
    main()
