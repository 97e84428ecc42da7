"""AutoLoRA's weight encoder: a layer is a token, asked by learned queries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder.adapter.lora_file import LoraWeights
from encoder.arrays import Floats
from encoder.base_models.families import Family, find_family
from encoder.errors import CheckpointError
from encoder.sketches.sketch import Sketch, default_layout
from encoder.weight_encoders.layer_batch import (
    LayerBatch,
    LayerKind,
    kinds_of,
    stack_sketches,
    stack_weights,
)
from encoder.weight_encoders.ridge import ENCODE_BATCH, check_sketches
from encoder.weight_encoders.text_space import TextSpace

# What an encoder of whole factors has in place of a sketch version.
FACTORS = "factors"


@dataclass(frozen=True, slots=True)
class AutoLoraConfig:
    """Sizes; the defaults are those of the miniature world's experiments."""

    family: str
    sketched: bool = False  # or the queries see A and B themselves
    queries: int = 4
    width: int = 128
    heads: int = 4
    depth: int = 1
    dropout: float = 0.1
    dim: int = 512


class LayerTokens(nn.Module):
    """Tokens of all layers of one kind: W · LayerNorm(X Aᵀ Bᵀ), never forming ΔW.

    X are learned queries (layers, queries, d_in), one set a layer; W is the kind's own.
    """

    def __init__(self, kind: LayerKind, config: AutoLoraConfig) -> None:
        super().__init__()
        d_out, d_in = kind.shape
        if config.sketched:
            d_out, d_in = default_layout(family_of(config.family)).shapes[kind.places[0]]
        self.queries = nn.Parameter(torch.randn(len(kind.places), config.queries, d_in))
        self.norm = nn.LayerNorm(d_out)
        self.project = nn.Linear(d_out, config.width)
        # Unit ΔW answers a unit-variance query with this length; LayerNorm's eps assumes 1.
        self.gain = d_out**0.5

    def forward(self, down: Tensor, up: Tensor | None) -> Tensor:
        """Map factors (n, layers, rank, d_in), (n, layers, d_out, rank) to tokens
        (n, layers, queries, width)."""
        answers = torch.einsum("lqi,nlri->nlqr", self.queries, down)
        if up is not None:
            answers = torch.einsum("nlqr,nlor->nlqo", answers, up)
        tokens: Tensor = self.project(self.norm(answers * self.gain))
        return tokens


class AutoLora(nn.Module):
    """Set of layers -> embedding, by B·A alone: any factorisation gives the same [1].

    Tokens also carry the layer's own embedding and its log magnitude, since LayerNorm
    removes the strength. Missing layers are masked.

    - [1] AutoLoRA, section on weight encoding, https://arxiv.org/abs/2508.02107
    """

    magnitude_mean: Tensor
    magnitude_std: Tensor

    def __init__(self, config: AutoLoraConfig, family: Family | None = None) -> None:
        """`family` is that of the config's name, unless it is one that the package has not."""
        super().__init__()
        self.config = config
        self.kinds = kinds_of(family or family_of(config.family))
        layers = sum(len(kind.places) for kind in self.kinds)
        self.tokens = nn.ModuleList(LayerTokens(kind, config) for kind in self.kinds)
        self.layer_embedding = nn.Parameter(
            0.02 * torch.randn(layers, config.queries, config.width)
        )
        self.magnitude = nn.Linear(1, config.width)
        self.register_buffer("magnitude_mean", torch.zeros(layers))
        self.register_buffer("magnitude_std", torch.ones(layers))
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, config.width))
        block = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            2 * config.width,
            config.dropout,
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(block, config.depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, config.dim)

    def standardise(self, batch: LayerBatch) -> None:
        """Learn the training adapters' mean and spread of each layer's log magnitude."""
        count = batch.mask.sum(0).clamp(min=1)
        self.magnitude_mean = (batch.log_magnitudes * batch.mask).sum(0) / count
        spread = ((batch.log_magnitudes - self.magnitude_mean) * batch.mask).square().sum(0)
        self.magnitude_std = (spread / count).sqrt().clamp(min=1e-3)

    def forward(self, batch: LayerBatch) -> Tensor:
        """Map n adapters to embeddings (n, dim) of length 1.

        Raises:
            ValueError: an adapter has no layer.
        """
        if not batch.mask.any(dim=1).all():
            raise ValueError("an adapter has no layer; drop empty files first")
        n, layers = batch.mask.shape
        places = [place for kind in self.kinds for place in kind.places]
        parts = [
            tokens(batch.down[kind.name], batch.up and batch.up[kind.name])
            for kind, tokens in zip(self.kinds, self.tokens, strict=True)
        ]
        # Kinds are stacked one after another; embeddings are in the family's order.
        magnitudes = (batch.log_magnitudes - self.magnitude_mean) / self.magnitude_std
        tokens = torch.cat(parts, dim=1) + self.layer_embedding[places]
        tokens = tokens + self.magnitude(magnitudes[:, places, None]).unsqueeze(2)
        padding = ~batch.mask[:, places, None].expand(-1, -1, self.config.queries)
        sequence = torch.cat([self.cls.expand(n, -1, -1), tokens.flatten(1, 2)], dim=1)
        padding = F.pad(padding.reshape(n, layers * self.config.queries), (1, 0), value=False)
        seen = self.transformer(sequence, src_key_padding_mask=padding)
        return F.normalize(self.out(self.norm(seen[:, 0])), dim=-1)


