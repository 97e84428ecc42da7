"""Gates on disk: safetensors, with their kind, base model and origin in the header."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from crawler.hashed_file import hash_file
from crawler.whole_file import written_whole
from registry.fusion.errors import GatesFileError
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.gates.diffsynth import DiffSynthGates
from registry.fusion.gates.interface import Gates, TrainableGates
from registry.fusion.gates.rivals import RivalGates

FORMAT, FORMAT_VERSION = "autolora-gates", "2"
# Kinds that are trained here, as their files name them.
KINDS: Mapping[str, type[TrainableGates]] = {
    kind.kind: kind for kind in (RivalGates, AutoLoraGates)
}
# Kinds that others publish, without a header of ours, by the beginning of their first key.
FOREIGN_KINDS: Mapping[str, type[Gates]] = {"model_dict.": DiffSynthGates}


def save_gates(gates: TrainableGates, path: Path) -> None:
    """Write gates, atomically, and note the file's hash in them."""
    header = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "kind": gates.kind,
        "base_model": gates.base_model,
        "details": json.dumps(gates.details, ensure_ascii=False),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: tensor.detach().float().clone().contiguous() for key, tensor in gates.tensors().items()
    }
    with written_whole(path) as partial:
        save_file(tensors, partial, header)
    gates.sha256 = hash_file(path)


def load_gates(path: Path, base_model: str) -> Gates:
    """Load the gates that a file holds, of whatever kind, to be used and not trained.

    `base_model` is for files of others, which name none.

    Raises:
        GatesFileError: the file is absent, damaged, or something else.
    """
    header, tensors = _read(path)
    details: dict[str, Any] = {}
    kind = _find_foreign_kind(tensors)
    if kind is None:
        kind, base_model, details = _check_header(path, header)
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise GatesFileError(path, f"{key} holds NaN or infinite values")
    try:
        gates = kind.from_tensors(tensors, base_model)
    except (ValueError, RuntimeError) as error:
        raise GatesFileError(path, f"is damaged: {error}") from error
    gates.details, gates.sha256 = details, hash_file(path)
    return gates.eval().requires_grad_(False)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except (OSError, SafetensorError) as error:
        raise GatesFileError(path, str(error)) from error


def _find_foreign_kind(tensors: Mapping[str, Tensor]) -> type[Gates] | None:
    first_key = next(iter(tensors), "")
    return next(
        (kind for start, kind in FOREIGN_KINDS.items() if first_key.startswith(start)), None
    )


def _check_header(
    path: Path, header: Mapping[str, str]
) -> tuple[type[TrainableGates], str, dict[str, Any]]:
    """Return the kind, the base model and the origin that a header of ours names."""
    if header.get("format") != FORMAT or header.get("version") != FORMAT_VERSION:
        raise GatesFileError(path, f"not {FORMAT} version {FORMAT_VERSION}")
    try:
        kind, base_model, details = header["kind"], header["base_model"], header["details"]
        origin = json.loads(details)
    except (KeyError, ValueError) as error:
        raise GatesFileError(path, f"is damaged: {error}") from error
    if kind not in KINDS:
        raise GatesFileError(path, f"holds gates of the unknown kind {kind!r}")
    return KINDS[kind], base_model, origin
