"""DiffSynth-Studio's published gates in diffusers' FLUX, with the same numbers.

LoRAFusion-preview-FLUX.1-dev [1] was trained on a FLUX whose projections are fused: one gate
spans q, k and v (and a single block's MLP), and its LayerNorms run over all of them. So a gate
cannot be split: the outputs of its linear layers are joined, gated, and split again.

- [1] https://modelscope.cn/models/DiffSynth-Studio/LoRAFusion-preview-FLUX.1-dev
- [2] DiffSynth-Studio, diffsynth/models/flux_lora_patcher.py, LoraMerger
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from registry.fusion.errors import GatesFileError
from registry.fusion.gates.autolora import FusionGate
from registry.fusion.gates.file import hash_file

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
BLOCKS = {"blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}
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

Span = tuple[str, ...]  # names of linear layers


class PublishedGates(nn.Module):
    """Gates that each span one or several linear layers of FLUX."""

    kind = "diffsynth"  # recipes cite it

    def __init__(self, dims: Mapping[Span, int], base_model: str) -> None:
        super().__init__()
        self.base_model = base_model
        # Of the file they were loaded from; recipes cite it.
        self.sha256: str | None = None
        self._spans = list(dims)
        self._gates = nn.ModuleList([FusionGate(dim, "paper") for dim in dims.values()])

    @property
    def spans(self) -> dict[Span, FusionGate]:
        return dict(zip(self._spans, self._gates, strict=True))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path, base_model: str) -> Self:
        """Load a published checkpoint; the file does not name its base model.

        Raises:
            GatesFileError: the file is absent, damaged, or something else.
        """
        try:
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise GatesFileError(path, str(error)) from error
        by_span: dict[Span, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            span, name = _place(path, key)
            if not torch.isfinite(tensor).all():
                raise GatesFileError(path, f"{key} holds NaN or infinite values")
            by_span.setdefault(span, {})[name] = tensor
        gates = cls(
            {span: len(own["bias"]) for span, own in by_span.items() if "bias" in own}, base_model
        )
        try:
            for span, gate in gates.spans.items():
                gate.load_state_dict(by_span.pop(span))
        except RuntimeError as error:
            raise GatesFileError(path, f"is damaged: {error}") from error
        if by_span or not gates.spans:
            raise GatesFileError(path, f"is incomplete: {len(by_span)} gates have no bias")
        gates.sha256 = hash_file(path)
        return gates.eval().requires_grad_(False)


def is_published(path: Path) -> bool:
    """Whether a file of gates is in the published layout, by its first key."""
    try:
        with safe_open(path, "pt") as file:
            return next(iter(file.keys()), "").startswith("model_dict.")
    except (OSError, SafetensorError) as error:
        raise GatesFileError(path, str(error)) from error


def _place(path: Path, key: str) -> tuple[Span, str]:
    """Return the span and our name of a published tensor."""
    match = KEY.fullmatch(key)
    if match is not None:
        blocks, index, name, tensor = match.groups()
        parts = SPANS[blocks].get(name.replace("___", "."))
        if parts is not None and tensor in TENSORS:
            prefix = f"{BLOCKS[blocks]}.{int(index)}"
            return tuple(f"{prefix}.{part}" for part in parts), TENSORS[tensor]
    raise GatesFileError(path, f"holds {key!r}, which is no gate of FLUX's blocks")
