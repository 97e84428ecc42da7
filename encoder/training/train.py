"""Adapters with captions -> a trained encoder, measured on adapters it has not seen."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from encoder.adapter.lora_file import read
from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.arrays import Floats
from encoder.errors import TrainingDataError
from encoder.sketches.sketch import Sketch, default_layout, sketch_file
from encoder.sketches.sketch_folder import kept_sketch
from encoder.text_encoder import TextEncoder, normalise
from encoder.training.contrastive import Examples, Schedule, Trainer
from encoder.training.curves import draw_curves
from encoder.training.dataset import SPLITS, Dataset
from encoder.training.layer_scales import fit_layer_scales, learn_layer_scales
from encoder.training.progress import Progress, silent
from encoder.training.workers import Workers
from encoder.weight_encoders.autolora import (
    FACTORS,
    AutoLora,
    AutoLoraConfig,
    AutoLoraEncoder,
    family_of,
)
from encoder.weight_encoders.checkpoint import WeightEncoder
from encoder.weight_encoders.layer_batch import LayerBatch, stack_sketches, stack_weights
from encoder.weight_encoders.metrics import RetrievalMetrics, positions
from encoder.weight_encoders.penalties import Penalties
from encoder.weight_encoders.ridge import (
    KernelRidge,
    RidgeEncoder,
    choose_penalty,
    layer_features,
    low_rank,
    targets_of,
    usual_length,
)
from encoder.weight_encoders.text_space import TextSpace

# Keeps the tiny base's map under 3 MB; more find hardly more (docs/benchmarks/retrieval.md).
COMPONENTS = 192


def sketch_files(
    paths: Sequence[Path],
    *,
    family: str | None = None,
    kept: Path | None = None,
    progress: Progress = silent,
) -> list[Sketch]:
    """Read and sketch adapters, in order; see `encoder/sketches/sketch_folder.py` for `kept`.

    Raises:
        LoraFileError: an adapter cannot be read.
        SketchError: its base model is unknown, or it changes nothing; names the file.
        TrainingDataError: it is not of the family that is asked for; names the file.
    """
    sketches = []
    for index, path in enumerate(paths):
        sketch = kept_sketch(path, kept) if kept else sketch_file(path)
        if family not in (None, sketch.family):
            raise TrainingDataError(
                f"{path.name}: an adapter of {sketch.family}, where those of {family} are trained "
                "on; take it out of the list"
            )
        sketches.append(sketch)
        progress(index + 1, len(paths), "Sketching")
    return sketches


def encode_captions(captions: Sequence[Sequence[str]], text_encoder: TextEncoder) -> list[Floats]:
    """Embed every adapter's captions: (its captions, dim) each, in order."""
    texts = [text for said in captions for text in said]
    unique = list(dict.fromkeys(texts))
    embeddings = dict(zip(unique, text_encoder.encode(unique), strict=True))
    return [np.stack([embeddings[text] for text in said]) for said in captions]


def fit_ridge(
    dataset: Dataset,
    text_encoder: TextEncoder,
    *,
    name: str,
    base_model: str,
    sayings: Sequence[Floats] = (),
    seed: int = 0,
    kept: Path | None = None,
    progress: Progress = silent,
) -> RidgeEncoder:
    """Train a ridge encoder from adapters' files. See `fit_ridge_to_sketches`.

    Sketches are written to the folder `kept`; those there are used instead of the files, so
    that a rerun goes on where it was stopped and the files may be dropped.
    """
    family = family_of(base_model).name
    sketches = sketch_files(dataset.paths, family=family, kept=kept, progress=progress)
    captions = encode_captions(dataset.captions, text_encoder)
    progress(0, 1, "Fitting")
    encoder = fit_ridge_to_sketches(
        SketchedAdapters(sketches, captions, dataset.splits),
        name=name,
        base_model=base_model,
        text_encoder=text_encoder.name,
        sayings=sayings,
        seed=seed,
    )
    progress(1, 1, "Fitting")
    return encoder


@dataclass(frozen=True, slots=True)
class SketchedAdapters:
    """Adapters to learn from and to measure on, each at the same place of every sequence."""

    sketches: Sequence[Sketch]
    captions: Sequence[Floats]  # embeddings, (an adapter's captions, dim) each
    splits: Sequence[str] = ()  # none: all are to train on
    # Adapters of one (an author's, say) are never on both sides where the penalty is chosen.
    groups: Sequence[int] | None = None

    def to_train_on(self) -> Self:
        if not self.splits:
            return self
        rows = [i for i, split in enumerate(self.splits) if split == "train"]
        return replace(
            self,
            sketches=[self.sketches[i] for i in rows],
            captions=[self.captions[i] for i in rows],
            splits=(),
            groups=None if self.groups is None else [self.groups[i] for i in rows],
        )

    def count(self, split: str) -> int:
        return list(self.splits or ["train"] * len(self.sketches)).count(split)


