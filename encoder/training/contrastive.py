"""Training by contrast: symmetric InfoNCE, early stopping, resume, several processes."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crawler.whole_file import written_whole
from encoder.training.kept_state import take_up
from encoder.training.workers import Workers
from encoder.weight_encoders.metrics import mrr

# CLIP's start and cap (Radford et al., 2021, https://arxiv.org/abs/2103.00020); the cap is
# halved since a few hundred adapters are memorised at any sharper temperature.
START_TEMPERATURE, LARGEST_SCALE = 0.07, 50.0
# Captions this alike mean the same: not a negative.
SAME_CAPTION = 0.999
VALIDATION_BATCH = 256


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train."""

    epochs: int = 40
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up_steps: int = 20
    patience: int = 10  # epochs without a better validation MRR
    seed: int = 0


class Adapters(Protocol):
    """Adapters as some network takes them, stacked."""

    def __len__(self) -> int: ...

    def select(self, rows: Tensor) -> Self:
        """Return the adapters at `rows`."""
        ...

    def to(self, device: torch.device) -> Self:
        """Return them on a device."""
        ...


@dataclass(frozen=True, slots=True)
class Examples:
    """Adapters with the projected embeddings of their captions (captions, dim) each."""

    adapters: Adapters
    captions: Sequence[Tensor]


@dataclass(slots=True)
class Progressed:
    """What a stopped training needs to go on, and what its curves are drawn from."""

    epoch: int
    best_mrr: float
    best_epoch: int
    curves: list[dict[str, float]]


