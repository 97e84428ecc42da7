"""Gates that see each other, and know what the prompt and the adapters are about.

Adapters are rivals for every layer. With r_i how far the prompt favours adapter i, u_i its
leanings, s_i its strength (which y_i holds already) and t the time, 0 (image) to 1 (noise):

    G_i   = 1 / (1 + sum_{j != i} |s_j| (f + exp(b(t) - c |u_i - u_j|^2 + a_j - a_i)))
    a_i   = slope min(r_i, m) + (lean + turn (1/2 - t)) . u_i    b(t) = bias + drift (1/2 - t)
    y     = y_0 + sum_i G_i y_i

A lone adapter is used whole, exactly as if there were no gate; equals share a layer, each getting
about its part of the average where b is 0; one that the prompt is not about gives way to one that
it is about. Adapters of different kinds, a thing and a style, take less from each other. Any rival
takes a little (f). It counts by its strength: turning it down to 0 is leaving it out.

A prompt favours an adapter as far as it leads all others in some part of the prompt
(registry/fusion/relevance.py), at most by m (ENOUGH): styles come nearer to their names than
things do, but a part that names a thing is nearer to the thing than to any style.

Leanings are the cosines of an adapter's embedding with a few learned questions in the same
space as prompts: what kind of change it is, in the little that gates need of it. All other
numbers are learned for each type of layer, so that the gates serve adapters with other layers,
and bases with more blocks. A gate is one number an adapter, layer and sample, so gated adapters
cost what adding them up costs.

AutoLoRA's gates (autolora.py) look at the outputs only, one adapter at a time.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from registry.fusion.errors import GatesMismatchError
from registry.fusion.fused_layers import LayerStack, block_layers
from registry.fusion.gates.interface import FusedSet, TrainableGates

# Slope, bias and drift to start from. Steeper slopes keep more of one adapter, flatter ones
# compose better, and training finds the middle.
START = (4.0, 0.0, 2.0)
# The least that any rival takes. Adapters know their own pictures too well: beside others, a
# little less of them draws unseen pictures better. If it were learned, it would fall below zero,
# for the pictures of cells.
FLOOR = 0.1
# Beyond this lead a prompt is about an adapter, and by how much says little.
ENOUGH = 0.15
# How far a step of training moves each kind of number: about as their sizes are.
PACES = {"slope": 5.0, "bias": 1.0, "drift": 2.0, "lean": 3.0, "turn": 6.0, "apart": 3.0}
QUESTION_PACE = 0.1
QUESTIONS_ASKED = 2
# The names in a file of what is not of a type of layers.
QUESTIONS, CONSTANTS = "questions", "constants"
BLOCK_NUMBER = re.compile(r"\.\d+\.")


class RivalGates(TrainableGates):
    """The gates of all layer types of one base model."""

    kind = "rivals"
    training_rate: ClassVar[float] = 0.06
    needs_embeddings: ClassVar[bool] = True
    enough: Tensor
    floor: Tensor

    def __init__(
        self, layer_types: Iterable[str], base_model: str, questions: Tensor | None = None
    ) -> None:
        """Start with `questions` (k, dim) in the space of the adapters' embeddings, if any."""
        super().__init__(base_model)
        questions = torch.zeros(0, 1) if questions is None else questions
        self._places = {name: k for k, name in enumerate(sorted(set(layer_types)))}
        count = len(self._places)
        # Each has a number, or one for every question, for each layer type.
        self.slope, self.bias, self.drift = (
            nn.Parameter(torch.full((count,), start)) for start in START
        )
        self.lean, self.turn = (nn.Parameter(torch.zeros(count, len(questions))) for _ in range(2))
        self.apart = nn.Parameter(torch.zeros(count))
        self.questions = nn.Parameter(questions.clone())
        # Not learned; kept in the file, since the others were learned with them.
        self.register_buffer("enough", torch.tensor(ENOUGH))
        self.register_buffer("floor", torch.tensor(FLOOR))

    @classmethod
    def for_transformer(
        cls, transformer: nn.Module, base_model: str, questions: Tensor | None = None
    ) -> Self:
        """Make a gate for every type of linear layer inside the transformer's blocks."""
        return cls(map(layer_type, block_layers(transformer)), base_model, questions)

    @classmethod
    def untrained(
        cls, transformer: nn.Module, base_model: str, embeddings: Tensor | None = None
    ) -> Self:
        questions = None if embeddings is None else first_questions(embeddings)
        return cls.for_transformer(transformer, base_model, questions)

    def paces(self) -> list[tuple[nn.Parameter, float]]:
        by_type = [(getattr(self, name), pace) for name, pace in PACES.items()]
        return [*by_type, (self.questions, QUESTION_PACE)]

    @property
    def layer_types(self) -> list[str]:
        return list(self._places)

    def covers(self, layer: str) -> bool:
        return layer_type(layer) in self._places

    @contextmanager
    def fuse(self, adapters: FusedSet) -> Iterator[None]:
        """Run adapters, weighed anew for every pass, until the context ends."""
        rivalry = Rivalry.of(self, adapters)
        weighed = {
            layer: WeighedLayer(rivalry, layer_type(layer), stack, adapters.watch(layer))
            for layer, stack in adapters.stacks.items()
        }
        follow_time = adapters.transformer.register_forward_pre_hook(
            rivalry.begin_pass, with_kwargs=True
        )
        try:
            with adapters.hook(weighed):
                yield
        finally:
            follow_time.remove()

    @property
    def leaning_count(self) -> int:
        return len(self.questions)

    def leanings(self, embeddings: Tensor) -> Tensor:
        """Return u (..., k) of adapters' embeddings (..., dim); NaN stays NaN."""
        count, dim = self.questions.shape
        if not count:
            return super().leanings(embeddings)
        if embeddings.shape[-1] != dim:
            raise GatesMismatchError(
                f"embeddings of {dim} numbers", f"an encoder that gives {embeddings.shape[-1]}"
            )
        return embeddings.to(self.questions) @ self.questions.T

    def shyness(
        self, relevance: Tensor, leanings: Tensor | None, asked: int, time: Tensor
    ) -> Tensor:
        count = relevance.shape[1]
        openness = self.openness_of_types(
            self.layer_types,
            relevance,
            self.unknown_leanings(count)[None] if leanings is None else leanings,
            torch.ones(count),
            time,
        )
        return (1 - openness[..., :asked]).square().mean()

    def unknown_leanings(self, count: int) -> Tensor:
        """Return u (count, k) of adapters of which nothing is known."""
        return torch.full((count, len(self.questions)), torch.nan)

    def openness(
        self, layer: str, relevance: Tensor, leanings: Tensor, strengths: Tensor, time: Tensor
    ) -> Tensor:
        """Return G (B, n) for r (B, n), u (B, n, k), strengths (n,) and time (B,).

        Any of the Bs may be 1. What is NaN counts as the mean of what is known.
        """
        return self.openness_of_types([layer_type(layer)], relevance, leanings, strengths, time)[0]

    def openness_of_types(
        self,
        layer_types: Sequence[str],
        relevance: Tensor,
        leanings: Tensor,
        strengths: Tensor,
        time: Tensor,
    ) -> Tensor:
        """Return the same of several types of layers at once: (types, B, n)."""
        places = [self._places[name] for name in layer_types]
        slope, bias, drift, lean, turn, apart = (
            getattr(self, name)[places][:, None] for name in PACES
        )
        later = 0.5 - time  # (B,)
        u = fill(leanings, 1)
        distance = (u[:, :, None] - u[:, None]).square().sum(-1)  # (B, n, n)
        leaning = (u * (lean + turn * later[:, None])[:, :, None]).sum(-1)  # (types, B, n)
        wanted = slope[..., None] * fill(relevance.clamp(max=self.enough), 1) + leaning
        pull = bias + drift * later  # (types, B)
        # (types, B, n, n): how much j takes from i, before its strength.
        taken = torch.exp(
            pull[..., None, None]
            - apart[..., None, None] * distance
            + wanted[..., None, :]
            - wanted[..., None]
        )
        rivals = strengths.abs() * (1 - torch.eye(len(strengths)).to(strengths))  # (n, n)
        return 1 / (1 + ((self.floor + taken) * rivals).sum(-1))

    def tensors(self) -> dict[str, Tensor]:
        by_type = torch.cat(
            [getattr(self, name).reshape(len(self._places), -1) for name in PACES], 1
        )
        return {
            **{name: by_type[place] for name, place in self._places.items()},
            QUESTIONS: self.questions,
            CONSTANTS: torch.stack([self.enough, self.floor]),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base_model: str) -> Self:
        of_types = dict(tensors)
        questions = of_types.pop(QUESTIONS, None)
        constants = of_types.pop(CONSTANTS, torch.zeros(0))
        whole = questions is not None and questions.ndim == 2 and constants.shape == (2,)
        if not whole or not of_types:
            raise ValueError("it lacks its questions, its constants or its layers")
        gates = cls(of_types, base_model, questions)
        widths = [getattr(gates, name)[0].numel() for name in PACES]
        if any(tensor.shape != (sum(widths),) for tensor in of_types.values()):
            raise ValueError(f"it has not {sum(widths)} numbers for each layer type")
        by_type = torch.stack([of_types[name] for name in gates._places])
        for name, values in zip(PACES, by_type.split(widths, 1), strict=True):
            parameter = getattr(gates, name)
            parameter.data.copy_(values.reshape(parameter.shape))
        gates.enough, gates.floor = constants
        return gates