def fit_ridge_to_sketches(
    adapters: SketchedAdapters,
    *,
    name: str,
    base_model: str,
    text_encoder: str,
    sayings: Sequence[Floats] = (),
    seed: int = 0,
) -> RidgeEncoder:
    """Fit on the training split, choose the penalty within it, measure on validation.

    Captions are embedded by the text encoder named. `sayings` (texts, dim) each say one thing in
    several ways: in what they differ counts little, as between captions of one adapter.

    Raises:
        TrainingDataError: too few adapters to train on.
    """
    train = adapters.to_train_on()
    seen, said = train.sketches, train.captions
    space = TextSpace.fit([*said, *sayings])
    fitted = fit_map(seen, said, space, COMPONENTS, seed, train.groups)
    encoder = RidgeEncoder(
        name=name,
        base_model=base_model,
        text_encoder=text_encoder,
        sketch_version=seen[0].version,
        family=seen[0].family,
        layer_scales=fitted.layer_scales,
        means=fitted.means,
        down=fitted.down,
        up=fitted.up,
        text=space,
    )
    projected = np.concatenate([space.project(texts) for texts in said])
    penalties = Penalties.fit(fitted.up, projected, normalise(encoder.coordinates(seen)))
    encoder = replace(encoder, penalties=penalties, usual_length=fitted.usual_length)
    metrics = {
        **fitted.metrics,
        "adapters": {split: adapters.count(split) for split in SPLITS},
    }
    # Held-out adapters are for reports, not for those who train.
    if "validation" in adapters.splits:
        metrics["validation"] = measure_retrieval(
            encoder, adapters.sketches, adapters.captions, adapters.splits, "validation"
        )
    return replace(encoder, metrics=metrics)


@dataclass(frozen=True, slots=True)
class RidgeMap:
    """What ridge regression learns: see `RidgeEncoder`, whose fields these are."""

    layer_scales: Floats
    means: Floats
    down: QuarterMatrix
    up: Floats
    usual_length: float
    metrics: dict[str, Any]  # the penalty chosen, and what each was measured at


def fit_map(
    sketches: Sequence[Sketch],
    captions: Sequence[Floats],
    space: TextSpace,
    components: int,
    seed: int,
    groups: Sequence[int] | None,
) -> RidgeMap:
    """Learn the map from training adapters' sketches to their captions (captions, dim) each.

    Features are made layer by layer, thrice, and never all at once.
    """
    targets = targets_of(captions, space)
    targets -= targets.mean(axis=0)
    aligned = fit_layer_scales(sketches, targets)
    projected = [space.project(texts) for texts in captions]
    scales = learn_layer_scales(sketches, targets, projected, aligned)
    kernel = np.zeros((len(sketches), len(sketches)), np.float32)
    means = []
    for features in layer_features(sketches, scales):
        kernel += features @ features.T
        means.append(features.mean(axis=0))
    penalty, mrr_by_penalty = choose_penalty(kernel, captions, groups=groups, seed=seed)
    ridge = KernelRidge(kernel, targets)
    down, up = low_rank(
        layer_features(sketches, scales),
        ridge.predict(kernel, penalty),
        ridge.duals(penalty),
        # Two directions stay free for what is held against an adapter.
        min(components, targets.shape[1] - 2),
    )
    metrics = {
        "penalty": penalty,
        "cross_validation_mrr": {str(key): round(mrr, 4) for key, mrr in mrr_by_penalty.items()},
    }
    mean = np.concatenate(means).astype(np.float16).astype(np.float32)
    length = usual_length(kernel, captions, penalty, groups=groups, seed=seed)
    return RidgeMap(scales, mean, down, up, length, metrics)


