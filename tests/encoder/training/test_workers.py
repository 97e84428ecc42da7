"""Several processes learn what one does."""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.multiprocessing.spawn import spawn

from encoder.adapter.lora_file import read
from encoder.sketches.sketch import sketch
from encoder.training.contrastive import Examples, Schedule, Trainer
from encoder.training.progress import silent
from encoder.training.workers import Workers
from encoder.weight_encoders.autolora import AutoLora, AutoLoraConfig
from encoder.weight_encoders.layer_batch import stack_sketches
from tests.encoder.builders import TINY, make_factors, write_adapter

if TYPE_CHECKING:
    from accelerate import Accelerator

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


class OfCards:
    """Two processes that exchange only what is on a graphics card, as NCCL does."""

    process_index, num_processes, device = 0, 2, torch.device("cuda", 0)

    def reduce(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
        assert tensor.device.type == "cuda"
        return tensor.clone()

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        assert tensor.device.type == "cuda"
        return torch.cat([tensor, tensor])


def test_what_lies_in_memory_is_exchanged_by_the_cards() -> None:
    """As the gates do, whose base is offloaded or on the first card."""
    workers = Workers(cast("Accelerator", OfCards()))
    with FakeTensorMode():
        parameter = torch.nn.Parameter(torch.zeros(3))
        parameter.grad = torch.ones(3)

        workers.sum_gradients([parameter])
        batch = workers.gather(torch.zeros(1, 3), 2)

        assert (parameter.grad.device.type, parameter.grad.shape) == ("cpu", (3,))
        assert (batch.device.type, batch.shape) == ("cpu", (2, 3))
