"""Compiled bases: adapters come and go without the base being compiled again."""

import sys
from typing import Any

import torch
from torch import nn

from registry.fusion.errors import CompiledBaseError


def compile_base(denoiser: nn.Module, **options: Any) -> None:
    """Compile a denoiser in place (`options` are torch.compile's), ready for adapters.

    It is compiled once without adapters and once for each shape of what is attached: how many
    adapters a layer has, and their padded ranks. Swapping one adapter for another of such a
    rank compiles nothing.
    """
    import torch._dynamo

    # torch.compile assumes that no hook is added later, and would run on without adapters.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    denoiser.compile(**options)


def check_compiled(denoiser: nn.Module) -> None:
    """Refuse a base that was compiled so that it does not look at hooks.

    Raises:
        CompiledBaseError: adapters would be attached and do nothing.
    """
    if "torch._dynamo" not in sys.modules:
        return
    # Its blocks may be compiled each by itself, as diffusers' compile_repeated_blocks does.
    compiled = any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        for module in denoiser.modules()
    )
    if compiled and torch._dynamo.config.skip_nnmodule_hook_guards:
        raise CompiledBaseError
