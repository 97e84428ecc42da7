"""W2T [1]: a change as its singular vectors, read by transformers. A rival, as published.

QR and SVD give each layer's ΔW = U diag(σ) Vᵀ whatever its factorisation. Every rank-one part
is a token; a transformer mixes a layer's parts and pools them, another mixes the layers.
Sizes are the authors' defaults. Theirs has a classifier on top, here it is an embedding
trained by the same contrast as AutoLoRA's encoder.

- [1] Han et al., 2026, https://arxiv.org/abs/2603.15990
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder.adapter.lora_file import LoraWeights
from encoder.base_models.families import Family
from encoder.weight_encoders.layer_batch import LayerKind, kinds_of

WIDTH, HEADS, DROPOUT = 128, 8, 0.1
POOL_QUERIES, STRENGTH_PRIOR = 4, 0.5


@dataclass(frozen=True, slots=True)
class Canonical:
    """n adapters as singular vectors, by kind of layer; parts beyond an adapter's rank are 0."""

    left: Mapping[str, Tensor]  # (n, layers of the kind, rank, d_out)
    right: Mapping[str, Tensor]  # (n, layers, rank, d_in)
    strengths: Mapping[str, Tensor]  # (n, layers, rank)

    def __len__(self) -> int:
        return len(next(iter(self.strengths.values())))

    def select(self, rows: Tensor) -> "Canonical":
        """Return the adapters at `rows`."""
        left = {name: part[rows] for name, part in self.left.items()}
        right = {name: part[rows] for name, part in self.right.items()}
        return Canonical(left, right, {name: part[rows] for name, part in self.strengths.items()})

    def to(self, device: torch.device) -> "Canonical":
        """Return them on a device."""
        left = {name: part.to(device) for name, part in self.left.items()}
        right = {name: part.to(device) for name, part in self.right.items()}
        strengths = {name: part.to(device) for name, part in self.strengths.items()}
        return Canonical(left, right, strengths)


