"""How fast and in how much memory adapters of FLUX.1-dev's true shapes are read and judged.

Files are synthetic: bfloat16 noise, in PEFT's names (494 layers, q, k, v and mlp apart) and in
kohya's (304, fused, with alphas). The peer is `hashlib.sha256` over the same file in the same
process and thread, turn by turn; files are in the page cache, imports are done before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.files.reading import TASKS, THREADS, measure, run_task, to_markdown, write_adapter
from benchmarks.results import RESULTS, write_results

RANKS = (16, 64)
DIALECTS = {"PEFT, 494 layers": "peft", "kohya, 304 layers": "kohya"}


def run(folder: Path) -> dict[str, dict[str, float]]:
    results = {}
    for rank in RANKS:
        for name, dialect in DIALECTS.items():
            path = folder / f"{dialect}.safetensors"
            write_adapter(path, dialect, rank)
            results[f"rank {rank}, {name}"] = measure(path)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS / "reading.json")
    parser.add_argument("--task", choices=list(TASKS), help="run one task and print its peak")
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != str(THREADS):
        # numpy takes its threads when it is loaded.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": str(THREADS)}
        command = [sys.executable, "-m", "benchmarks.files", *sys.argv[1:]]
        raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)
    if options.task:
        run_task(options.task, options.file)
        return
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        results = run(Path(folder))
    write_results(options.output, results, to_markdown(results))


if __name__ == "__main__":
    main()
