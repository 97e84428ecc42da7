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

A prompt favours an adapter as far as it leads all others in some part of the prompt (`leads`), at
most by m (ENOUGH): styles come nearer to their names than things do, but a part that names a
thing is nearer to the thing than to any style.

Leanings are the cosines of an adapter's embedding with a few learned questions in the same
space as prompts: what kind of change it is, in the little that gates need of it. All other
numbers are learned for each type of layer, so that the gates serve adapters with other layers,
and bases with more blocks. A gate is one number an adapter, layer and sample, so gated adapters
cost what adding them up costs.

AutoLoRA's gates (autolora.py) look at the outputs only, one adapter at a time.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from registry.fusion.errors import GatesFileError
from registry.fusion.gates.file import read_gates, write_gates

# Slope, bias and drift to start from. Steeper slopes keep more of one adapter, flatter ones
# compose better, and training finds the middle.
START = (4.0, 0.0, 2.0)
# What any rival takes. Adapters know their own pictures too well: beside others, a little less of
# them draws unseen pictures better. Learned, it would fall below zero, for the pictures of cells.
FLOOR = 0.1
# Beyond it a prompt is about an adapter, and by how much says little.
ENOUGH = 0.15
# How far a step of training moves each kind of number: about as their sizes are.
PACES = {"slope": 5.0, "bias": 1.0, "drift": 2.0, "lean": 3.0, "turn": 6.0, "apart": 3.0}
QUESTION_PACE = 0.1
QUESTIONS_ASKED = 2
# The names in a file of what is not of a type of layers.
QUESTIONS, CONSTANTS = "questions", "constants"
BLOCK_NUMBER = re.compile(r"\.\d+\.")


