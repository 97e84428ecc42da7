"""Adapters with captions -> a trained encoder, measured on adapters it has not seen."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from encoder.adapter.lora_file import read
from encoder.errors import TrainingDataError
from encoder.sketches.sketch import Sketch, default_layout, sketch_file
from encoder.sketches.sketch_folder import kept_sketch
from encoder.text_encoder import TextEncoder, normalise
from encoder.training.contrastive import Examples, Schedule, Trainer
from encoder.training.curves import draw_curves
from encoder.training.dataset import SPLITS, Dataset
from encoder.training.layer_scales import fit_layer_scales, learn_layer_scales
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
from encoder.weight_encoders.penalties import Caution
from encoder.weight_encoders.ridge import (
    KernelRidge,
    RidgeEncoder,
    TextSpace,
    choose_penalty,
    low_rank,
    scaled_features,
    targets_of,
)

Floats = npt.NDArray[np.float32]

# Keeps the checkpoint of the tiny base under 6 MB; half as many lose .005 of the MRR.
DEFAULT_COMPONENTS = 320

# Told (done, total, what) as work goes on; a command draws its bar from it.
Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, what: str) -> None:
    """Report progress to nobody."""


def sketch_files(
    paths: Sequence[Path], *, kept: Path | None = None, progress: Progress = silent
) -> list[Sketch]:
    """Read and sketch adapters, in order; see `encoder/sketches/sketch_folder.py` for `kept`.

    Raises:
        LoraFileError: an adapter cannot be read.
        SketchError: its base model is unknown, or it changes nothing.
    """
    sketches = []
    for index, path in enumerate(paths):
        sketches.append(kept_sketch(path, kept) if kept else sketch_file(path))
        progress(index + 1, len(paths), "Sketching")
    return sketches


def encode_captions(captions: Sequence[Sequence[str]], text_encoder: TextEncoder) -> list[Floats]:
    """Embed every adapter's captions: (its captions, dim) each, in order."""
    texts = [text for own in captions for text in own]
    unique = list(dict.fromkeys(texts))
    embeddings = dict(zip(unique, text_encoder.encode(unique), strict=True))
    return [np.stack([embeddings[text] for text in own]) for own in captions]


def fit_ridge(
    dataset: Dataset,
    text_encoder: TextEncoder,
    *,
    name: str,
    base_model: str,
    components: int = DEFAULT_COMPONENTS,
    seed: int = 0,
    kept: Path | None = None,
    progress: Progress = silent,
) -> RidgeEncoder:
    """Train the shipped encoder from adapters' files. See `fit_ridge_to_sketches`.

    Sketches are written to the folder `kept`; those there are used instead of the files, so
    that a rerun goes on where it was stopped and the files may be dropped.
    """
    sketches = sketch_files(dataset.paths, kept=kept, progress=progress)
    captions = encode_captions(dataset.captions, text_encoder)
    progress(0, 1, "Fitting")
    encoder = fit_ridge_to_sketches(
        sketches,
        captions,
        dataset.splits,
        name=name,
        base_model=base_model,
        text_encoder=text_encoder.name,
        components=components,
        seed=seed,
    )
    progress(1, 1, "Fitting")
    return encoder


def fit_ridge_to_sketches(
    sketches: Sequence[Sketch],
    captions: Sequence[Floats],
    splits: Sequence[str],
    *,
    name: str,
    base_model: str,
    text_encoder: str,
    components: int = DEFAULT_COMPONENTS,
    seed: int = 0,
) -> RidgeEncoder:
    """Fit on the training split, choose the penalty within it, measure on validation.

    `captions` are embeddings by the encoder named, (an adapter's captions, dim) each.

    Raises:
        TrainingDataError: too few adapters to train on.
    """
    train = [index for index, split in enumerate(splits) if split == "train"]
    own_sketches, own_captions = [sketches[i] for i in train], [captions[i] for i in train]
    space = TextSpace.fit(own_captions)
    targets = targets_of(own_captions, space)
    targets -= targets.mean(axis=0)
    said = [space.project(own) for own in own_captions]
    aligned = fit_layer_scales(own_sketches, targets)
    scales = learn_layer_scales(own_sketches, targets, said, aligned)
    features = scaled_features(own_sketches, scales)
    kernel = features @ features.T
    penalty, tried = choose_penalty(kernel, own_captions, seed=seed)
    means = features.mean(axis=0).astype(np.float16).astype(np.float32)
    duals = KernelRidge(kernel, targets).duals(penalty)
    features -= means
    # Two directions stay free for what is held against an adapter.
    down, up = low_rank(features, duals, min(components, targets.shape[1] - 2))
    encoder = RidgeEncoder(
        name=name,
        base_model=base_model,
        text_encoder=text_encoder,
        sketch_version=own_sketches[0].version,
        family=own_sketches[0].family,
        layer_scales=scales,
        means=means,
        down=down,
        up=up,
        text=space,
    )
    coordinates = normalise(encoder.coordinates(own_sketches))
    encoder = replace(encoder, caution=Caution.fit(up, np.concatenate(said), coordinates))
    metrics = {
        "penalty": penalty,
        "cross_validation_mrr": {str(key): round(value, 4) for key, value in tried.items()},
        "adapters": {split: list(splits).count(split) for split in SPLITS},
    }
    # Held-out adapters are for reports, not for those who train.
    if "validation" in splits:
        metrics["validation"] = measure(encoder, sketches, captions, splits, "validation")
    return replace(encoder, metrics=metrics)


