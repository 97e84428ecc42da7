"""Adapters with what people say of them: what encoders are trained on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.errors import TrainingDataError

SPLITS = ("train", "validation", "held-out")


@dataclass(frozen=True)
class Dataset:
    """Adapters of one base model with what people say of them; lists run in parallel."""

    paths: Sequence[Path]
    captions: Sequence[Sequence[str]]
    splits: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.paths) == len(self.captions) == len(self.splits):
            raise TrainingDataError("paths, captions and splits differ in length")
        unknown = set(self.splits) - set(SPLITS)
        if unknown:
            raise TrainingDataError(f"splits {sorted(unknown)} are not among {SPLITS}")
        for path, captions in zip(self.paths, self.captions, strict=True):
            if not captions:
                raise TrainingDataError(f"{Path(path).name} has no caption")

    def indices(self, split: str) -> list[int]:
        """Return the places of a split's adapters."""
        return [index for index, other in enumerate(self.splits) if other == split]


def read_dataset(manifest: Path) -> Dataset:
    """Read a JSON list of {"file", "captions", "split"}; files lie relative to it.

    Raises:
        TrainingDataError: it is something else; says where.
    """
    try:
        entries = json.loads(manifest.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingDataError(f"{manifest.name} cannot be read as JSON: {error}") from error
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise TrainingDataError(
            f'{manifest.name} is not a list of {{"file": text, "captions": [texts], "split": text}}'
        )
    return Dataset(
        [manifest.parent / entry["file"] for entry in entries],
        [entry["captions"] for entry in entries],
        [entry["split"] for entry in entries],
    )


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("file"), str)
        and isinstance(entry.get("split"), str)
        and isinstance(entry.get("captions"), list)
        and all(isinstance(text, str) for text in entry["captions"])
    )
