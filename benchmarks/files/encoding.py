"""Measure how fast a large adapter is encoded, and in how much memory.

Against reading and hashing the same file in the same process, turn by turn, and against
DiffSynth-Studio's encoder of LoRAs on the same tensors; all with one thread. Seconds are those
of the processor, so that what else runs on the machine weighs less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.files.reading import sha256
from benchmarks.memory import memory_bytes
from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from demo.paths import BUILD
from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.base_models.families import Family, find_family
from encoder.sketches.sketch import Sketch, default_layout, sketch_file
from encoder.training.train import COMPONENTS
from encoder.weight_encoders.checkpoint import AnyEncoder, load_encoder, save_encoder
from encoder.weight_encoders.penalties import Penalties
from encoder.weight_encoders.ridge import RidgeEncoder
from encoder.weight_encoders.text_space import TextSpace

FAMILY, BASE_MODEL = "flux.1", "flux.1-dev"
# Rank -> turns. The largest are there for their memory.
TURNS = {16: 15, 64: 5, 256: 1}
DIM = 512
# Sketches that indexing embeds at once.
PAGE = 64
PEER, PEER_RANK = Path(__file__).parent / "diffsynth_encoder.py", 16
DIFFSYNTH = BUILD / "diffsynth/bin/python"
# Re-encoding an index: so many sketches, as if the zoo had them.
MANY = 10_000


def flux() -> Family:
    family = find_family(FAMILY)
    assert family is not None
    return family


def write_adapter(path: Path, rank: int) -> None:
    """Write an adapter of FLUX.1-dev, all linear layers of the blocks, bf16, as PEFT does."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (d_out, d_in) in flux().block_layers.items():
        down = torch.randn(rank, d_in, generator=generator) / d_in**0.5
        up = 0.01 * torch.randn(d_out, rank, generator=generator)
        tensors[f"transformer.{name}.lora_A.weight"] = down.bfloat16()
        tensors[f"transformer.{name}.lora_B.weight"] = up.bfloat16()
    save_file(tensors, path, {"modelspec.architecture": "flux-1-dev/lora"})


def make_encoder() -> RidgeEncoder:
    """An encoder of the size that training would give; what it says takes no other time."""
    family, rng = flux(), np.random.default_rng(0)
    layout = default_layout(family)
    values = int(layout.sizes.sum())
    levels = rng.integers(-7, 8, (values, COMPONENTS), np.int8)
    up = np.linalg.qr(rng.normal(size=(DIM, COMPONENTS)))[0].T.astype(np.float32)
    captions = rng.normal(size=(2048, DIM)).astype(np.float32)
    coordinates = rng.normal(size=(64, COMPONENTS)).astype(np.float32)
    return RidgeEncoder(
        name="benchmark",
        base_model=BASE_MODEL,
        text_encoder="none",
        sketch_version=layout.version,
        family=family.name,
        layer_scales=np.ones(len(layout.shapes), np.float32),
        means=np.zeros(values, np.float32),
        down=QuarterMatrix.of_levels(levels, np.ones(COMPONENTS, np.float32)),
        up=up,
        text=TextSpace(np.zeros(DIM, np.float32)),
        penalties=Penalties.fit(up, captions, coordinates),
    )


def encode(path: Path, encoder: AnyEncoder) -> tuple[Sketch, float, float]:
    """Do with a file what indexing does: read it with its full verdict and sketch it in one pass
    (registry/refresh/reading.py), then embed it. Returns the sketch and both parts' seconds."""
    started = time.process_time()
    made = sketch_file(path)
    sketched = time.process_time()
    encoder.encode([made])
    return made, sketched - started, time.process_time() - sketched


def measure_file(path: Path, checkpoint: Path, turns: int) -> dict[str, float]:
    """Hash a file and encode it, turn by turn; medians, and the process's peak of memory."""
    encoder = load_encoder(checkpoint)
    # Random signs are drawn once for all adapters of a base.
    made, _, _ = encode(path, encoder)
    rows = []
    for _ in range(turns):
        started = time.process_time()
        sha256(path)
        hashing = time.process_time() - started
        _, sketching, embedding = encode(path, encoder)
        ratio = hashing / (sketching + embedding)
        rows.append((hashing, sketching, embedding, ratio))
    hashing, sketching, embedding, ratio = (statistics.median(c) for c in zip(*rows, strict=True))
    peak = memory_bytes("VmHWM")
    started = time.process_time()
    encoder.encode([made] * PAGE)
    return {
        "hashing": hashing,
        "sketching": sketching,
        "embedding": embedding,
        "ratio": ratio,
        "smallest_ratio": min(row[-1] for row in rows),
        "largest_ratio": max(row[-1] for row in rows),
        "embedding_in_page": (time.process_time() - started) / PAGE,
        "bytes": len(made.to_bytes()),
        "peak_mb": peak / 1e6,
    }