class RivalGates(nn.Module):
    """The gates of all layer types of one base model."""

    kind: ClassVar[str] = "rivals"  # recipes cite it
    enough: Tensor
    floor: Tensor

    def __init__(
        self, layer_types: Iterable[str], base_model: str, questions: Tensor | None = None
    ) -> None:
        """Start with `questions` (k, dim) in the space of the adapters' embeddings, if any."""
        super().__init__()
        questions = torch.zeros(0, 1) if questions is None else questions
        self.base_model = base_model
        # Where the gates come from. Saved as JSON.
        self.details: dict[str, Any] = {}
        # Of the file they were loaded from; recipes cite it.
        self.sha256: str | None = None
        self._places = {name: k for k, name in enumerate(sorted(set(layer_types)))}
        count = len(self._places)
        # By layer type.
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
        return cls(
            (
                layer_type(name)
                for name, part in transformer.named_modules()
                if isinstance(part, nn.Linear) and "transformer_blocks." in name
            ),
            base_model,
            questions,
        )

    def paces(self) -> list[tuple[nn.Parameter, float]]:
        """Return each parameter with the factor of its rate of training."""
        by_type = [(getattr(self, name), pace) for name, pace in PACES.items()]
        return [*by_type, (self.questions, QUESTION_PACE)]

    @property
    def layer_types(self) -> list[str]:
        return list(self._places)

    def __contains__(self, layer: str) -> bool:
        return layer_type(layer) in self._places

    def leanings(self, embeddings: Tensor) -> Tensor:
        """Return u (..., k) of adapters' embeddings (..., dim); NaN stays NaN."""
        return embeddings.to(self.questions) @ self.questions.T

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
        own = fill(leanings, 1)
        distance = (own[:, :, None] - own[:, None]).square().sum(-1)  # (B, n, n)
        leaning = (own * (lean + turn * later[:, None])[:, :, None]).sum(-1)  # (types, B, n)
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

    def save(self, path: Path) -> None:
        """Write safetensors, atomically: the questions, and by layer type all other numbers."""
        by_type = torch.cat(
            [getattr(self, name).reshape(len(self._places), -1) for name in PACES], 1
        )
        tensors = {name: by_type[place] for name, place in self._places.items()}
        self.sha256 = write_gates(
            path,
            self.kind,
            self.base_model,
            self.details,
            {
                **tensors,
                QUESTIONS: self.questions,
                CONSTANTS: torch.stack([self.enough, self.floor]),
            },
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load gates written by `save`.

        Raises:
            GatesFileError: the file is absent, damaged, or something else.
        """
        file = read_gates(path)
        if file.kind != cls.kind:
            raise GatesFileError(path, f"holds gates of the kind {file.kind!r}, not {cls.kind!r}")
        questions = file.tensors.pop(QUESTIONS, None)
        constants = file.tensors.pop(CONSTANTS, torch.zeros(0))
        whole = questions is not None and questions.ndim == 2 and constants.shape == (2,)
        if not whole or not file.tensors:
            raise GatesFileError(
                path, "is damaged: it lacks its questions, its constants or its layers"
            )
        gates = cls(file.tensors, file.base_model, questions)
        widths = [getattr(gates, name)[0].numel() for name in PACES]
        if any(tensor.shape != (sum(widths),) for tensor in file.tensors.values()):
            raise GatesFileError(path, f"is damaged: not {sum(widths)} numbers for each layer type")
        by_type = torch.stack([file.tensors[name] for name in gates._places])
        for name, part in zip(PACES, by_type.split(widths, 1), strict=True):
            parameter = getattr(gates, name)
            parameter.data.copy_(part.reshape(parameter.shape))
        gates.enough, gates.floor = constants
        gates.details, gates.sha256 = file.details, file.sha256
        return gates.eval().requires_grad_(False)


def leads(similarities: Tensor) -> Tensor:
    """Return how far each adapter leads all others in the part where it does most, (n,).

    `similarities` (parts, n) are the cosines of a prompt's parts with adapters' embeddings. One
    without others leads by its similarity. NaN, an adapter that is not known, stays NaN and is
    nobody's rival.
    """
    rivals = torch.where(similarities.isnan(), -torch.inf, similarities)
    nearest = rivals.topk(min(2, rivals.shape[1]), 1).values
    best_other = torch.where(rivals == nearest[:, :1], nearest[:, -1:], nearest[:, :1])
    if rivals.shape[1] == 1:
        best_other = torch.full_like(best_other, -torch.inf)
    best_other[best_other.isinf()] = 0
    return (similarities - best_other).amax(0)


def first_questions(embeddings: Tensor) -> Tensor:
    """Return questions (QUESTIONS_ASKED, dim) to start from, for adapters' embeddings (n, dim).

    Along their principal components: what adapters differ in most is what kind they are of.
    """
    centred = embeddings - embeddings.mean(0)
    components: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh
    return components[:QUESTIONS_ASKED].contiguous()


def fill(told: Tensor, dim: int) -> Tensor:
    """Replace NaN by the mean of what is known along `dim`, or by 0."""
    return torch.where(told.isnan(), told.nanmean(dim, keepdim=True), told).nan_to_num()


@dataclass
class Rivalry:
    """What the gates are told of one attachment; the time follows the base's."""

    gates: RivalGates
    relevance: Tensor  # (B or 1, N), of all that are attached
    leanings: Tensor  # (B or 1, N, k)
    strengths: Tensor  # (N,)
    time: Tensor = field(default_factory=lambda: torch.full((1,), 0.5))  # (B or 1,)
    # By adapters in use, the types of layers that are; and the openness of the pass at work.
    asked: Mapping[tuple[int, ...], Sequence[str]] = field(default_factory=dict)
    _decided: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._decide()

    def watch_time(
        self, denoiser: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        """Note the time the denoiser is called with: a forward pre-hook.

        Transformers are given 0..1, and UNets 0..1000.
        """
        time = torch.as_tensor(named["timestep"] if "timestep" in named else positional[1])
        unit = 1000 if hasattr(denoiser, "time_proj") else 1
        self.time = time.reshape(-1).float() / unit
        self._decide()

    def _decide(self) -> None:
        """Decide once a pass for all layers: at once for all types that have the same rivals."""
        for columns, types in self.asked.items():
            chosen = list(columns)
            told = (
                self.relevance[:, chosen],
                self.leanings[:, chosen],
                self.strengths[chosen],
                self.time,
            )
            decided = self.gates.openness_of_types(
                types, *(part.to(self.gates.slope) for part in told)
            )
            for type_, openness in zip(types, decided, strict=True):
                self._decided[type_, columns] = openness

    def decided(self, type_: str, columns: tuple[int, ...], like: Tensor) -> Tensor:
        """Return the openness G (B or 1, n) that was `asked` for, on the device of `like`."""
        return self._decided[type_, columns].to(like)


def layer_type(layer: str) -> str:
    """Return a layer's name without the number of its block."""
    return BLOCK_NUMBER.sub(".*.", layer, count=1)
