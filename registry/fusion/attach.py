"""Run adapters inside a transformer, without touching its weights.

Every adapted linear layer (or convolution of one pixel, which is one) gets one forward hook
that adds what its adapters say. The base weights are never written, so detaching restores the
model exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor, nn

from registry.fusion.compiled import check_compiled
from registry.fusion.errors import AlreadyAttachedError, LayerMismatchError, MissingGateError
from registry.fusion.fused_layers import DeviceAdapter, LayerStack, load_onto, stack_adapters
from registry.fusion.gates.autolora import FusionGate, Gates
from registry.fusion.gates.diffsynth import PublishedGates
from registry.fusion.gates.kinds import AnyGates
from registry.fusion.gates.rivals import RivalGates, Rivalry, layer_type
from registry.fusion.gates.spans import Part, Span, SpanHook, hook
from registry.fusion.guidance import Passes

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights

# gated: by gates of any kind. sum: plain addition. average: addition, each adapter's strength
# divided by the number of adapters in use. base: no adapter.
Mode = Literal["gated", "sum", "average", "base"]
Adapted = TypeVar("Adapted", nn.Linear, nn.Conv2d)


@dataclass(frozen=True)
class _LayerBank:
    down: Tensor  # (N, rank, d_in)
    up: Tensor  # (N, rank, d_out)
    scale: Tensor  # (N,)
    present: Tensor  # (N,) bool: the adapter has this layer


class AdapterBank:
    """Many adapters side by side, from which sets are picked to run together."""

    def __init__(
        self, adapters: Sequence["LoraWeights"], dtype: torch.dtype = torch.float32
    ) -> None:
        """Hold adapters in `dtype`; those who lack a layer get zeros there."""
        self._count = len(adapters)
        names = {name: None for weights in adapters for name in weights.layers}
        self._layers = {name: stack_layer(name, adapters, dtype) for name in names}

    def __len__(self) -> int:
        return self._count

    def pick(self, sets: Tensor, strengths: Tensor | None = None) -> dict[str, LayerStack]:
        """Stack adapters `sets` (G, n), by index, times `strengths` (G, n), by layer.

        Layers that none of a set has are left out, and so are adapters without the layer
        where all groups agree on that: they cost nothing there.
        """
        strengths = torch.ones(sets.shape) if strengths is None else strengths
        stacks = {}
        for name, bank in self._layers.items():
            columns = bank.present[sets].any(0).nonzero()[:, 0]
            if not len(columns):
                continue
            chosen = sets[:, columns]  # (G, n)
            factor = bank.scale[chosen] * strengths[:, columns]
            down = bank.down[chosen].float()  # (G, n, rank, d_in)
            stacks[name] = LayerStack(
                down=down.flatten(1, 2).transpose(1, 2),
                up=bank.up[chosen].float() * factor[..., None, None],
                columns=tuple(columns.tolist()),
            )
        return stacks


def stack_layer(name: str, adapters: Sequence["LoraWeights"], dtype: torch.dtype) -> _LayerBank:
    layers = {i: a.layers[name] for i, a in enumerate(adapters) if name in a.layers}
    factors = {index: layer.factors() for index, layer in layers.items()}
    rank = max(len(down) for down, _ in factors.values())
    first_down, first_up = next(iter(factors.values()))
    bank = _LayerBank(
        down=torch.zeros(len(adapters), rank, first_down.shape[1], dtype=dtype),
        up=torch.zeros(len(adapters), rank, len(first_up), dtype=dtype),
        scale=torch.zeros(len(adapters)),
        present=torch.zeros(len(adapters), dtype=torch.bool),
    )
    for index, (down, up) in factors.items():
        own_rank, d_in = down.shape
        if (d_in, len(up)) != (bank.down.shape[2], bank.up.shape[2]):
            raise LayerMismatchError(
                f"adapters disagree on layer {name!r}: ({len(up)}, {d_in}) and "
                f"({bank.up.shape[2]}, {bank.down.shape[2]}); load those of one base model only"
            )
        bank.down[index, :own_rank] = down
        bank.up[index, :own_rank] = up.T
        bank.scale[index] = layers[index].scale
        bank.present[index] = True
    return bank


@dataclass(frozen=True)
class Attachment:
    """Adapters at work in a transformer, with what their gates did if that is watched."""

    _columns: dict[str, tuple[int, ...]] = field(default_factory=dict)
    # By layer: for every forward pass the mean openness of its n adapters, (n,).
    _watched: dict[str, list[Tensor]] = field(default_factory=dict)

    def activity(self, adapter: int) -> dict[str, float]:
        """Return an adapter's gates by layer: their mean over features, places and passes.

        Empty when nothing was watched, gated, or run.
        """
        return {layer: float(passes.mean()) for layer, passes in self.passes(adapter).items()}

    def passes(self, adapter: int) -> dict[str, Tensor]:
        """Return the same pass by pass, in the order they were run: by layer, (passes,)."""
        return {
            layer: torch.stack(means)[:, self._columns[layer].index(adapter)].cpu()
            for layer, means in self._watched.items()
            if means and adapter in self._columns[layer]
        }


@dataclass(frozen=True)
class _Branch:
    """The forward hook of one linear layer: adds its adapters to its output."""

    stack: LayerStack
    # What decides: a gate that looks at outputs, or a rivalry for layers of this type; or nothing.
    gate: FusionGate | tuple[Rivalry, str] | None
    watched: list[Tensor] | None
    passes: Passes
    # The gate as the base runs it, if that is elsewhere or in another precision: a copy, since
    # gates are shared.
    fitted: list[FusionGate] = field(default_factory=list)

    def __call__(self, linear: nn.Module, inputs: tuple[Tensor, ...], base: Tensor) -> Tensor:
        (x,) = inputs
        first = self.passes.first_row(len(x))
        if first == 0:
            return self._add(linear, x, base)
        if first == len(x):
            return base
        return torch.cat([base[:first], self._add(linear, x[first:], base[first:])])

    def _add(self, linear: nn.Module, x: Tensor, base: Tensor) -> Tensor:
        if isinstance(linear, nn.Conv2d):
            # Its features are the first axis of a picture and not the last.
            merged = self._merge(x.movedim(1, -1), base.movedim(1, -1))
            return merged.movedim(-1, 1)
        return self._merge(x, base)

    def _merge(self, x: Tensor, base: Tensor) -> Tensor:
        if self.gate is None:
            return self.stack.add_to(base, x)
        if isinstance(self.gate, tuple):
            rivalry, type_ = self.gate
            openness = rivalry.decided(type_, self.stack.columns, x)  # (B or 1, n)
            if self.watched is not None:
                self.watched.append(openness.detach().float().mean(0))
            return self.stack.add_to(base, x, openness)
        outputs = self.stack.outputs(x)
        gate = self._fit(self.gate, base)
        openness = gate.openness(base, outputs)
        if self.watched is not None:
            self.watched.append(openness.detach().flatten(1).float().mean(1))
        return gate.merge(base, outputs, openness)

    def _fit(self, gate: FusionGate, base: Tensor) -> FusionGate:
        if (gate.bias.device, gate.bias.dtype) == (base.device, base.dtype):
            return gate
        if not self.fitted:
            self.fitted.append(deepcopy(gate).to(base))
        return self.fitted[0]


@contextmanager
def attach(
    transformer: nn.Module,
    adapters: Sequence[tuple["LoraWeights | DeviceAdapter", float]],
    gates: AnyGates | None = None,
    mode: Mode = "gated",
    *,
    relevance: Tensor | None = None,
    leanings: Tensor | None = None,
    passes: Passes | None = None,
    watch: bool = False,
) -> Iterator[Attachment]:
    """Run `adapters`, each with a strength, in `transformer` until the context ends.

    A strength of 0 is the same as leaving the adapter out. An adapter that lacks a layer
    contributes nothing to it. `relevance` (len(adapters),) says how far the prompt favours
    each adapter (`registry.fusion.gates.rivals.leads`), NaN where it is not known; and `leanings`
    (len(adapters), k) what `RivalGates.leanings` says of its embedding. Gates that do not ask
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
    used = [] if mode == "base" else [i for i, (_, strength) in enumerate(adapters) if strength]
    share = 1 / len(used) if mode == "average" and used else 1.0
    loaded = [
        one if isinstance(one, DeviceAdapter) else load_onto(one)
        for one in (adapters[i][0] for i in used)
    ]
    picked = stack_adapters(loaded, [adapters[i][1] * share for i in used])
    # Columns become places in `adapters` again, of which some may be unused.
    stacks = {
        layer: replace(stack, columns=tuple(used[k] for k in stack.columns))
        for layer, stack in picked.items()
    }
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


