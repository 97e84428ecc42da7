"""Commands that train: on adapters of one's own, or of a base model that has no encoder yet."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from registry.cli.errors import UsageError
from registry.cli.output import print_facts, print_json, stderr

if TYPE_CHECKING:
    from encoder.text_encoder import TextEncoder
    from encoder.training.contrastive import Schedule
    from encoder.training.dataset import Dataset
    from encoder.training.workers import Workers
    from encoder.weight_encoders.checkpoint import AnyEncoder


class EncoderKind(StrEnum):
    """What can be trained: see docs/training.md."""

    RIDGE = "ridge"
    AUTOLORA = "autolora"


def train_encoder(
    manifest: Annotated[
        Path,
        typer.Argument(
            help='A JSON list of {"file", "captions", "split"}; splits are train, validation '
            "and held-out, files lie relative to it."
        ),
    ],
    base_model: Annotated[str, typer.Option(help="What the adapters load into, as flux.1.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write.")] = Path(
        "encoder.safetensors"
    ),
    kind: Annotated[
        EncoderKind, typer.Option(help="ridge: minutes, and finds most. autolora: a transformer.")
    ] = EncoderKind.RIDGE,
    name: Annotated[str | None, typer.Option(help="Default: BASE_MODEL-KIND.")] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Keeps sketches, training state and curves; a rerun goes on from there, and "
            "adapters sketched there may be deleted. Default: beside the output."
        ),
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="A sentence-transformers model. Default: the bundled one.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="At most; autolora only.")] = 40,
    batch: Annotated[int, typer.Option(min=2, help="Of all processes; autolora only.")] = 64,
    patience: Annotated[
        int, typer.Option(min=1, help="Epochs without a better validation; autolora only.")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Train a weight encoder from adapters and their captions. Safe to stop and rerun.

    On several GPUs: accelerate launch --no_python autolora train-encoder ...
    """
    from encoder.text_encoder import DEFAULT_TEXT_ENCODER, load_text_encoder
    from encoder.training.contrastive import Schedule
    from encoder.training.dataset import read_dataset
    from encoder.training.workers import Workers
    from encoder.weight_encoders.checkpoint import save_encoder

    if not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.absolute().parent} to write to.")
    workers = Workers.launched()
    with training_bars(workers.is_first) as told:
        trained = _train(
            kind,
            read_dataset(manifest),
            load_text_encoder(text_encoder or DEFAULT_TEXT_ENCODER),
            name or f"{base_model}-{kind}",
            base_model,
            state or output.with_suffix(".training"),
            Schedule(epochs=epochs, batch=batch, patience=patience, seed=seed),
            workers,
            told,
        )
    if not workers.is_first:
        return
    save_encoder(trained, output)
    facts = {"file": str(output), "name": trained.name, **trained.metrics}
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)
        stderr().print(f"use it by `autolora encoders add {output}`", markup=False)


def _train(
    kind: EncoderKind,
    dataset: "Dataset",
    text_encoder: "TextEncoder",
    name: str,
    base_model: str,
    state: Path,
    schedule: "Schedule",
    workers: "Workers",
    told: Callable[[int, int, str], None],
) -> "AnyEncoder":
    from encoder.training.train import fit_ridge, train_autolora
    from encoder.weight_encoders.autolora import AutoLoraConfig, family_of

    if kind is EncoderKind.RIDGE:
        return fit_ridge(
            dataset,
            text_encoder,
            name=name,
            base_model=base_model,
            seed=schedule.seed,
            kept=state / "sketches",
            progress=told,
        )
    config = AutoLoraConfig(family_of(base_model).name, sketched=True, dim=text_encoder.dim)
    return train_autolora(
        dataset,
        text_encoder,
        name=name,
        base_model=base_model,
        config=config,
        schedule=schedule,
        folder=state,
        kept=state / "sketches",
        workers=workers,
        progress=told,
    )