def measure(
    encoder: WeightEncoder,
    sketches: Sequence[Sketch],
    captions: Sequence[Floats],
    splits: Sequence[str],
    split: str,
) -> dict[str, float]:
    """Return retrieval by weights alone, in a gallery of the split's own adapters."""
    own = [index for index, other in enumerate(splits) if other == split]
    gallery = encoder.encode([sketches[i] for i in own])
    queries = encoder.encode_query(np.concatenate([captions[i] for i in own]))
    targets = np.repeat(np.arange(len(own)), [len(captions[i]) for i in own])
    found = RetrievalMetrics.of(positions(queries @ gallery.T, targets))
    return {key: round(value, 4) for key, value in asdict(found).items()}


def train_autolora(
    dataset: Dataset,
    text_encoder: TextEncoder,
    *,
    name: str,
    base_model: str,
    config: AutoLoraConfig | None = None,
    schedule: Schedule | None = None,
    folder: Path | None = None,
    kept: Path | None = None,
    workers: Workers | None = None,
    progress: Progress = silent,
) -> AutoLoraEncoder:
    """Train AutoLoRA's encoder on the training split, stopped early by the validation one.

    With a `folder`, its state is kept there (a rerun resumes) and the curves as
    `curves.json` and `curves.png`; with `kept`, sketches are (see `sketch_files`).

    Raises:
        TrainingDataError: no adapter for training or for validation.
        LoraFileError: an adapter cannot be read.
    """
    family = family_of(base_model)
    config = config or AutoLoraConfig(family.name, dim=text_encoder.dim)
    if not (dataset.indices("train") and dataset.indices("validation")):
        raise TrainingDataError("AutoLoRA's encoder needs training and validation adapters")
    workers = workers or Workers()
    stacked = stack_files(dataset.paths, config, progress if workers.is_first else silent, kept)
    embedded = encode_captions(dataset.captions, text_encoder)
    space = TextSpace.fit([embedded[i] for i in dataset.indices("train")])
    captions = [torch.from_numpy(space.project(own)) for own in embedded]

    def examples(split: str) -> Examples:
        own = dataset.indices(split)
        return Examples(stacked.select(torch.tensor(own)), [captions[i] for i in own])

    schedule = schedule or Schedule()
    torch.manual_seed(schedule.seed)
    network = AutoLora(config)
    network.standardise(stacked.select(torch.tensor(dataset.indices("train"))))
    train = examples("train")
    trainer = Trainer(network, schedule, folder, workers)
    done = trainer.run(train, examples("validation"), progress)
    if folder and workers.is_first:
        draw_curves(done.curves, folder / "curves.png")
    encoder = AutoLoraEncoder(
        name=name,
        base_model=base_model,
        text_encoder=text_encoder.name,
        sketch_version=default_layout(family).version if config.sketched else FACTORS,
        family=family.name,
        network=network,
        text=space,
    )
    metrics = {
        "epochs": done.epoch,
        "best_epoch": done.best_epoch,
        "adapters": {split: len(dataset.indices(split)) for split in SPLITS},
        "validation": {"mrr": round(done.best_mrr, 4)},
    }
    return replace(encoder, metrics=metrics)


def stack_files(
    paths: Sequence[Path],
    config: AutoLoraConfig,
    progress: Progress = silent,
    kept: Path | None = None,
) -> LayerBatch:
    """Read adapters as the network sees them: whole factors, or sketches."""
    family = family_of(config.family)
    if config.sketched:
        return stack_sketches(family, sketch_files(paths, kept=kept, progress=progress))
    adapters = []
    for index, path in enumerate(paths):
        adapters.append(read(path))
        progress(index + 1, len(paths), "Reading")
    return stack_weights(family, adapters)