@contextmanager
def attach_stacks(
    transformer: nn.Module,
    stacks: Mapping[str, LayerStack],
    gates: AnyGates | None,
    *,
    relevance: Tensor | None = None,
    leanings: Tensor | None = None,
    strengths: Tensor | None = None,
    passes: Passes | None = None,
    watch: bool = False,
) -> Iterator[Attachment]:
    """Like `attach`, for stacks picked from a bank; without gates they add up plainly.

    `relevance` (N,), or (B, N) by sample, `leanings` (N, k) or (B, N, k), and `strengths` (N,),
    1 if not given, are those of the adapters that `columns` count.
    """
    passes = passes or Passes()
    if isinstance(gates, PublishedGates):
        with attach_spans(transformer, stacks, gates, passes, watch=watch) as attachment:
            yield attachment
        return
    linears = {layer: find_layer(transformer, layer, stack) for layer, stack in stacks.items()}
    missing = [layer for layer in stacks if gates is not None and layer not in gates]
    if missing:
        raise MissingGateError(missing)
    attachment = Attachment({layer: stack.columns for layer, stack in stacks.items()})
    rivalry = None
    if isinstance(gates, RivalGates):
        count = 1 + max((k for stack in stacks.values() for k in stack.columns), default=-1)
        unknown, whole = torch.full((count,), torch.nan), torch.ones(count)
        if leanings is None:
            leanings = torch.full((count, len(gates.questions)), torch.nan)
        asked: dict[tuple[int, ...], list[str]] = {}
        for columns, type_ in sorted({(s.columns, layer_type(n)) for n, s in stacks.items()}):
            asked.setdefault(columns, []).append(type_)
        rivalry = Rivalry(
            gates,
            torch.atleast_2d(unknown if relevance is None else relevance),
            leanings if leanings.ndim == 3 else leanings[None],
            whole if strengths is None else strengths,
            asked=asked,
        )
    with ExitStack() as hooks:
        hooks.callback(transformer.register_forward_pre_hook(passes.begin).remove)
        if rivalry is not None:
            timed = transformer.register_forward_pre_hook(rivalry.watch_time, with_kwargs=True)
            hooks.callback(timed.remove)
        for layer, stack in stacks.items():
            gate = _deciding(gates, rivalry, layer, stack)
            watched = attachment._watched.setdefault(layer, []) if watch else None
            branch = _Branch(stack, gate, watched, passes)
            hooks.callback(linears[layer].register_forward_hook(branch).remove)
        yield attachment


