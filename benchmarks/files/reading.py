"""Adapters of FLUX.1-dev's true shapes, and what reading and judging them takes."""

import hashlib
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.memory import memory_bytes
from benchmarks.tables import table
from encoder.adapter.file_hashes import hash_adapter
from encoder.adapter.lora_file import inspect, read
from encoder.adapter.safetensors_header import parse_header, read_header
from encoder.base_models.families import find_family
from encoder.sketches.fingerprint import fingerprint
from encoder.sketches.sketch import sketch_file

RUNS = 9
# Hashing has one too. More would help, and on a shared machine wait for each other.
THREADS = 1
# kohya's fused projections by the diffusers layers that they are made of.
DOUBLE = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn_proj": ("attn.to_out.0",),
    "txt_attn_proj": ("attn.to_add_out",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
    "img_mod_lin": ("norm1.linear",),
    "txt_mod_lin": ("norm1_context.linear",),
}
SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}


def write_adapter(path: Path, dialect: str, rank: int) -> None:
    """Write an adapter of every block layer of FLUX.1-dev."""
    tensors: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(rank)

    def add(down: str, up: str, d_out: int, d_in: int) -> None:
        tensors[down] = torch.randn(rank, d_in, generator=generator).bfloat16() / 50
        tensors[up] = torch.randn(d_out, rank, generator=generator).bfloat16() / 500

    family = find_family("flux.1-dev")
    assert family is not None
    if dialect == "peft":
        for name, (d_out, d_in) in family.block_layers.items():
            stem = f"transformer.{name}"
            add(f"{stem}.lora_A.weight", f"{stem}.lora_B.weight", d_out, d_in)
    else:
        for module, parts in _kohya_modules():
            d_out = sum(family.layers[part][0] for part in parts)
            stem = f"lora_unet_{module}"
            down, up = f"{stem}.lora_down.weight", f"{stem}.lora_up.weight"
            add(down, up, d_out, family.layers[parts[0]][1])
            tensors[f"{stem}.alpha"] = torch.tensor(rank / 2)
    save_file(tensors, path, metadata={"ss_base_model_version": "flux1"})


def _kohya_modules() -> Iterator[tuple[str, tuple[str, ...]]]:
    for kohya, diffusers, count, modules in (
        ("double_blocks", "transformer_blocks", 19, DOUBLE),
        ("single_blocks", "single_transformer_blocks", 38, SINGLE),
    ):
        for index in range(count):
            for module, parts in modules.items():
                names = tuple(f"{diffusers}.{index}.{part}" for part in parts)
                yield f"{kohya}_{index}_{module}", names


def sha256(path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        buffer = memoryview(bytearray(2**20))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])


def judge_start(path: Path) -> object:
    """Judge a file from its first bytes, as one that lies elsewhere."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        start += file.read(int.from_bytes(start, "little"))
    return inspect(parse_header(path, io.BytesIO(start), size), path)


TASKS: dict[str, Callable[[Path], object]] = {
    "header": judge_start,
    "read": read,
    "sketch": sketch_file,
    "fingerprint": lambda path: fingerprint(read(path)),
    "hashes": hash_adapter,
}


def seconds(task: Callable[[Path], object], path: Path) -> float:
    start = time.perf_counter()
    task(path)
    return time.perf_counter() - start


def peak_megabytes(task: str, path: Path) -> float:
    """Return what a task adds to the peak of a fresh process, whose imports are done."""
    command = [sys.executable, "-m", "benchmarks.files", "--task", task, "--file", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def run_task(task: str, path: Path) -> None:
    """Print by how many MB the peak exceeds what the process had before."""
    torch.set_num_threads(THREADS)
    before = memory_bytes("VmRSS")
    TASKS[task](path)
    print((memory_bytes("VmHWM") - before) / 1e6)


def measure(path: Path) -> dict[str, float]:
    """Compare reading with hashing, and weigh what each task takes."""
    times: dict[str, list[float]] = {"sha256": [], "read": []}
    read(path)
    for _ in range(RUNS):
        times["sha256"].append(seconds(sha256, path))
        times["read"].append(seconds(read, path))
    ratios = [s / r for s, r in zip(times["sha256"], times["read"], strict=True)]
    header = [seconds(judge_start, path) for _ in range(RUNS)]
    size = path.stat().st_size
    return {
        "megabytes": size / 1e6,
        "sha256_megabytes_per_second": size / 1e6 / statistics.median(times["sha256"]),
        "read_megabytes_per_second": size / 1e6 / statistics.median(times["read"]),
        "speed_ratio": statistics.median(ratios),
        "smallest_ratio": min(ratios),
        "largest_ratio": max(ratios),
        "header_milliseconds": 1e3 * statistics.median(header),
        "header_share": read_header(path).data_start / size,
        "fingerprint_seconds": seconds(TASKS["fingerprint"], path),
        "sketch_seconds": seconds(TASKS["sketch"], path),
        **{f"{task}_peak_megabytes": peak_megabytes(task, path) for task in TASKS},
    }


def to_markdown(results: dict[str, dict[str, float]]) -> str:
    """Write the table of a results file."""
    text = (
        f"Synthetic bfloat16 adapters of FLUX.1-dev, one thread, median of {RUNS} alternating "
        "runs, in brackets the range; 'ratio' is reading with the full verdict (spectrum, zero "
        "layers, NaN) against hashing. Peaks are what a task adds to a fresh process.\n\n"
    )
    head = [
        "file", "MB", "sha256 MB/s", "read MB/s", "ratio", "header: ms", "of the file",
        "peak MB: header", "read", "sketch", "fingerprint", "s: sketch", "fingerprint",
    ]  # fmt: skip
    return text + table(head, [cells_of(name, row) for name, row in results.items()])


def cells_of(name: str, row: dict[str, float]) -> list[str]:
    return [
        name,
        f"{row['megabytes']:.0f}",
        f"{row['sha256_megabytes_per_second']:.0f}",
        f"{row['read_megabytes_per_second']:.0f}",
        f"{row['speed_ratio']:.2f} [{row['smallest_ratio']:.2f}, {row['largest_ratio']:.2f}]",
        f"{row['header_milliseconds']:.0f}",
        f"{row['header_share']:.2%}",
        *(
            f"{row[f'{task}_peak_megabytes']:.0f}"
            for task in ("header", "read", "sketch", "fingerprint")
        ),
        f"{row['sketch_seconds']:.1f}",
        f"{row['fingerprint_seconds']:.1f}",
    ]