def measure_many(folder: Path) -> dict[str, float]:
    """Embed `MANY` sketches of the tiny base from their bytes, as a new encoder would have to."""
    encoder = load_encoder(BUILD / "encoder.safetensors")
    stored = [sketch_file(file).to_bytes() for file in sorted(folder.glob("*.safetensors"))[:500]]
    started = time.process_time()
    for start in range(0, MANY, len(stored)):
        count = min(len(stored), MANY - start)
        encoder.encode([Sketch.from_bytes(data) for data in stored[:count]])
    return {"seconds": time.process_time() - started, "bytes": len(stored[0])}


def run(python: str | Path, *arguments: str | Path) -> dict[str, float]:
    """Run a measure in a process of its own, with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [python, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | threads,
    )
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure(peer: Path | None) -> dict[str, Any]:
    """Measure everything; the peer's only where its interpreter is given."""
    this = ("-m", "benchmarks.files.encoding", "--measure")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "encoder.safetensors"
        save_encoder(make_encoder(), checkpoint)
        for rank, turns in TURNS.items():
            path = Path(folder) / f"rank-{rank}.safetensors"
            write_adapter(path, rank)
            row: dict[str, Any] = {"mb": path.stat().st_size / 1e6}
            row |= run(sys.executable, *this, path, checkpoint, str(turns))
            if peer and rank == PEER_RANK:
                row["peer"] = run(peer, PEER, path)
            results[f"rank {rank}"] = row
            path.unlink()
    zoo = BUILD / "zoo/adapters"
    if (BUILD / "encoder.safetensors").is_file() and zoo.is_dir():
        results["many"] = run(sys.executable, *this, zoo)
    return results


def to_markdown(results: dict[str, Any]) -> str:
    turns = ", ".join(f"{count} at rank {rank}" for rank, count in TURNS.items())
    text = (
        f"A FLUX.1-dev-shaped adapter (all {len(flux().block_layers)} linear layers of the blocks, "
        f"bf16), one thread, medians of turns in alternation ({turns}), seconds of the processor. "
        "'Sketching' is reading with the full verdict and sketching in one pass; 'ratio' is the "
        "speed of sketching and embedding by that of reading and hashing (sha256) the same file "
        "in the same process, in brackets the range. The peak is the process's, with torch and "
        "the encoder in it.\n\n"
    )
    head = [
        "rank", "file MB", "hashing s", "sketching s", "embedding s", "ratio", "peak MB",
        "sketch MB", f"embedding s in a page of {PAGE}",
    ]  # fmt: skip
    parts = [text + table(head, [cells_of(rank, results[f"rank {rank}"]) for rank in TURNS])]
    row = results[f"rank {PEER_RANK}"]
    if "peer" in row:
        ours, peer = row["sketching"] + row["embedding"], row["peer"]
        parts.append(
            f"DiffSynth-Studio's FluxLoRAEncoder ({peer['parameters'] / 1e6:.0f} million "
            f"parameters, random) takes {peer['seconds']:.1f} s on the tensors of the adapter of "
            f"rank {PEER_RANK}, already read, fused and in float32: ours, reading included, takes "
            f"{ours:.2f} s and is {peer['seconds'] / ours:.0f} times as fast.\n"
        )
    if many := results.get("many"):
        parts.append(
            f"Embedding {MANY:,} adapters of the tiny base again from stored sketches of "
            f"{many['bytes'] / 1e3:.0f} KB: {many['seconds']:.0f} s.\n"
        )
    return "\n".join(parts)


def cells_of(rank: int, row: dict[str, float]) -> list[str]:
    return [
        str(rank),
        f"{row['mb']:.0f}",
        f"{row['hashing']:.3f}",
        f"{row['sketching']:.3f}",
        f"{row['embedding']:.3f}",
        f"{row['ratio']:.2f} [{row['smallest_ratio']:.2f}, {row['largest_ratio']:.2f}]",
        f"{row['peak_mb']:.0f}",
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['embedding_in_page']:.4f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--diffsynth",
        type=Path,
        default=DIFFSYNTH if DIFFSYNTH.is_file() else None,
        help="an interpreter with what benchmarks/files/diffsynth_encoder.py needs",
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "encoding.json")
    parser.add_argument("--measure", nargs="+", help="one part, in this process")
    options = parser.parse_args()
    if options.measure:
        torch.set_num_threads(1)
        path, *more = options.measure
        part = measure_file(Path(path), Path(more[0]), int(more[1])) if more else None
        print(json.dumps(part or measure_many(Path(path))))
        return
    results = measure(options.diffsynth)
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