def canonical(down: Tensor, up: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of scale · up · down: (rank, d_out), (rank, d_in), (rank,).

    The sign of a part is set by its largest output, which is positive.
    """
    left, left_square = torch.linalg.qr(up.float())
    right, right_square = torch.linalg.qr(down.float().T)
    u, strengths, v = torch.linalg.svd(scale * left_square @ right_square.T)
    left, right = (left @ u).T, (right @ v.T).T
    largest = left.gather(1, left.abs().argmax(1, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0)
    return left * signs, right * signs, strengths


def stack_canonical(family: Family, adapters: Sequence[LoraWeights]) -> Canonical:
    """Stack adapters; missing layers are zero."""
    names = list(family.block_layers)
    most = max(layer.rank for adapter in adapters for layer in adapter.layers.values())
    left, right, strengths = {}, {}, {}
    for kind in kinds_of(family):
        (d_out, d_in), n, layers = kind.shape, len(adapters), len(kind.places)
        left[kind.name] = torch.zeros(n, layers, most, d_out)
        right[kind.name] = torch.zeros(n, layers, most, d_in)
        strengths[kind.name] = torch.zeros(n, layers, most)
        for row, adapter in enumerate(adapters):
            for column, place in enumerate(kind.places):
                layer = adapter.layers.get(names[place])
                if layer is None:
                    continue
                u, v, s = canonical(*layer.factors(), layer.scale)
                left[kind.name][row, column, : len(s)] = u
                right[kind.name][row, column, : len(s)] = v
                strengths[kind.name][row, column, : len(s)] = s
    return Canonical(left, right, strengths)


class EachLinear(nn.Module):
    """A linear map of its own for every layer of a kind: (n, layers, rank, in) -> out."""

    def __init__(self, layers: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(layers, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(layers, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = torch.einsum("nlri,lio->nlro", x, self.weight) + self.bias
        return mapped


class Projector(nn.Module):
    """Singular vectors and value -> a token for each rank-one part."""

    def __init__(self, kind: LayerKind) -> None:
        super().__init__()
        (d_out, d_in), layers = kind.shape, len(kind.places)
        self.left, self.right = EachLinear(layers, d_out, WIDTH), EachLinear(layers, d_in, WIDTH)
        self.left_norm, self.right_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.fuse = EachLinear(layers, 2 * WIDTH, WIDTH)
        self.widen = EachLinear(layers, 1, WIDTH)
        self.modulate = EachLinear(layers, WIDTH, 2 * WIDTH)
        # Starts at nothing: the value speaks only as far as it helps.
        self.modulation = nn.Parameter(torch.zeros(()))
        self.norm, self.dropout = nn.LayerNorm(WIDTH), nn.Dropout(DROPOUT)

    def forward(self, left: Tensor, right: Tensor, strengths: Tensor) -> Tensor:
        both = [
            F.relu(self.left_norm(self.left(left))),
            F.relu(self.right_norm(self.right(right))),
        ]
        tokens = self.fuse(torch.cat(both, dim=-1))
        logs = standardise(strengths.log1p(), strengths > 0).unsqueeze(-1)
        scale, shift = self.modulate(F.gelu(self.widen(logs))).chunk(2, dim=-1)
        tokens = tokens * (1 + self.modulation * scale.tanh()) + self.modulation * shift
        mixed: Tensor = self.dropout(F.gelu(self.norm(tokens)))
        return mixed


def standardise(values: Tensor, present: Tensor) -> Tensor:
    """Give the present values along the last axis mean 0 and standard deviation 1."""
    count = present.sum(-1, keepdim=True).clamp(min=1)
    centred = (values - (values * present).sum(-1, keepdim=True) / count) * present
    spread = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    return centred / (spread + 1e-6)


def transformer(depth: int) -> nn.TransformerEncoder:
    block = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 4 * WIDTH, DROPOUT, "gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(block, depth, enable_nested_tensor=False)


class W2T(nn.Module):
    """Canonical adapters -> embeddings (n, dim) of length 1."""

    def __init__(self, family: Family, dim: int) -> None:
        super().__init__()
        self.kinds = kinds_of(family)
        self.projectors = nn.ModuleList(Projector(kind) for kind in self.kinds)
        self.within = transformer(1)
        self.queries = nn.Parameter(0.02 * torch.randn(POOL_QUERIES, WIDTH))
        self.pooled = nn.Sequential(
            nn.Linear(POOL_QUERIES * WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.GELU()
        )
        layers = len(family.block_layers)
        self.layer_embedding = nn.Parameter(torch.randn(layers, WIDTH))
        self.kind_embedding = nn.Parameter(torch.randn(len(self.kinds), WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.between = transformer(2)
        self.score = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(WIDTH, 1, bias=False)
        )
        self.out = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU(), nn.Dropout(DROPOUT),
            nn.Linear(WIDTH, dim),
        )  # fmt: skip

    def forward(self, adapters: Canonical) -> Tensor:
        parts, missing = [], []
        for index, (kind, projector) in enumerate(zip(self.kinds, self.projectors, strict=True)):
            strengths = adapters.strengths[kind.name]
            tokens = projector(adapters.left[kind.name], adapters.right[kind.name], strengths)
            layers = self._pool(tokens.flatten(0, 1), strengths.flatten(0, 1))
            places = list(kind.places)
            named = self.layer_embedding[places] + self.kind_embedding[index]
            parts.append(layers.unflatten(0, strengths.shape[:2]) + named)
            missing.append(~strengths.any(-1))
        padding = torch.cat(missing, dim=1)
        seen = self.between(self.norm(torch.cat(parts, dim=1)), src_key_padding_mask=padding)
        scores = self.score(seen).squeeze(-1).masked_fill(padding, -1e9)
        whole = (scores.softmax(1).unsqueeze(-1) * seen).sum(1)
        return F.normalize(self.out(whole), dim=-1)

    def _pool(self, tokens: Tensor, strengths: Tensor) -> Tensor:
        """A layer's parts (layers, rank, width) -> the layer (layers, width)."""
        absent = strengths == 0
        # A missing layer keeps its empty parts: attention over none is NaN, and it is masked above.
        absent = absent & ~absent.all(1, keepdim=True)
        tokens = self.within(tokens, src_key_padding_mask=absent)
        scores = torch.einsum("qw,lrw->lqr", self.queries, tokens) / math.sqrt(WIDTH)
        scores = scores + STRENGTH_PRIOR * strengths.log1p().unsqueeze(1)
        weights = F.dropout(
            scores.masked_fill(absent.unsqueeze(1), -1e9).softmax(-1), DROPOUT, self.training
        )
        pooled: Tensor = self.pooled(torch.einsum("lqr,lrw->lqw", weights, tokens).flatten(1))
        return pooled
