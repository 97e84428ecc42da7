"""Several processes learn what one does."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from encoder.adapter.lora_file import read
from encoder.sketches.sketch import sketch
from encoder.training.contrastive import Examples, Schedule, Trainer
from encoder.training.progress import silent
from encoder.training.workers import Workers
from encoder.weight_encoders.autolora import AutoLora, AutoLoraConfig
from encoder.weight_encoders.layer_batch import stack_sketches
from tests.encoder.builders import TINY, make_factors, write_adapter

PROCESSES = 2
CONFIG = AutoLoraConfig(TINY.name, sketched=True, queries=1, width=16, heads=2, dropout=0.0, dim=8)
# Eleven adapters in batches of five: the parts are uneven, and the last is too small.
SCHEDULE = Schedule(epochs=2, batch=5, warm_up_steps=2)


def train(folder: Path, workers: Workers) -> dict[str, Any]:
    """Train on the same adapters wherever it is called; return what was learned.

    By what the network says, since Adam blows the rounding of a zero gradient up to a step.
    """
    names = list(TINY.block_layers)[:4]
    sketches = []
    for seed in range(11):
        path = folder / f"{workers.rank}-{seed}.safetensors"
        sketches.append(sketch(read(write_adapter(path, make_factors(seed, names=names)))))
    generator = torch.Generator().manual_seed(0)
    captions = torch.nn.functional.normalize(torch.randn(11, 2, 8, generator=generator), dim=-1)
    examples = Examples(stack_sketches(TINY, sketches), list(captions))
    torch.manual_seed(0)
    trainer = Trainer(AutoLora(CONFIG), SCHEDULE, folder / "state", workers)
    done = trainer.run(examples, examples, silent)
    with torch.no_grad():
        return {"embeddings": trainer.network(examples.adapters), "curves": done.curves}


def work(rank: int, port: int, folder: Path) -> None:
    """Be one of the processes, as a launcher would start it."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(PROCESSES),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    workers = Workers.launched()
    assert (workers.rank, workers.count) == (rank, PROCESSES)
    found = train(folder, workers)
    torch.save(found, folder / f"{rank}.pt")
    workers.wait()
    torch.distributed.destroy_process_group()


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """With negatives from both, the loss is that of the whole batch in one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(work, (port, tmp_path), nprocs=PROCESSES)
    (tmp_path / "alone").mkdir()
    alone = train(tmp_path / "alone", Workers())

    for rank in range(PROCESSES):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["embeddings"], alone["embeddings"], atol=1e-4, rtol=0)
        for point, other in zip(found["curves"], alone["curves"], strict=True):
            assert point == pytest.approx(other, abs=1e-4)


def test_a_process_alone_needs_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    workers = Workers.launched()

    assert (workers.rank, workers.count, workers.is_first) == (0, 1, True)
    rows = torch.arange(5)
    torch.testing.assert_close(workers.share(rows), rows)
    torch.testing.assert_close(workers.gather(rows, 5), rows)
