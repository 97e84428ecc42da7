"""What a refresh of a folder of small files costs, and where the time goes.

54 files like those of Stable Diffusion 1.5 that diffusers writes: rank 4 on the 128 linear layers
of the attention blocks, float32, 3.2 MB each. They go through an ordinary refresh into a fresh
embedded database, on one thread, after one such file has warmed everything up. Seconds are those
of the processor, of this process and of the database's. The peer is reading the same files and
hashing them once (sha256).

Beside it stand the parts of reading, each timed by itself, and what no order of work avoids: a copy
of each file, a second hash, and a sketch's bytes in the database.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch
from safetensors.torch import save_file
from sqlalchemy import text

from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from encoder.adapter.lora_file import open_adapter
from encoder.adapter.spectrum import Watcher
from encoder.base_models.families import find_family
from encoder.sketches.fingerprint import Fingerprinter
from encoder.sketches.sketch import MOST_BYTES, Sketcher
from registry.config import Settings
from registry.refresh.pipeline import Pipeline
from registry.refresh.sources import open_source
from registry.refresh.steps.read import TOGETHER
from registry.service import Registry

FILES, RANK, THREADS = 54, 4, 1
Times = dict[str, float]


def write_folder(folder: Path, count: int) -> None:
    family = find_family("sd-1.5")
    assert family is not None
    layers = {name: shape for name, shape in family.block_layers.items() if ".attn" in name}
    folder.mkdir()
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, (d_out, d_in) in layers.items():
            down = torch.randn(RANK, d_in, generator=generator) / d_in**0.5
            tensors[f"unet.{name}.lora.down.weight"] = down
            tensors[f"unet.{name}.lora.up.weight"] = torch.randn(d_out, RANK, generator=generator)
        save_file(tensors, folder / f"adapter{seed:02}.safetensors")


def hash_files(folder: Path) -> float:
    """Return the seconds that reading and hashing all files takes, the least of three times."""

    def hash_file(path: Path) -> None:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    return _least(folder, hash_file)


def reading_parts(folder: Path) -> Times:
    """Return the seconds that parts of reading all files take, the least of three times."""

    def judge(path: Path, *watchers: Watcher) -> None:
        open_adapter(path).judge(*watchers)

    parts: dict[str, Callable[[Path], object]] = {
        "opening": open_adapter,
        "measuring": judge,
        "sketching": lambda path: judge(path, Sketcher("sd-1.5")),
        "fingerprinting": lambda path: judge(path, Fingerprinter()),
        "hashing the tensors": lambda path: open_adapter(path).file.hash_body(),
    }
    seconds = {name: _least(folder, part) for name, part in parts.items()}
    # Each but the first includes opening, and the watchers' measuring as well.
    opening, measuring = seconds["opening"], seconds["measuring"]
    taken_off = dict.fromkeys(parts, opening) | {"opening": 0.0}
    taken_off |= dict.fromkeys(("sketching", "fingerprinting"), measuring)
    return {name: seconds[name] - taken_off[name] for name in parts}


def _least(folder: Path, part: Callable[[Path], object]) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        for path in folder.iterdir():
            part(path)
        times.append(time.process_time() - start)
    return min(times)


def unavoidable(folder: Path, registry: Registry) -> Times:
    """Return the seconds of what is left of a refresh where nothing but bytes is moved."""
    copies = folder.with_name("copies")
    copies.mkdir()
    copying = _least(folder, lambda path: shutil.copyfile(path, copies / path.name))
    return {
        "hashing the whole and the tensors": 2 * hash_files(folder),
        "copying": copying,
        "sketches into PostgreSQL": _store_bytes(registry),
    }


def _store_bytes(registry: Registry) -> float:
    """Store so many sketches' bytes in a bare table, sixteen a transaction, on both sides."""
    data = [{"id": k, "data": random.Random(k).randbytes(MOST_BYTES)} for k in range(FILES)]
    with registry.sessions.begin() as session:
        session.execute(text("CREATE TABLE bare (id int PRIMARY KEY, data bytea)"))
        session.execute(text("ALTER TABLE bare ALTER data SET STORAGE EXTERNAL"))
    before, start = database_seconds(registry.settings), time.process_time()
    for group in range(0, FILES, TOGETHER):
        with registry.sessions.begin() as session:
            rows = data[group : group + TOGETHER]
            session.execute(text("INSERT INTO bare VALUES (:id, :data)"), rows)
    seconds = time.process_time() - start + database_seconds(registry.settings) - before
    with registry.sessions.begin() as session:
        session.execute(text("DROP TABLE bare"))
    return seconds