def _deciding(
    gates: Gates | RivalGates | None, rivalry: Rivalry | None, layer: str, stack: LayerStack
) -> FusionGate | tuple[Rivalry, str] | None:
    """Return what decides on the adapters of a layer."""
    if rivalry is not None:
        return rivalry, layer_type(layer)
    if not isinstance(gates, Gates):
        return None
    gate, features = gates[layer], stack.up.shape[-1]
    if gate.dim != features:
        raise LayerMismatchError(
            f"layer {layer!r}: its gate has {gate.dim} features, the base {features}"
        )
    return gate


@contextmanager
def attach_spans(
    transformer: nn.Module,
    stacks: Mapping[str, LayerStack],
    gates: PublishedGates,
    passes: Passes,
    *,
    watch: bool,
) -> Iterator[Attachment]:
    """Like `attach_stacks`, for gates that span several layers each.

    Layers outside of the blocks have no such gate and add up plainly, as DiffSynth does it.
    """
    plain = {layer: stack for layer, stack in stacks.items() if "transformer_blocks." not in layer}
    ungated = stacks.keys() - plain.keys() - {layer for names in gates.spans for layer in names}
    if ungated:
        raise MissingGateError(sorted(ungated))
    attachment = Attachment({layer: stack.columns for layer, stack in stacks.items()})
    spans = []
    for names, gate in gates.spans.items():
        if not stacks.keys().isdisjoint(names):
            parts = [
                _part(transformer, name, stacks.get(name), attachment, watch) for name in names
            ]
            spans.append(Span(parts, gate))
    with hook(spans, passes), attach_stacks(transformer, plain, None, passes=passes):
        yield attachment


def _part(
    transformer: nn.Module,
    layer: str,
    stack: LayerStack | None,
    attachment: Attachment,
    watch: bool,
) -> Part:
    if stack is None:
        return Part(get_linear(transformer, layer))
    watched = attachment._watched.setdefault(layer, []) if watch else None
    return Part(find_linear(transformer, layer, stack), stack.outputs, stack.columns, watched)


def find_linear(transformer: nn.Module, layer: str, stack: LayerStack) -> nn.Linear:
    """Return the linear layer that `stack` belongs to."""
    return _check_size(get_linear(transformer, layer), layer, stack)


def find_layer(transformer: nn.Module, layer: str, stack: LayerStack) -> nn.Linear | nn.Conv2d:
    """Return the linear layer, or the convolution of one pixel, that `stack` belongs to."""
    module = _get_free(transformer, layer)
    if isinstance(module, nn.Conv2d) and module.kernel_size == module.stride == (1, 1):
        return _check_size(module, layer, stack)
    return find_linear(transformer, layer, stack)


def get_linear(transformer: nn.Module, layer: str) -> nn.Linear:
    """Return a linear layer that runs no adapters yet."""
    module = _get_free(transformer, layer)
    if not isinstance(module, nn.Linear):
        raise LayerMismatchError(f"layer {layer!r} of the base is no linear layer")
    return module


def _get_free(transformer: nn.Module, layer: str) -> nn.Module:
    try:
        module = transformer.get_submodule(layer)
    except AttributeError:
        raise LayerMismatchError(f"the base has no layer {layer!r}") from None
    if any(isinstance(own, (_Branch, SpanHook)) for own in module._forward_hooks.values()):
        raise AlreadyAttachedError(layer)
    return module


def _check_size(module: Adapted, layer: str, stack: LayerStack) -> Adapted:
    got = (stack.up.shape[-1], stack.down.shape[1])
    expected = tuple(module.weight.shape[:2])
    if got != expected:
        raise LayerMismatchError(f"layer {layer!r}: adapter has {got}, the base {expected}")
    return module
