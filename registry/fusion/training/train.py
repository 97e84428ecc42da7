"""Train gates against interference: adapters in sets, judged on the images of one of them.

AutoLoRA's training. Sets of one, two and three adapters are mixed, so that the gates
neither spoil a single adapter nor break when more are loaded than they have seen. Images that
two adapters of a set make together belong into the mixture where there are any.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from crawler.whole_file import written_whole
from encoder.training.kept_state import take_up
from encoder.training.workers import Workers
from registry.fusion.attach import attach_stacks
from registry.fusion.gates.interface import Gates, TrainableGates
from registry.fusion.training.adapter_bank import AdapterBank

# The sizes of sets, and how often a step has them. Pairs alone cost quality at one and at three.
SET_SIZES: Mapping[int, float] = {1: 0.15, 2: 0.40, 3: 0.45}
WARM_UP_STEPS = 10
CLIP_NORM = 1.0


@dataclass(frozen=True)
class GateBatch:
    """Images of the first adapters of every set, ready for FLUX.

    Image b belongs to set b // (B / G).
    """

    latents: Tensor  # (B, places, channels), packed and scaled
    tokens: Tensor  # (B, words, dim)
    pooled: Tensor  # (B, dim)
    image_ids: Tensor  # (places, 3)
    sets: Tensor  # (G, n), places in the bank
    relevance: Tensor | None = None  # (B, n), how far the prompts favour the adapters
    embeddings: Tensor | None = None  # (G, n, dim), of the adapters
    asked: int = 1  # how many adapters of a set, the first ones, its images are about
    # The weight in the loss of gates' holding these back. Loss alone says little of what people
    # see: of gates with about the same loss those are better that show more of what is asked for.
    boldness: float = 0.0
    name: str | None = None  # in the validation curve, instead of "n=2"


@dataclass(frozen=True)
class GateTraining:
    """What is trained on what. `batch(step)` must give the same batch for the same step.

    That, and noise that is seeded by the step, makes a resumed training equal to one that
    was never stopped.
    """

    transformer: nn.Module
    bank: AdapterBank
    batch: Callable[[int], GateBatch]
    steps: int
    rate: float
    validation: Sequence[GateBatch] = ()
    validate_every: int = 100
    seed: int = 0
    trained_on: str = ""  # names all of it; what is kept of a training on something else is left


def flow_losses(transformer: nn.Module, batch: GateBatch, time: Tensor, noise: Tensor) -> Tensor:
    """Return the flow-matching loss of every image, (B,), at `time` (B,) in 0..1."""
    t = time[:, None, None]
    like = next(transformer.parameters())
    # A base whose guidance was distilled has at 1 what it had learned before.
    guided = getattr(getattr(transformer, "config", None), "guidance_embeds", False)
    predicted: Tensor = transformer(
        hidden_states=((1 - t) * batch.latents + t * noise).to(like),
        encoder_hidden_states=batch.tokens.to(like),
        pooled_projections=batch.pooled.to(like),
        timestep=time.to(like),
        img_ids=batch.image_ids.to(like),
        txt_ids=torch.zeros(batch.tokens.shape[1], 3).to(like),
        guidance=torch.ones(len(time)).to(like) if guided else None,
        return_dict=False,
    )[0].to(noise)
    return (predicted - (noise - batch.latents)).square().mean((1, 2))


def train_gates(
    gates: TrainableGates,
    training: GateTraining,
    checkpoint: Path | None = None,
    progress: Callable[[int, float], None] | None = None,
    workers: Workers | None = None,
) -> list[dict[str, float]]:
    """Train `gates` in place; return the validation curve.

    The curve is one row per validation, the first before any training: the step, the mean
    training loss since the last one, and the validation loss by set size ("n=2"). With
    `checkpoint`, state is kept there at every validation and taken up again by a rerun on the
    same. `progress` is told the steps done and the last loss. Several `workers` train on as many
    batches a step, and average what these say; the first of them writes.
    """
    workers = workers or Workers()
    gates.requires_grad_(True).train()
    groups = [{"params": [parameter], "pace": pace} for parameter, pace in gates.paces()]
    optimizer = torch.optim.AdamW(groups, training.rate, weight_decay=0.0)
    # Each process takes batches of its own: with others, those that are done are other ones.
    trained_on = f"{gates.kind} of {training.trained_on} by {workers.count}"
    resumed = None
    if checkpoint is not None and checkpoint.exists():
        resumed = load_checkpoint(checkpoint, gates, optimizer, trained_on, workers)
    start, curve = resumed or (0, [{"step": 0.0} | validation_losses(gates, training)])
    losses: list[float] = []
    for step in range(start, training.steps):
        for group in optimizer.param_groups:
            group["lr"] = training.rate * group["pace"] * rate_factor(step, training.steps)
        loss = training_loss(gates, training, step * workers.count + workers.rank)
        optimizer.zero_grad()
        (loss / workers.count).backward()
        workers.sum_gradients(gates.parameters())
        nn.utils.clip_grad_norm_(gates.parameters(), CLIP_NORM)
        optimizer.step()
        losses.append(loss.item())
        if progress is not None:
            progress(step + 1, losses[-1])
        done = step + 1
        if done % training.validate_every == 0 or done == training.steps:
            row = {"step": float(done), "training": sum(losses) / len(losses)}
            curve.append(row | validation_losses(gates, training))
            losses = []
            if checkpoint is not None and workers.is_first:
                save_checkpoint(checkpoint, gates, optimizer, done, curve, trained_on)
    gates.requires_grad_(False).eval()
    return curve


def training_loss(gates: TrainableGates, training: GateTraining, step: int) -> Tensor:
    batch = training.batch(step)
    generator = torch.Generator().manual_seed(training.seed + step)
    # All times alike: a picture's outlines and its details are for different adapters to say.
    time = torch.rand(len(batch.latents), generator=generator)
    noise = torch.randn(batch.latents.shape, generator=generator)
    loss = set_losses(gates, training, batch, time, noise).mean()
    if batch.boldness:
        loss = loss + batch.boldness * shyness(gates, batch, time)
    return loss


def shyness(gates: TrainableGates, batch: GateBatch, time: Tensor) -> Tensor:
    """Return how far gates hold back what a batch's images are about."""
    relevance = batch.relevance
    if relevance is None:
        relevance = torch.full((1, batch.sets.shape[1]), torch.nan)
    return gates.shyness(relevance, leanings_of(gates, batch), batch.asked, time)


