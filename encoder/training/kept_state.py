"""What a training keeps on disk, so that a rerun goes on from there."""

from pathlib import Path
from typing import Any

import torch


def load_state(path: Path) -> dict[str, Any] | None:
    """Return the state that was written, its tensors on the CPU; None where it is damaged.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        # Our own file, and `weights_only` admits no code.
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, MemoryError):
        raise
    except Exception:  # of whatever type: torch follows damaged bytes anywhere
        return None
    return state if isinstance(state, dict) else None
