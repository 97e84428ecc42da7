"""The command that trains gates for fusing: docs/training.md."""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.errors import UsageError
from registry.cli.options import Json, Seed, beside, check_output, grouped
from registry.cli.output import print_facts, print_json
from registry.cli.progress import training_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from registry.fusion.gates.interface import TrainableGates
    from registry.fusion.training.gate_data import Relevances

app = typer.Typer()


class GatesKind(StrEnum):
    """Which gates can be trained: docs/training.md."""

    RIVALS = "rivals"
    AUTOLORA = "autolora"


@dataclass(frozen=True, slots=True)
class GatesOptions:
    """What is trained, and on which base."""

    base: Annotated[Path, typer.Option(help="A diffusers folder of a FLUX base.")]
    base_model: Annotated[str, typer.Option(help="What the adapters load into, as flux.1-dev.")]
    kind: Annotated[
        GatesKind, typer.Option(help="rivals: few numbers a layer type. autolora: the paper's.")
    ] = GatesKind.RIVALS
    encoder: Annotated[
        Path | None,
        typer.Option(help="A weight encoder, for the prompts' relevance; rivals need one."),
    ] = None
    device: Annotated[str, typer.Option(help="As torch calls it.")] = "cpu"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a process sees in a step."""

    sets: Annotated[int, typer.Option(min=1, help="Of adapters, a step and process.")] = 4
    images: Annotated[int, typer.Option(min=1, help="Of each set, a step.")] = 2
    size: Annotated[int, typer.Option(min=16, help="Of the images, in pixels a side.")] = 512
    seed: Seed = 0


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """How long and how fast it is trained."""

    steps: Annotated[int, typer.Option(min=1, help="As many batches a process.")] = 200
    rate: Annotated[
        float | None, typer.Option(help="Default: 0.06 for rivals, 0.01 for autolora.")
    ] = None
    validate_every: Annotated[int, typer.Option(min=1, help="In steps.")] = 25


@app.command()
@grouped
def train_gates(
    manifest: Annotated[
        Path,
        typer.Argument(help="A JSON list of adapters with images and prompts: docs/training.md."),
    ],
    *,
    options: GatesOptions,
    output: Annotated[Path, typer.Option("--output", "-o", help="The gates to write.")] = Path(
        "gates.safetensors"
    ),
    batch: BatchOptions,
    pace: PaceOptions,
    as_json: Json = False,
) -> None:
    """Train the gates that fuse adapters of a FLUX base. Safe to stop and rerun.

    On several GPUs: accelerate launch --no_python autolora train-gates ...
    """
    check_output(output)
    facts = _train(manifest, options, output, batch, pace)
    if facts is None:
        return
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


def _train(
    manifest: Path, options: GatesOptions, output: Path, batch: BatchOptions, pace: PaceOptions
) -> dict[str, object] | None:
    """Write the gates and their curve; return what is printed, or None in a second process."""
    from encoder.training.workers import Workers
    from registry.fusion.backends.pipeline import load_backend
    from registry.fusion.gates.file import save_gates
    from registry.fusion.training.gate_curves import draw_gate_curves
    from registry.fusion.training.gate_data import GateData, describe, read_manifest
    from registry.fusion.training.train import train_gates as train
    from registry.retrieval.filters import known_name

    options = replace(options, base_model=known_name(options.base_model))
    files, entries = read_manifest(manifest)
    relevances = _load_relevances(options, files)
    workers = Workers.launched()
    backend = load_backend(options.base, options.base_model, device=options.device)
    backend.transformer.requires_grad_(False)
    sizes = {"sets": batch.sets, "images": batch.images, "size": batch.size, "seed": batch.seed}
    data = GateData(backend, files, entries, relevances=relevances, **sizes)
    gates = _untrained(options, batch.seed, backend.transformer, relevances)
    rate = pace.rate or gates.training_rate
    state = beside(output, ".training.pt")
    with training_bars(workers.is_first) as progress:
        curve = train(
            gates,
            data.training(pace.steps, rate, pace.validate_every),
            state,
            lambda done, loss: progress(done, pace.steps, f"Gates, loss {loss:.4f}"),
            workers,
        )
    if not workers.is_first:
        return None
    gates.details = {
        "steps": pace.steps,
        "rate": rate,
        "seed": batch.seed,
        "processes": workers.count,
        "images": describe(entries),
        "encoder": None if relevances is None else relevances.encoder.name,
        "curve": curve,
    }
    save_gates(gates, output)
    draw_gate_curves(curve, beside(output, ".png"))
    state.unlink(missing_ok=True)
    return {"file": str(output), "kind": gates.kind, "sha256": gates.sha256, **curve[-1]}


def _load_relevances(options: GatesOptions, files: "Sequence[Path]") -> "Relevances | None":
    from registry.fusion.gates.file import KINDS
    from registry.fusion.training.gate_data import Relevances

    if options.encoder is None:
        if KINDS[options.kind].needs_embeddings:
            raise UsageError(f"{options.kind} go by relevance: name a weight encoder by --encoder.")
        return None
    return Relevances.of(files, options.encoder)


def _untrained(
    options: GatesOptions, seed: int, transformer: "nn.Module", relevances: "Relevances | None"
) -> "TrainableGates":
    import torch

    from registry.fusion.gates.file import KINDS

    torch.manual_seed(seed)
    embeddings = None if relevances is None else relevances.embeddings
    return KINDS[options.kind].untrained(transformer, options.base_model, embeddings)
