"""Run adapters inside a transformer, without touching its weights.

Every layer that adapters change gets a forward hook (registry/fusion/fused_layers.py), by which
gates, or plain addition, bring what the adapters say into its output. Detaching takes the hooks
away and so restores the model exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from registry.fusion.compiled import check_compiled
from registry.fusion.device_cache import DeviceAdapter, load_onto
from registry.fusion.errors import MissingGateError
from registry.fusion.fused_layers import LayerStack, PlainSum, find_layer, stack_adapters
from registry.fusion.gates.interface import FusedSet, Gates
from registry.fusion.guidance import GuidedPasses
from registry.fusion.options import Mode

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights


@dataclass(frozen=True)
class Attachment:
    """Adapters at work in a transformer, with what their gates did if that is watched."""

    _columns: Mapping[str, tuple[int, ...]]
    # Each layer has, for every forward pass, the mean openness of its n adapters, (n,).
    _openness: Mapping[str, Sequence[Tensor]]

    def activity(self, adapter: int) -> dict[str, float]:
        """Return an adapter's gates by layer: their mean over features, places and passes.

        Empty when nothing was watched, gated, or run.
        """
        return {layer: float(passes.mean()) for layer, passes in self.passes(adapter).items()}

    def passes(self, adapter: int) -> dict[str, Tensor]:
        """Return the same pass by pass, in the order they were run: by layer, (passes,)."""
        return {
            layer: torch.stack(list(means))[:, self._columns[layer].index(adapter)].cpu()
            for layer, means in self._openness.items()
            if means and adapter in self._columns[layer]
        }


@contextmanager
def attach(
    transformer: nn.Module,
    adapters: Sequence[tuple["LoraWeights | DeviceAdapter", float]],
    gates: Gates | None = None,
    mode: Mode = "gated",
    *,
    relevance: Tensor | None = None,
    leanings: Tensor | None = None,
    passes: GuidedPasses | None = None,
    watch: bool = False,
) -> Iterator[Attachment]:
    """Run `adapters`, each with a strength, in `transformer` until the context ends.

    A strength of 0 is the same as leaving the adapter out. An adapter that lacks a layer
    contributes nothing to it. `relevance` (len(adapters),) says how far the prompt favours
    each adapter (`registry.fusion.relevance`), NaN where it is not known; and `leanings`
    (len(adapters), k) what `Gates.leanings` says of its embedding. Gates that do not ask
    for them ignore both. `passes` says in which passes adapters rest, if in any. With `watch`, the
    attachment records the gates' activity.

    Raises:
        ValueError: `relevance` is not one number for each adapter.
        LayerMismatchError: the transformer lacks a layer, or has it in another size.
        MissingGateError: mode is "gated" and `gates` do not cover a layer.
        AlreadyAttachedError: adapters are attached to this transformer already.
        CompiledBaseError: the transformer was compiled in a way that overlooks adapters.
    """
    check_compiled(transformer)
    if relevance is not None and relevance.shape != (len(adapters),):
        raise ValueError(f"relevance {tuple(relevance.shape)} for {len(adapters)} adapters")
    stacks = _stack_used(adapters, mode)
    if mode == "gated" and gates is None and stacks:
        raise MissingGateError(sorted(stacks))
    with attach_stacks(
        transformer,
        stacks,
        gates if mode == "gated" else None,
        relevance=relevance,
        leanings=leanings,
        strengths=torch.tensor([strength for _, strength in adapters]),
        passes=passes,
        watch=watch,
    ) as attachment:
        yield attachment


def _stack_used(
    adapters: Sequence[tuple["LoraWeights | DeviceAdapter", float]], mode: Mode
) -> dict[str, LayerStack]:
    """Stack the adapters that a mode uses, by layer; the columns count all of `adapters`."""
    used = [] if mode == "base" else [k for k, (_, strength) in enumerate(adapters) if strength]
    share = 1 / len(used) if mode == "average" and used else 1.0
    loaded = [
        adapter if isinstance(adapter, DeviceAdapter) else load_onto(adapter)
        for adapter in (adapters[k][0] for k in used)
    ]
    stacks = stack_adapters(loaded, [adapters[k][1] * share for k in used])
    return {
        layer: replace(stack, columns=tuple(used[k] for k in stack.columns))
        for layer, stack in stacks.items()
    }


@contextmanager
def attach_stacks(
    transformer: nn.Module,
    stacks: Mapping[str, LayerStack],
    gates: Gates | None,
    *,
    relevance: Tensor | None = None,
    leanings: Tensor | None = None,
    strengths: Tensor | None = None,
    passes: GuidedPasses | None = None,
    watch: bool = False,
) -> Iterator[Attachment]:
    """Like `attach`, for stacks picked from a bank; without gates they add up plainly.

    `relevance` (N,), or (B, N) by sample, `leanings` (N, k) or (B, N, k), and `strengths` (N,),
    1 if not given, are those of the adapters that `columns` count.
    """
    passes = passes or GuidedPasses()
    openness: dict[str, list[Tensor]] = {}
    adapters = FusedSet(
        transformer,
        {layer: find_layer(transformer, layer, stack) for layer, stack in stacks.items()},
        stacks,
        passes,
        relevance,
        leanings,
        strengths,
        openness if watch else None,
    )
    missing = [layer for layer in stacks if gates is not None and not gates.covers(layer)]
    if missing:
        raise MissingGateError(missing)
    with ExitStack() as hooks:
        hooks.callback(transformer.register_forward_pre_hook(passes.begin).remove)
        if gates is None:
            hooks.enter_context(
                adapters.hook({layer: PlainSum(stack) for layer, stack in stacks.items()})
            )
        else:
            hooks.enter_context(gates.fuse(adapters))
        yield Attachment({layer: stack.columns for layer, stack in stacks.items()}, openness)