def set_losses(
    gates: TrainableGates, training: GateTraining, batch: GateBatch, time: Tensor, noise: Tensor
) -> Tensor:
    """Return the loss of every image of a batch, (B,), with its set of adapters gated."""
    stacks = training.bank.pick(batch.sets)
    leanings = leanings_of(gates, batch)
    with attach_stacks(
        training.transformer, stacks, gates, relevance=batch.relevance, leanings=leanings
    ):
        return flow_losses(training.transformer, batch, time, noise)


def leanings_of(gates: Gates, batch: GateBatch) -> Tensor | None:
    """Return what the gates' questions say of a batch's adapters, (B, n, k), if it is known."""
    if batch.embeddings is None:
        return None
    each = len(batch.latents) // len(batch.sets)
    return gates.leanings(batch.embeddings).repeat_interleave(each, 0)


@torch.no_grad()
def validation_losses(gates: TrainableGates, training: GateTraining) -> dict[str, float]:
    """Return the loss on the validation batches by set size, at fixed times and noise."""
    by_size: dict[str, list[float]] = {}
    for place, batch in enumerate(training.validation):
        generator = torch.Generator().manual_seed(place)
        noise = torch.randn(batch.latents.shape, generator=generator)
        time = torch.rand(len(batch.latents), generator=generator)
        loss = set_losses(gates, training, batch, time, noise).mean().item()
        by_size.setdefault(batch.name or f"n={batch.sets.shape[1]}", []).append(loss)
    return {size: sum(losses) / len(losses) for size, losses in sorted(by_size.items())}


def rate_factor(step: int, steps: int) -> float:
    """Warm up, then fall to zero along a cosine."""
    return min(1.0, (step + 1) / WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))


def save_checkpoint(
    path: Path,
    gates: TrainableGates,
    optimizer: torch.optim.Optimizer,
    step: int,
    curve: list[dict[str, float]],
    trained_on: str,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "trained_on": trained_on,
        "step": step,
        "gates": gates.state_dict(),
        "optimizer": optimizer.state_dict(),
        "curve": curve,
    }
    with written_whole(path) as partial:
        torch.save(state, partial)


def load_checkpoint(
    path: Path,
    gates: TrainableGates,
    optimizer: torch.optim.Optimizer,
    trained_on: str,
    workers: Workers,
) -> tuple[int, list[dict[str, float]]] | None:
    """Take up a state, and return its step and curve; None, if it is not of this training."""
    others = "other gates, another base, other data, settings or processes"
    state = take_up(path, trained_on, others, workers)
    if state is None:
        return None
    gates.load_state_dict(state["gates"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["curve"]