def family_of(name: str) -> Family:
    """Return the family of that name.

    Raises:
        CheckpointError: this version does not know it.
    """
    family = find_family(name)
    if family is None:
        raise CheckpointError(f"base model family {name!r} is not known here")
    return family


@dataclass(frozen=True, slots=True, eq=False)
class AutoLoraEncoder:
    """A trained AutoLora with the text space it was trained into."""

    name: str
    base_model: str
    text_encoder: str
    sketch_version: str
    family: str
    network: AutoLora
    text: TextSpace
    metrics: Mapping[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "autolora"

    @property
    def dim(self) -> int:
        return self.network.config.dim

    def encode(self, sketches: Sequence[Sketch]) -> Floats:
        """Return embeddings (n, dim), float32, each of length 1.

        Raises:
            SketchError: a sketch is of another version, or the encoder wants whole factors.
        """
        check_sketches(sketches, self.sketch_version, self.family)
        family = family_of(self.family)
        return self._embed(
            stack_sketches(family, sketches[i : i + ENCODE_BATCH])
            for i in range(0, len(sketches), ENCODE_BATCH)
        )

    def encode_weights(self, adapters: Sequence[LoraWeights]) -> Floats:
        """Like `encode`, for an encoder of whole factors."""
        assert self.sketch_version == FACTORS
        family = family_of(self.family)
        return self._embed(
            stack_weights(family, adapters[i : i + ENCODE_BATCH])
            for i in range(0, len(adapters), ENCODE_BATCH)
        )

    def encode_query(self, text_embeddings: Floats) -> Floats:
        """Map text embeddings (n, dim) into the index's space, unit rows."""
        return self.text.project(text_embeddings)

    def encode_question(self, text_embeddings: Floats) -> Floats:
        """Map a question (1, dim), whatever its parts, to a query (dim,)."""
        query: Floats = self.encode_query(text_embeddings[:1])[0]
        return query

    def encode_caption_query(self, text_embeddings: Floats) -> Floats:
        """Map text embeddings (n, dim) to what plain ones of captions are compared with."""
        return self.text.aim(text_embeddings)

    def details(self) -> dict[str, Any]:
        """Return what a checkpoint's header holds beside the facts of every encoder."""
        return {"config": asdict(self.network.config)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds, in float16."""
        state = self.network.state_dict()
        weights = {key: value.numpy().astype(np.float16) for key, value in state.items()}
        return {**{f"network.{key}": value for key, value in weights.items()}, **self.text.arrays()}

    @classmethod
    def restore(
        cls, facts: Mapping[str, Any], details: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> "AutoLoraEncoder":
        """Build it from what `details` and `arrays` gave; `facts` are its other fields."""
        network = AutoLora(AutoLoraConfig(**details["config"])).eval()
        state = network.state_dict()
        for key, value in state.items():
            value.copy_(torch.from_numpy(arrays[f"network.{key}"]).view(value.shape))
        return cls(network=network, text=TextSpace.restore(arrays), **facts)

    @torch.no_grad()
    def _embed(self, batches: Iterable[LayerBatch]) -> Floats:
        parts = [self.network(batch).numpy() for batch in batches]
        return np.concatenate([np.empty((0, self.dim), np.float32), *parts])
