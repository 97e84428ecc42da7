"""torch, loaded when something of it is first used.

Importing it takes two CPU seconds. What a file's header tells needs no arithmetic, so modules
that judge headers as well as tensors take it from here:

    from encoder.late_torch import Tensor, torch
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
    from torch import Tensor as Tensor
else:

    class _Torch:
        """Stands for the module until its first use."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(importlib.import_module("torch"), name)
            # Found here the next time.
            setattr(self, name, value)
            return value

    torch = _Torch()
    # For annotations, which are all that it is used for.
    Tensor = Any
