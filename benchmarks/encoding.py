"""Measure how fast a large adapter is encoded, and in how much memory.

Against reading and hashing the same file, and against DiffSynth-Studio's encoder of LoRAs on
the same tensors; all with one thread, in processes of their own.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from demo.paths import BUILD
from encoder.base_models import Family, find_family
from encoder.caution import Caution
from encoder.lora_file import read
from encoder.quarter_matrix import QuarterMatrix
from encoder.ridge import RidgeEncoder, TextSpace
from encoder.sketch import Sketch, default_layout, sketch
from encoder.train import DEFAULT_COMPONENTS

FAMILY, BASE_MODEL = "flux.1", "flux.1-dev"
RANK, LARGE_RANK = 16, 64
REPEATS = 3
CHUNK = 1 << 20
DIM = 512
PEER = Path(__file__).parent / "diffsynth_encoder.py"
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
    levels = rng.integers(-7, 8, (values, DEFAULT_COMPONENTS), np.int8)
    up = np.linalg.qr(rng.normal(size=(DIM, DEFAULT_COMPONENTS)))[0].T.astype(np.float32)
    captions = rng.normal(size=(2048, DIM)).astype(np.float32)
    coordinates = rng.normal(size=(64, DEFAULT_COMPONENTS)).astype(np.float32)
    return RidgeEncoder(
        name="benchmark",
        base_model=BASE_MODEL,
        text_encoder="none",
        sketch_version=layout.version,
        family=family.name,
        layer_scales=np.ones(len(layout.shapes), np.float32),
        means=np.zeros(values, np.float32),
        down=QuarterMatrix(levels, np.ones(DEFAULT_COMPONENTS, np.float32)),
        up=up,
        text=TextSpace(np.zeros(DIM, np.float32)),
        caution=Caution.fit(up, captions, coordinates),
    )


def measure_ours(path: Path) -> dict[str, float]:
    """Read, sketch and embed a file; seconds of the fastest of some turns, and memory."""
    encoder = make_encoder()
    seconds = []
    for _ in range(REPEATS):
        started = time.monotonic()
        made = sketch(read(path))
        sketched = time.monotonic() - started
        encoder.encode([made])
        seconds.append((time.monotonic() - started, sketched))
    best, sketched = min(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": best, "sketching": sketched, "bytes": len(made.to_bytes()), "peak_mb": peak}


def measure_hashing(path: Path) -> dict[str, float]:
    """Read a file once and hash it as every registry has to."""
    seconds = []
    for _ in range(REPEATS):
        started, digest = time.monotonic(), hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        seconds.append(time.monotonic() - started)
    return {"seconds": min(seconds)}


def measure_many(path: Path) -> dict[str, float]:
    """Embed `MANY` sketches of the tiny base from their bytes, as a new encoder would have to."""
    from encoder.checkpoint import load_encoder

    encoder = load_encoder(BUILD / "encoder.safetensors")
    stored = [sketch(read(file)).to_bytes() for file in sorted(path.glob("*.safetensors"))[:500]]
    started = time.monotonic()
    for start in range(0, MANY, len(stored)):
        count = min(len(stored), MANY - start)
        encoder.encode([Sketch.from_bytes(data) for data in stored[:count]])
    return {"seconds": time.monotonic() - started, "bytes": len(stored[0])}


MEASURES = {"ours": measure_ours, "hashing": measure_hashing, "many": measure_many}


def run(python: str, *arguments: str) -> dict[str, float]:
    """Run a measure in a process of its own, with one thread."""
    done = subprocess.run([python, *arguments], check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure(peer: str | None) -> dict[str, Any]:
    """Measure everything; the peer's only where its interpreter is given."""
    this = (sys.executable, "-m", "benchmarks.encoding", "--measure")
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, Any] = {}
        for rank in (RANK, LARGE_RANK):
            path = Path(folder) / f"rank-{rank}.safetensors"
            write_adapter(path, rank)
            results[f"rank {rank}"] = {
                "mb": path.stat().st_size / 1e6,
                "hashing": run(*this, "hashing", str(path)),
                "ours": run(*this, "ours", str(path)),
            }
            if peer and rank == RANK:
                results[f"rank {rank}"]["peer"] = run(peer, str(PEER), str(path))
            path.unlink()
    results["many"] = run(*this, "many", str(BUILD / "zoo/adapters"))
    return results


def to_markdown(results: dict[str, Any]) -> str:
    lines = [
        f"A FLUX.1-dev-shaped adapter (all {len(flux().block_layers)} linear layers of the blocks, "
        "bf16), one thread, the fastest of "
        f"{REPEATS} turns; 'encoding' is reading, sketching and embedding.",
        "",
        "| rank | file MB | hashing s | encoding s | of it sketching s | encoding / hashing speed "
        "| peak MB | sketch MB | DiffSynth's FluxLoRAEncoder s | times faster |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for rank in (RANK, LARGE_RANK):
        row = results[f"rank {rank}"]
        ours, hashing, peer = row["ours"], row["hashing"]["seconds"], row.get("peer")
        cells = [
            str(rank),
            f"{row['mb']:.0f}",
            f"{hashing:.2f}",
            f"{ours['seconds']:.2f}",
            f"{ours['sketching']:.2f}",
            f"{hashing / ours['seconds']:.2f}",
            f"{ours['peak_mb']:.0f}",
            f"{ours['bytes'] / 1e6:.2f}",
            f"{peer['seconds']:.1f}" if peer else "",
            f"{peer['seconds'] / ours['seconds']:.0f}" if peer else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    many = results["many"]
    lines += [
        "",
        f"Embedding {MANY:,} adapters of the tiny base again from stored sketches of "
        f"{many['bytes'] / 1e3:.0f} KB: {many['seconds']:.0f} s.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--diffsynth", help="an interpreter that has torch and DiffSynth-Studio (PyPI: diffsynth)"
    )
    parser.add_argument("--output", type=Path, default=BUILD / "benchmarks/encoding.json")
    parser.add_argument("--measure", choices=MEASURES, help="one part, in this process")
    parser.add_argument("path", type=Path, nargs="?")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        print(json.dumps(MEASURES[options.measure](options.path)))
        return
    results = measure(options.diffsynth)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    options.output.with_suffix(".md").write_text(to_markdown(results))
    print(to_markdown(results))


if __name__ == "__main__":
    main()