def first_questions(embeddings: Tensor) -> Tensor:
    """Return questions (QUESTIONS_ASKED, dim) to start from, for adapters' embeddings (n, dim).

    Along their principal components: what adapters differ in most is what kind they are of.
    """
    centred = embeddings - embeddings.mean(0)
    components: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh
    return components[:QUESTIONS_ASKED].contiguous()


def fill(values: Tensor, dim: int) -> Tensor:
    """Replace NaN by the mean of what is known along `dim`, or by 0."""
    return torch.where(values.isnan(), values.nanmean(dim, keepdim=True), values).nan_to_num()


@dataclass
class Rivalry:
    """Adapters that run together, and how far they are open in the pass at work."""

    gates: RivalGates
    relevance: Tensor  # (B or 1, N)
    leanings: Tensor  # (B or 1, N, k)
    strengths: Tensor  # (N,)
    # The types of layers that have the same rivals, by their columns.
    types: Mapping[tuple[int, ...], Sequence[str]]
    time: Tensor = field(default_factory=lambda: torch.full((1,), 0.5))  # (B or 1,)
    _openness: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._weigh()

    @classmethod
    def of(cls, gates: RivalGates, adapters: FusedSet) -> Self:
        """Take up adapters; what is not told of them counts as not known."""
        columns = {k for stack in adapters.stacks.values() for k in stack.columns}
        count = 1 + max(columns, default=-1)
        relevance, leanings = adapters.relevance, adapters.leanings
        if relevance is None:
            relevance = torch.full((count,), torch.nan)
        if leanings is None:
            leanings = gates.unknown_leanings(count)
        strengths = adapters.strengths
        types: dict[tuple[int, ...], list[str]] = {}
        for rivals, type_ in sorted(
            {(stack.columns, layer_type(layer)) for layer, stack in adapters.stacks.items()}
        ):
            types.setdefault(rivals, []).append(type_)
        return cls(
            gates,
            torch.atleast_2d(relevance),
            leanings if leanings.ndim == 3 else leanings[None],
            torch.ones(count) if strengths is None else strengths,
            types,
        )

    def begin_pass(
        self, denoiser: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        """Weigh adapters for the time the denoiser is called with: a forward pre-hook.

        Transformers are given 0..1, and UNets 0..1000.
        """
        time = torch.as_tensor(named["timestep"] if "timestep" in named else positional[1])
        unit = 1000 if hasattr(denoiser, "time_proj") else 1
        self.time = time.reshape(-1).float() / unit
        self._weigh()

    def _weigh(self) -> None:
        """Weigh once a pass for all layers: at once for all types that have the same rivals."""
        for columns, types in self.types.items():
            chosen = list(columns)
            known = (
                self.relevance[:, chosen],
                self.leanings[:, chosen],
                self.strengths[chosen],
                self.time,
            )
            by_type = self.gates.openness_of_types(
                types, *(tensor.to(self.gates.slope) for tensor in known)
            )
            for type_, openness in zip(types, by_type, strict=True):
                self._openness[type_, columns] = openness

    def openness(self, type_: str, columns: tuple[int, ...], like: Tensor) -> Tensor:
        """Return G (B or 1, n) in layers of a type, on the device of `like`."""
        return self._openness[type_, columns].to(like)


@dataclass(frozen=True)
class WeighedLayer:
    """One linear layer whose adapters share it as rivals."""

    rivalry: Rivalry
    type_: str
    stack: LayerStack
    watched: list[Tensor] | None

    def __call__(self, x: Tensor, base: Tensor) -> Tensor:
        openness = self.rivalry.openness(self.type_, self.stack.columns, x)  # (B or 1, n)
        if self.watched is not None:
            self.watched.append(openness.detach().float().mean(0))
        return self.stack.add_to(base, x, openness)


def layer_type(layer: str) -> str:
    """Return a layer's name without the number of its block."""
    return BLOCK_NUMBER.sub(".*.", layer, count=1)