def info_nce(embeddings: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of matching rows, (n, dim) each; alike captions are no negatives."""
    logits = scale * embeddings @ captions.T
    alike = captions @ captions.T > SAME_CAPTION
    alike.fill_diagonal_(False)
    logits = logits.masked_fill(alike, -torch.inf)
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


@torch.no_grad()
def validation_mrr(network: nn.Module, examples: Examples, device: torch.device) -> float:
    """Return the MRR of the examples' captions among the examples."""
    network.eval()
    rows = torch.arange(len(examples.captions)).split(VALIDATION_BATCH)
    parts = [network(examples.adapters.select(part).to(device)).cpu() for part in rows]
    gallery, queries = torch.cat(parts), torch.cat(list(examples.captions))
    counts = torch.tensor([len(texts) for texts in examples.captions])
    targets = torch.arange(len(gallery)).repeat_interleave(counts)
    return mrr((queries @ gallery.T).numpy(), targets.numpy())


class Trainer:
    """Trains a network of adapters; with a folder, writes its state each epoch and resumes.

    It resumes what was trained on the same: `trained_on` names that. Else it begins anew.

    Several processes, each with its own network of the same start, do together what one
    does alone with the same batches: negatives are gathered from all of them.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        folder: Path | None = None,
        workers: Workers | None = None,
        *,
        trained_on: str = "",
    ) -> None:
        self.workers = workers or Workers()
        self.trained_on = trained_on
        self.network, self.schedule, self.folder = network, schedule, folder
        self.network.to(self.workers.device)
        self.log_scale = nn.Parameter(
            torch.tensor(-math.log(START_TEMPERATURE), device=self.workers.device)
        )
        self.optimizer = torch.optim.AdamW(
            [
                {"params": network.parameters(), "weight_decay": schedule.weight_decay},
                {"params": [self.log_scale], "weight_decay": 0.0},
            ],
            lr=schedule.rate,
        )
        self.done = Progressed(epoch=0, best_mrr=-1.0, best_epoch=0, curves=[])
        self.best = copy.deepcopy(network.state_dict())
        if self.folder and self._state_path.exists():
            self._resume()

    def run(
        self, train: Examples, validation: Examples, progress: Callable[[int, int, str], None]
    ) -> Progressed:
        """Train until the last epoch or until validation stops improving; keep the best."""
        epochs = self.schedule.epochs
        while self.done.epoch < epochs and not self._is_over():
            loss = self._epoch(train)
            reached = validation_mrr(self.network, validation, self.workers.device)
            self.done.epoch += 1
            self.done.curves.append(
                {"epoch": self.done.epoch, "loss": loss, "validation_mrr": reached}
            )
            if reached > self.done.best_mrr:
                self.done.best_mrr, self.done.best_epoch = reached, self.done.epoch
                self.best = copy.deepcopy(self.network.state_dict())
            if self.workers.is_first:
                if self.folder:
                    self._save()
                progress(self.done.epoch, epochs, f"Training (validation MRR {reached:.3f})")
        # So that none reads the folder of a training whose last epoch is not there yet.
        self.workers.wait()
        self.network.load_state_dict(self.best)
        self.network.cpu().eval()
        return self.done

    def _epoch(self, train: Examples) -> float:
        # Seeded by the epoch, so that a resumed training sees what it would have seen.
        generator = torch.Generator().manual_seed(self.schedule.seed * 10_007 + self.done.epoch)
        torch.manual_seed(
            self.schedule.seed * 10_007 + self.done.epoch + 1_000_003 * self.workers.rank
        )
        order = torch.randperm(len(train.captions), generator=generator)
        self.network.train()
        losses = []
        least = self.workers.least_batch
        batches = [rows for rows in order.split(self.schedule.batch) if len(rows) >= least]
        for index, rows in enumerate(batches):
            step = self.done.epoch * len(batches) + index
            self._set_rate(step, self.schedule.epochs * len(batches))
            captions = torch.stack([_pick(train.captions[row], generator) for row in rows.tolist()])
            losses.append(self._step(train.adapters.select(self.workers.share(rows)), captions))
        return sum(losses) / len(losses)

    def _step(self, adapters: Adapters, captions: Tensor) -> float:
        """Learn from this process' part of a batch, and all captions of the batch."""
        embedded = self.network(adapters.to(self.workers.device))
        embeddings = self.workers.gather(embedded, len(captions))
        scale = self.log_scale.exp().clamp(max=LARGEST_SCALE)
        loss = info_nce(embeddings, captions.to(self.workers.device), scale)
        self.optimizer.zero_grad()
        loss.backward()
        # The scale's own gradient is whole in every process already.
        self.workers.sum_gradients(self.network.parameters())
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def _set_rate(self, step: int, steps: int) -> None:
        """Warm up, then fall along a cosine."""
        warm = min(1.0, (step + 1) / self.schedule.warm_up_steps)
        fall = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate * warm * fall

    def _is_over(self) -> bool:
        return self.done.epoch - self.done.best_epoch >= self.schedule.patience

    @property
    def _state_path(self) -> Path:
        assert self.folder
        return self.folder / "training.pt"

    def _save(self) -> None:
        assert self.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "trained_on": self.trained_on,
            "network": self.network.state_dict(),
            "best": self.best,
            "log_scale": self.log_scale.detach(),
            "optimizer": self.optimizer.state_dict(),
            "best_mrr": self.done.best_mrr,
            "best_epoch": self.done.best_epoch,
            "curves": self.done.curves,
        }
        with written_whole(self._state_path) as partial:
            torch.save(state, partial)
        (self.folder / "curves.json").write_text(json.dumps(self.done.curves, indent=1))

    def _resume(self) -> None:
        others = "other adapters, captions or settings"
        state = take_up(self._state_path, self.trained_on, others, self.workers)
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.best = state["best"]
        self.log_scale.data.copy_(state["log_scale"])
        self.optimizer.load_state_dict(state["optimizer"])
        curves = state["curves"]
        self.done = Progressed(len(curves), state["best_mrr"], state["best_epoch"], curves)


def _pick(captions: Tensor, generator: torch.Generator) -> Tensor:
    return captions[int(torch.randint(len(captions), (1,), generator=generator))]
