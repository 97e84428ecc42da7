"""The command that trains a weight encoder, from files or from the index: docs/training.md."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.context import open_registry
from registry.cli.errors import UsageError
from registry.cli.options import Json, Seed, beside, check_output, grouped
from registry.cli.output import print_facts, print_json, stderr
from registry.cli.progress import training_bars

if TYPE_CHECKING:
    from encoder.training.contrastive import Schedule
    from encoder.training.workers import Workers
    from encoder.weight_encoders.checkpoint import AnyEncoder

app = typer.Typer()

Manifest = Annotated[
    Path | None,
    typer.Argument(
        help='A JSON list of {"file", "captions", "split"}; splits are train, validation '
        "and held-out, files lie relative to it. Without it the index is learned from, and the "
        "encoder serves at once if it finds more."
    ),
]


class EncoderKind(StrEnum):
    """What can be trained: see docs/training.md."""

    RIDGE = "ridge"
    AUTOLORA = "autolora"


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """What is trained."""

    base_model: Annotated[str, typer.Option(help="What the adapters load into, as flux.1.")]
    kind: Annotated[
        EncoderKind, typer.Option(help="ridge: minutes, and finds most. autolora: a transformer.")
    ] = EncoderKind.RIDGE
    name: Annotated[str | None, typer.Option(help="Default: BASE_MODEL-KIND.")] = None
    text_encoder: Annotated[
        str | None, typer.Option(help="A sentence-transformers model. Default: the bundled one.")
    ] = None
    new_basis: Annotated[
        bool,
        typer.Option(
            "--new-basis",
            help="Learn the inputs of sketches before, from the files here; without a manifest.",
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class ScheduleOptions:
    """How long it is trained."""

    epochs: Annotated[int, typer.Option(min=1, help="At most; autolora only.")] = 40
    batch: Annotated[int, typer.Option(min=2, help="Of all processes; autolora only.")] = 64
    patience: Annotated[
        int, typer.Option(min=1, help="Epochs without a better validation; autolora only.")
    ] = 10
    seed: Seed = 0

    def to_schedule(self) -> "Schedule":
        from encoder.training.contrastive import Schedule

        return Schedule(
            epochs=self.epochs, batch=self.batch, patience=self.patience, seed=self.seed
        )


@app.command()
@grouped
def train_encoder(
    context: typer.Context,
    manifest: Manifest = None,
    *,
    options: EncoderOptions,
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write.")] = Path(
        "encoder.safetensors"
    ),
    state: Annotated[
        Path | None,
        typer.Option(
            help="Keeps sketches, training state and curves; a rerun goes on from there, and "
            "adapters sketched there may be deleted. Default: beside the output."
        ),
    ] = None,
    schedule: ScheduleOptions,
    as_json: Json = False,
) -> None:
    """Train a weight encoder from adapters and their captions. Safe to stop and rerun.

    On several GPUs: accelerate launch --no_python autolora train-encoder ...
    """
    if manifest is None:
        _learn(context, options, as_json)
        return
    if options.new_basis:
        raise UsageError("--new-basis learns from the index: leave the manifest out.")
    from encoder.training.workers import Workers
    from encoder.weight_encoders.checkpoint import save_encoder

    check_output(output)
    workers = Workers.launched()
    state = state or beside(output, ".training")
    with training_bars(workers.is_first) as progress:
        trained = _train(manifest, options, schedule.to_schedule(), state, workers, progress)
    if not workers.is_first:
        return
    save_encoder(trained, output)
    facts = {"file": str(output), "name": trained.name, **trained.metrics}
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)
        stderr().print(f"use it by `autolora encoders add {output}`", markup=False)


def _learn(context: typer.Context, options: EncoderOptions, as_json: bool) -> None:
    """Train on what the registry has crawled."""
    if options.kind is not EncoderKind.RIDGE:
        raise UsageError("--kind autolora is trained from files: give a manifest of them.")
    with training_bars(True) as progress:
        registry = open_registry(context)
        lesson = registry.learn(options.base_model, progress, new_basis=options.new_basis)
    facts = asdict(lesson)
    if as_json:
        print_json(facts)
    else:
        said = {"mrr": str(lesson.mrr), "gain": str(lesson.gain or "-")}
        print_facts({**facts, **said, "seconds": f"{lesson.seconds:.0f}"})


def _train(
    manifest: Path,
    options: EncoderOptions,
    schedule: "Schedule",
    state: Path,
    workers: "Workers",
    progress: Callable[[int, int, str], None],
) -> "AnyEncoder":
    from encoder.text_encoder import DEFAULT_TEXT_ENCODER, load_text_encoder
    from encoder.training.dataset import read_dataset
    from encoder.training.train import TrainingRun, fit_ridge, train_autolora
    from encoder.weight_encoders.autolora import AutoLoraConfig, family_of
    from registry.retrieval.filters import known_name

    options = replace(options, base_model=known_name(options.base_model))
    dataset = read_dataset(manifest)
    name = options.name or f"{options.base_model}-{options.kind}"
    text_encoder = load_text_encoder(options.text_encoder or DEFAULT_TEXT_ENCODER)
    if options.kind is EncoderKind.RIDGE:
        return fit_ridge(
            dataset,
            text_encoder,
            name=name,
            base_model=options.base_model,
            seed=schedule.seed,
            kept=state / "sketches",
            progress=progress,
        )
    family = family_of(options.base_model).name
    return train_autolora(
        dataset,
        text_encoder,
        name=name,
        base_model=options.base_model,
        config=AutoLoraConfig(family, sketched=True, dim=text_encoder.dim),
        schedule=schedule,
        run=TrainingRun(state, state / "sketches", workers, progress),
    )
