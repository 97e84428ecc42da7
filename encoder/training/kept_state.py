"""What a training keeps on disk, so that a rerun goes on from there."""

import logging
from pathlib import Path
from typing import Any

import torch

from encoder.training.workers import Workers

log = logging.getLogger(__name__)


def take_up(path: Path, trained_on: str, others: str, workers: Workers) -> dict[str, Any] | None:
    """Return the state that a training of the same `trained_on` wrote, its tensors on the CPU.

    None, and a warning, where there is none of it: it is damaged, or `others`, as in "other data
    or settings", were trained on.

    Raises:
        OSError: the file cannot be opened.
    """
    state = _load(path)
    trouble = "cannot be read"
    if state is not None and state.get("trained_on", "") != trained_on:
        state, trouble = None, f"is of a training on {others}"
    if state is None and workers.is_first:
        log.warning("%s %s; this one begins anew and replaces it", path, trouble)
    return state


def _load(path: Path) -> dict[str, Any] | None:
    try:
        # Our own file, and `weights_only` admits no code.
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, MemoryError):
        raise
    except Exception:  # of whatever type: torch follows damaged bytes anywhere
        return None
    return state if isinstance(state, dict) else None