def refresh(pipeline: Pipeline, folder: Path, settings: Settings) -> Times:
    """Refresh from a folder; return this process's seconds by step."""
    times: Counter[str] = Counter()
    last = time.process_time()
    for progress in pipeline.refresh(open_source(str(folder), settings)):
        now = time.process_time()
        times[progress.step.title] += now - last  # type: ignore[assignment]
        last = now
        outcome = progress.outcome
        assert outcome is None or outcome.ok, outcome
    return {step: seconds for step, seconds in times.items() if seconds > 0}


def database_seconds(settings: Settings) -> float:
    """Return the seconds that the embedded PostgreSQL of a registry has worked so far."""

    def spent(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)

    number = (settings.postgres / "postmaster.pid").read_text().splitlines()[0]
    server = psutil.Process(int(number))
    return sum(map(spent, [server, *server.children(recursive=True)]))


def measure(folder: Path) -> dict[str, Times]:
    """Return seconds by part: of a first refresh, and of one in which nothing has changed."""
    write_folder(folder / "warm", 1)
    write_folder(folder / "loras", FILES)
    settings = Settings(home=folder / "home")
    with Registry(settings) as registry:
        pipeline = Pipeline(registry.sessions, registry.blobs, settings, registry.text_encoder)
        refresh(pipeline, folder / "warm", settings)

        def run() -> Times:
            before = database_seconds(settings)
            times = refresh(pipeline, folder / "loras", settings)
            return times | {"PostgreSQL": database_seconds(settings) - before}

        return {
            "hashing": {"reading and hashing": hash_files(folder / "loras")},
            "first": run(),
            "unchanged": run(),
            "reading": reading_parts(folder / "loras"),
            "unavoidable": unavoidable(folder / "loras", registry),
        }


def to_markdown(results: dict[str, Times]) -> str:
    """Write the table of a results file."""
    peer = sum(results["hashing"].values())
    names = {
        "first": "a first refresh",
        "unchanged": "one in which nothing has changed",
        "reading": "reading by its parts, each alone",
        "unavoidable": "what moving the bytes alone takes",
    }
    rows = list(_rows(results, names, peer))
    size = f"{FILES} files of 3.2 MB, rank {RANK}, 128 layers; one thread"
    told = f"{size}. Reading and hashing a file takes {1e3 * peer / FILES:.1f} ms.\n\n"
    return told + table(["", "ms a file", "times reading and hashing"], rows)


def _rows(results: dict[str, Times], names: dict[str, str], peer: float) -> Iterator[list[str]]:
    for kind, name in names.items():
        for part, seconds in [(f"**{name}**", sum(results[kind].values())), *results[kind].items()]:
            if seconds >= 1e-4 * FILES:
                yield [part, f"{1e3 * seconds / FILES:.1f}", f"{seconds / peer:.1f}"]


def on_one_thread(main: Callable[[], None]) -> None:
    """Run in a process whose libraries were told so before they were loaded."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    if all(os.environ.get(name) == str(THREADS) for name in names):
        main()
        return
    environment = os.environ | dict.fromkeys(names, str(THREADS))
    command = [sys.executable, "-m", "benchmarks.files.folder", *sys.argv[1:]]
    raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS / "folder.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder))
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    on_one_thread(main)