@contextmanager
def training_bars(shown: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Yield what draws a bar on stderr for each kind of work told of."""
    started = time.monotonic()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=stderr(), disable=not shown) as bars:
        tasks = {}

        def told(done: int, total: int, what: str) -> None:
            work = what.split()[0]
            if work not in tasks:
                tasks[work] = bars.add_task(what, total=total)
            bars.update(tasks[work], completed=done, total=total, description=what)

        yield told
    if shown:
        stderr().print(f"{time.monotonic() - started:.0f} s", style="dim")


class GatesKind(StrEnum):
    """Which gates can be trained: docs/training.md."""

    RIVALS = "rivals"
    AUTOLORA = "autolora"


def train_gates(
    manifest: Annotated[
        Path,
        typer.Argument(help="A JSON list of adapters with images and prompts: docs/training.md."),
    ],
    base: Annotated[Path, typer.Option(help="A diffusers folder of a FLUX base.")],
    base_model: Annotated[str, typer.Option(help="What the adapters load into, as flux.1.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The gates to write.")] = Path(
        "gates.safetensors"
    ),
    kind: Annotated[
        GatesKind, typer.Option(help="rivals: few numbers a layer type. autolora: the paper's.")
    ] = GatesKind.RIVALS,
    encoder: Annotated[
        Path | None,
        typer.Option(help="A weight encoder, for the prompts' relevance; rivals need one."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = 200,
    rate: Annotated[
        float | None, typer.Option(help="Default: 0.06 for rivals, 0.01 for autolora.")
    ] = None,
    sets: Annotated[int, typer.Option(min=1, help="Of adapters, a step and process.")] = 4,
    images: Annotated[int, typer.Option(min=1, help="Of each set, a step.")] = 2,
    size: Annotated[int, typer.Option(min=16, help="Of the images, in pixels a side.")] = 512,
    validate_every: Annotated[int, typer.Option(min=1)] = 25,
    device: Annotated[str, typer.Option(help="As torch calls it.")] = "cpu",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Train the gates that fuse adapters of a FLUX base. Safe to stop and rerun.

    On several GPUs: accelerate launch --no_python autolora train-gates ...
    """
    import torch

    from encoder.text_encoder import load_text_encoder
    from encoder.training.workers import Workers
    from encoder.weight_encoders.checkpoint import load_encoder
    from registry.fusion.backends.pipeline import load_backend
    from registry.fusion.gates.file import KINDS, save_gates
    from registry.fusion.training.gate_curves import draw_gate_curves
    from registry.fusion.training.gate_data import GateData, Relevances, describe, read_manifest
    from registry.fusion.training.train import train_gates as train

    if not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.absolute().parent} to write to.")
    gates_kind = KINDS[kind]
    if gates_kind.needs_embeddings and encoder is None:
        raise UsageError(f"{kind} go by relevance: name a weight encoder by --encoder.")
    files, entries = read_manifest(manifest)
    relevances = None
    if encoder is not None:
        checkpoint = load_encoder(encoder)
        text_encoder = load_text_encoder(checkpoint.text_encoder)
        relevances = Relevances.of(files, checkpoint, text_encoder)
    workers = Workers.launched()
    backend = load_backend(base, base_model, device=device)
    backend.transformer.requires_grad_(False)
    data = GateData(
        backend,
        files,
        entries,
        sets=sets,
        images=images,
        size=size,
        relevances=relevances,
        seed=seed,
    )
    torch.manual_seed(seed)
    embeddings = None if relevances is None else relevances.embeddings
    gates = gates_kind.untrained(backend.transformer, base_model, embeddings)
    pace = rate or gates.training_rate
    state = output.with_suffix(".training.pt")
    with training_bars(workers.is_first) as told:
        curve = train(
            gates,
            data.training(steps, pace, validate_every),
            state,
            lambda done, loss: told(done, steps, f"Gates, loss {loss:.4f}"),
            workers,
        )
    if not workers.is_first:
        return
    gates.details = {
        "steps": steps,
        "rate": pace,
        "seed": seed,
        "processes": workers.count,
        "images": describe(entries),
        "encoder": None if encoder is None else checkpoint.name,
        "curve": curve,
    }
    save_gates(gates, output)
    draw_gate_curves(curve, output.with_suffix(".png"))
    state.unlink(missing_ok=True)
    facts = {"file": str(output), "kind": gates.kind, "sha256": gates.sha256, **curve[-1]}
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)
