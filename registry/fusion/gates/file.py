"""Gates on disk: safetensors, with their kind, base model and origin in the header."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from registry.fusion.errors import GatesFileError

FORMAT, FORMAT_VERSION = "autolora-gates", "2"


@dataclass(frozen=True)
class GatesFile:
    """What a file of gates holds."""

    kind: str
    base_model: str
    details: dict[str, Any]  # where the gates come from: data, steps, losses
    tensors: dict[str, Tensor]
    sha256: str


def write_gates(
    path: Path, kind: str, base_model: str, details: Mapping[str, Any], tensors: dict[str, Tensor]
) -> str:
    """Write gates, atomically, and return the file's sha256."""
    header = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "kind": kind,
        "base_model": base_model,
        "details": json.dumps(details, ensure_ascii=False),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(
        {key: t.detach().float().clone().contiguous() for key, t in tensors.items()},
        partial,
        header,
    )
    partial.replace(path)
    return hash_file(path)


def read_gates(path: Path) -> GatesFile:
    """Read what `write_gates` wrote.

    Raises:
        GatesFileError: the file is absent, damaged, or something else.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise GatesFileError(path, str(error)) from error
    if header.get("format") != FORMAT or header.get("version") != FORMAT_VERSION:
        raise GatesFileError(path, f"not {FORMAT} version {FORMAT_VERSION}")
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise GatesFileError(path, "holds NaN or infinite values")
    try:
        kind, details = header["kind"], json.loads(header["details"])
        return GatesFile(kind, header["base_model"], details, tensors, hash_file(path))
    except (KeyError, ValueError) as error:
        raise GatesFileError(path, f"is damaged: {error}") from error


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
