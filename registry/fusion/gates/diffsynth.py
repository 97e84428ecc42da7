"""DiffSynth-Studio's published gates in diffusers' FLUX, with the same numbers.

LoRAFusion-preview-FLUX.1-dev [1] was trained on a FLUX whose projections are fused: one gate
spans q, k and v (and a single block's MLP), and its LayerNorms run over all of them. So a gate
cannot be split: the outputs of its linear layers are joined, gated, and split again.

- [1] https://modelscope.cn/models/DiffSynth-Studio/LoRAFusion-preview-FLUX.1-dev
- [2] DiffSynth-Studio, diffsynth/models/flux_lora_patcher.py, LoraMerger
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from torch import Tensor, nn

from registry.fusion.fused_layers import BLOCKS, PlainSum, find_linear
from registry.fusion.gates.autolora import FusionGate
from registry.fusion.gates.interface import FusedSet, Gates
from registry.fusion.gates.spans import GateSpan, SpanLayer, hook_spans

# The published name of a gate within its block -> the linear layers that it spans, in order.
SPANS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "blocks": {
        "attn.a_to_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "attn.b_to_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "attn.a_to_out": ("attn.to_out.0",),
        "attn.b_to_out": ("attn.to_add_out",),
        "ff_a.0": ("ff.net.0.proj",),
        "ff_a.2": ("ff.net.2",),
        "ff_b.0": ("ff_context.net.0.proj",),
        "ff_b.2": ("ff_context.net.2",),
        "norm1_a.linear": ("norm1.linear",),
        "norm1_b.linear": ("norm1_context.linear",),
    },
    "single_blocks": {
        "to_qkv_mlp": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
        "proj_out": ("proj_out",),
        "norm.linear": ("norm.linear",),
    },
}
BLOCK_LISTS = {"blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}
# The published name of a gate's tensor -> ours.
TENSORS = {
    "weight_base": "w_base",
    "weight_lora": "w_lora",
    "weight_cross": "w_cross",
    "weight_out": "w_out",
    "bias": "bias",
    **{
        f"norm_{of}.{part}": f"norm_{of}.{part}"
        for of in ("base", "lora")
        for part in ("weight", "bias")
    },
}
# "model_dict.single_blocks___7___to_qkv_mlp.norm_base.weight"
KEY = re.compile(r"model_dict\.(blocks|single_blocks)___(\d+)___(\w+)\.(.+)")

Layers = tuple[str, ...]  # names of the linear layers that a gate spans


class DiffSynthGates(Gates):
    """Gates that each span one or several linear layers of FLUX."""

    kind = "diffsynth"

    def __init__(self, dims: Mapping[Layers, int], base_model: str) -> None:
        super().__init__(base_model)
        self._spans = list(dims)
        self._gates = nn.ModuleList([FusionGate(dim, "paper") for dim in dims.values()])
        self._spanned = {layer for layers in dims for layer in layers}

    @property
    def spans(self) -> dict[Layers, FusionGate]:
        return dict(zip(self._spans, self._gates, strict=True))  # type: ignore[arg-type]

    def covers(self, layer: str) -> bool:
        """Whether a layer has a gate, or is outside of the blocks.

        Those have none: they add up plainly, as DiffSynth does it.
        """
        return layer in self._spanned or not BLOCKS.search(layer)

    @contextmanager
    def fuse(self, adapters: FusedSet) -> Iterator[None]:
        """Run adapters, several layers gated together, until the context ends."""
        spans = [
            GateSpan([self._span_layer(adapters, layer) for layer in layers], gate)
            for layers, gate in self.spans.items()
            if not adapters.stacks.keys().isdisjoint(layers)
        ]
        plain = {
            layer: PlainSum(stack)
            for layer, stack in adapters.stacks.items()
            if layer not in self._spanned
        }
        with hook_spans(spans, adapters.passes), adapters.hook(plain):
            yield

    def _span_layer(self, adapters: FusedSet, layer: str) -> SpanLayer:
        linear = find_linear(adapters.transformer, layer)
        stack = adapters.stacks.get(layer)
        return SpanLayer(linear, stack, adapters.watch(layer) if stack is not None else None)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base_model: str) -> Self:
        by_span: dict[Layers, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            layers, name = _place(key)
            by_span.setdefault(layers, {})[name] = tensor
        biases = {layers: gate["bias"] for layers, gate in by_span.items() if "bias" in gate}
        if not biases or len(biases) < len(by_span):
            raise ValueError(f"it is incomplete: {len(by_span) - len(biases)} gates have no bias")
        gates = cls({layers: len(bias) for layers, bias in biases.items()}, base_model)
        for layers, gate in gates.spans.items():
            gate.load_state_dict(by_span[layers])
        return gates


def _place(key: str) -> tuple[Layers, str]:
    """Return the layers that a published tensor's gate spans, and our name of the tensor."""
    match = KEY.fullmatch(key)
    if match is not None:
        blocks, index, name, tensor = match.groups()
        parts = SPANS[blocks].get(name.replace("___", "."))
        if parts is not None and tensor in TENSORS:
            prefix = f"{BLOCK_LISTS[blocks]}.{int(index)}"
            return tuple(f"{prefix}.{part}" for part in parts), TENSORS[tensor]
    raise ValueError(f"it holds {key!r}, which is no gate of FLUX's blocks")