def measure_retrieval(
    encoder: WeightEncoder,
    sketches: Sequence[Sketch],
    captions: Sequence[Floats],
    splits: Sequence[str],
    split: str,
) -> dict[str, float]:
    """Return retrieval by weights alone, in a gallery of the split's own adapters."""
    members = [index for index, other in enumerate(splits) if other == split]
    gallery = encoder.encode([sketches[i] for i in members])
    queries = encoder.encode_query(np.concatenate([captions[i] for i in members]))
    targets = np.repeat(np.arange(len(members)), [len(captions[i]) for i in members])
    metrics = RetrievalMetrics.of(positions(queries @ gallery.T, targets))
    return {key: round(value, 4) for key, value in asdict(metrics).items()}


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Where a training keeps what is done, which processes work at it, and who is told."""

    folder: Path | None = None  # its state, from which a rerun resumes, and its curves
    kept: Path | None = None  # sketches; see `sketch_files`
    workers: Workers = field(default_factory=Workers)
    progress: Progress = silent


def train_autolora(
    dataset: Dataset,
    text_encoder: TextEncoder,
    *,
    name: str,
    base_model: str,
    config: AutoLoraConfig | None = None,
    schedule: Schedule | None = None,
    run: TrainingRun | None = None,
) -> AutoLoraEncoder:
    """Train AutoLoRA's encoder on the training split, stopped early by the validation one.

    With a folder, the run's curves are there as `curves.json` and `curves.png`, and a rerun on the
    same adapters, captions and settings goes on from its state, for more epochs if they are asked.

    Raises:
        TrainingDataError: too few adapters for training, or none for validation.
        LoraFileError: an adapter cannot be read.
    """
    family, run = family_of(base_model), run or TrainingRun()
    config = config or AutoLoraConfig(family.name, dim=text_encoder.dim)
    train, validation = dataset.indices("train"), dataset.indices("validation")
    if not (train and validation):
        raise TrainingDataError("AutoLoRA's encoder needs training and validation adapters")
    schedule, least = schedule or Schedule(), run.workers.least_batch
    if min(len(train), schedule.batch) < least:
        raise TrainingDataError(
            f"training needs {least} adapters at least, in batches of as many; there are "
            f"{len(train)}, in batches of {schedule.batch}"
        )
    progress = run.progress if run.workers.is_first else silent
    stacked = stack_files(dataset.paths, config, progress, run.kept)
    embedded = encode_captions(dataset.captions, text_encoder)
    space = TextSpace.fit([embedded[i] for i in train])
    projected = [torch.from_numpy(space.project(texts)) for texts in embedded]
    seen, unseen = (_examples(stacked, projected, rows) for rows in (train, validation))
    network = _new_network(config, stacked.select(torch.tensor(train)), schedule.seed)
    said = text_encoder.name, [list(texts) for texts in dataset.captions], list(dataset.splits)
    digest = _digest(stacked, repr((said, config, replace(schedule, epochs=0, patience=0))))
    trainer = Trainer(network, schedule, run.folder, run.workers, trained_on=digest)
    done = trainer.run(seen, unseen, run.progress)
    if run.folder and run.workers.is_first:
        draw_curves(done.curves, run.folder / "curves.png")
    return AutoLoraEncoder(
        name=name,
        base_model=base_model,
        text_encoder=text_encoder.name,
        sketch_version=default_layout(family).version if config.sketched else FACTORS,
        family=family.name,
        network=network,
        text=space,
        metrics={
            "epochs": done.epoch,
            "best_epoch": done.best_epoch,
            "adapters": {split: len(dataset.indices(split)) for split in SPLITS},
            "validation": {"mrr": round(done.best_mrr, 4)},
        },
    )


def _digest(adapters: LayerBatch, facts: str) -> str:
    """Name what a network is trained on: adapters as it sees them, and what else there is."""
    digest = hashlib.sha256(facts.encode())
    factors = [*adapters.down.values(), *(adapters.up or {}).values()]
    for tensor in (*factors, adapters.log_magnitudes, adapters.mask):
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _examples(adapters: LayerBatch, captions: Sequence[Tensor], rows: Sequence[int]) -> Examples:
    return Examples(adapters.select(torch.tensor(rows)), [captions[i] for i in rows])


def _new_network(config: AutoLoraConfig, adapters: LayerBatch, seed: int) -> AutoLora:
    torch.manual_seed(seed)
    network = AutoLora(config)
    network.standardise(adapters)
    return network


def stack_files(
    paths: Sequence[Path],
    config: AutoLoraConfig,
    progress: Progress,
    kept: Path | None,
) -> LayerBatch:
    """Read adapters as the network sees them: whole factors, or sketches."""
    family = family_of(config.family)
    if config.sketched:
        sketches = sketch_files(paths, family=family.name, kept=kept, progress=progress)
        return stack_sketches(family, sketches)
    adapters = []
    for index, path in enumerate(paths):
        adapters.append(read(path))
        progress(index + 1, len(paths), "Reading")
    return stack_weights(family, adapters)
