"""What gates of every kind can do: decide how much of each adapter a base gets.

A kind is a file beside this one and a line of a table in `registry.fusion.gates.file`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from registry.fusion.fused_layers import FuseLayer, LayerStack, hook_layers
from registry.fusion.guidance import GuidedPasses


@dataclass(frozen=True)
class FusedSet:
    """Adapters that run together in a transformer, and what gates may go by.

    Its N adapters are those that the columns of the stacks count.
    """

    transformer: nn.Module
    layers: Mapping[str, nn.Module]  # those of the transformer that adapters change, by name
    stacks: Mapping[str, LayerStack]  # the adapters of each
    passes: GuidedPasses
    # How far the prompt favours each adapter, (N,), or (B, N) by sample; NaN where not known.
    relevance: Tensor | None = None
    # The answers of each to the gates' own questions, (N, k) or (B, N, k); NaN where not known.
    leanings: Tensor | None = None
    strengths: Tensor | None = None  # (N,), which the stacks have in them already; 1 if None
    # Filled by gates that are watched: each layer gets, for every pass, the mean openness of its
    # n adapters, (n,). None if nobody watches.
    openness: dict[str, list[Tensor]] | None = None

    def watch(self, layer: str) -> list[Tensor] | None:
        """Return where a layer's openness is noted pass by pass; None if nobody watches."""
        return None if self.openness is None else self.openness.setdefault(layer, [])

    def hook(self, fused: Mapping[str, FuseLayer]) -> AbstractContextManager[None]:
        """Have layers put out what `fused` makes of it, by name, until the context ends."""
        return hook_layers(self.layers, fused, self.passes)


class Gates(nn.Module, ABC):
    """The gates of one base model."""

    kind: ClassVar[str]  # recipes and files cite it

    def __init__(self, base_model: str) -> None:
        super().__init__()
        self.base_model = base_model
        # Where the gates come from: data, steps, losses. Saved as JSON.
        self.details: dict[str, Any] = {}
        # The hash of the file that they were loaded from or saved to; recipes cite it.
        self.sha256: str | None = None

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base_model: str) -> Self:
        """Make gates of what a file holds.

        Raises:
            ValueError, RuntimeError: something is missing, or too much.
        """

    @abstractmethod
    def covers(self, layer: str) -> bool:
        """Whether adapters may change this layer: it is gated, or not meant to be."""

    @abstractmethod
    def fuse(self, adapters: FusedSet) -> AbstractContextManager[None]:
        """Run adapters, in layers that are all covered, until the context ends."""

    @property
    def leaning_count(self) -> int:
        """How many questions the gates ask of an adapter: the k of `leanings`."""
        return 0

    def leanings(self, embeddings: Tensor) -> Tensor:
        """Return what the gates' questions say of adapters' embeddings (..., dim): (..., k).

        They are few, and all that gates know of an embedding; k is 0 where they ask none.

        Raises:
            GatesMismatchError: the embeddings are of another space than the questions.
        """
        return embeddings.new_zeros(*embeddings.shape[:-1], 0)


class TrainableGates(Gates):
    """Gates that are trained here, and have a file of our own."""

    training_rate: ClassVar[float]  # what to train them with, if not told
    # Whether they go by relevance, for which adapters' embeddings have to be known.
    needs_embeddings: ClassVar[bool]

    @classmethod
    @abstractmethod
    def untrained(
        cls, transformer: nn.Module, base_model: str, embeddings: Tensor | None = None
    ) -> Self:
        """Make gates for a transformer, and adapters like those of `embeddings` (n, dim)."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what the file holds, for `from_tensors`."""

    def paces(self) -> list[tuple[nn.Parameter, float]]:
        """Return each parameter with the factor of its rate of training."""
        return [(parameter, 1.0) for parameter in self.parameters()]

    def shyness(
        self, relevance: Tensor, leanings: Tensor | None, asked: int, time: Tensor
    ) -> Tensor:
        """Return how far gates hold back the first `asked` adapters: the mean of (1 - G)².

        They have `relevance` (B or 1, n) and `leanings` (B or 1, n, k) at `time` (B,). It is 0
        for gates that look at adapters' outputs, which only a pass through the base can tell.
        """
        return torch.zeros(())
