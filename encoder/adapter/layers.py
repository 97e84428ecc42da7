"""What an adapter does to one layer, by the kinds that trainers write.

Every change ΔW that needs no base weight is an exact product scale · up · down, however it is
stored; `factors` forms it on request, so that tensors stay on disk until used. Convolutions
are products too, with the kernel flattened into the input. The definitions are LyCORIS' [1]
and, for magnitudes as vectors, PEFT's [2].

- [1] Yeh et al., 2023, https://arxiv.org/abs/2309.14859, and the modules of LyCORIS
- [2] Liu et al., 2024, https://arxiv.org/abs/2402.09353, and peft.tuners.lora.dora
"""

import math
from dataclasses import dataclass
from typing import Protocol

from encoder.errors import BaseWeightNeededError
from encoder.late_torch import Tensor, torch

# (rank, d_in) and (d_out, rank); a convolution's inputs are channels · height · width.
Factors = tuple[Tensor, Tensor]


class Layer(Protocol):
    """The change of one linear layer or convolution."""

    @property
    def kind(self) -> str:
        """The name of the method: "LoRA", "LoHa"…"""

    @property
    def rank(self) -> int:
        """Columns of `factors`' up: the most that the rank of ΔW can be."""

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by, alpha / rank as a rule."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ΔW: (d_out, d_in), or (c_out, c_in, height, width)."""

    def factors(self) -> Factors:
        """Return down (rank, d_in) and up (d_out, rank) with ΔW = scale · up · down, exactly.

        Raises:
            BaseWeightNeededError: ΔW depends on the base's weight.
        """

    def delta(self, base: Tensor | None = None) -> Tensor:
        """Form ΔW in float32; large, so for small layers and tests.

        Raises:
            BaseWeightNeededError: ΔW depends on the base's weight, and it is not given.
        """

    def tensors(self) -> tuple[Tensor, ...]:
        """Return what is stored; where one of them is all zeros, so is ΔW."""


@dataclass(frozen=True, slots=True)
class LoraLayer:
    """A plain LoRA: ΔW = scale · up · down. In a convolution (LoCon) both have four axes.

    With `mid` (Tucker), down (rank, c_in, 1, 1) and up (c_out, rank, 1, 1) frame a small
    convolution (rank, rank, height, width).
    """

    down: Tensor  # A, (rank, d_in)
    up: Tensor  # B, (d_out, rank)
    scale: float  # alpha / rank of this layer
    mid: Tensor | None = None

    @property
    def kind(self) -> str:
        if self.down.ndim == 2:
            return "LoRA"
        return "LoCon" if self.mid is None else "LoCon with Tucker decomposition"

    @property
    def rank(self) -> int:
        return self.up.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        kernel = (self.down if self.mid is None else self.mid).shape[2:]
        return (self.up.shape[0], self.down.shape[1], *kernel)

    def factors(self) -> Factors:
        down, up = self.down, self.up.flatten(1)
        if self.mid is not None:
            down = torch.einsum("ijhw,jc->ichw", self.mid.float(), down.flatten(1).float())
        return to_arithmetic(down.flatten(1)), to_arithmetic(up)

    def delta(self, base: Tensor | None = None) -> Tensor:
        return form_delta(self)

    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(part for part in (self.down, self.up, self.mid) if part is not None)


@dataclass(frozen=True, slots=True)
class LohaLayer:
    """The elementwise product of two LoRAs: ΔW = scale · (w1_a · w1_b) ⊙ (w2_a · w2_b).

    w1_a and w2_a are (d_out, r), w1_b and w2_b (r, d_in). With t1 and t2 (Tucker), which are
    (r, r, height, width), w1_a and w2_a are (r, c_out).
    """

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    scale: float
    t1: Tensor | None = None
    t2: Tensor | None = None
    kernel: tuple[int, ...] = ()  # of a convolution stored flat, which only the base tells

    @property
    def kind(self) -> str:
        return "LoHa"

    @property
    def rank(self) -> int:
        """r² at most: up has a column for every column of w1_a times every one of w2_a."""
        outputs, *inputs = self.shape
        return min(len(self.w1_b) * len(self.w2_b), outputs, math.prod(inputs))

    @property
    def shape(self) -> tuple[int, ...]:
        if self.t1 is not None:
            return (self.w1_a.shape[1], self.w1_b.shape[1], *self.t1.shape[2:])
        return (len(self.w1_a), self.w1_b.shape[1] // math.prod(self.kernel), *self.kernel)

    def factors(self) -> Factors:
        (down_1, up_1), (down_2, up_2) = (
            _tucker(first, second, core)
            for first, second, core in (
                (self.w1_a, self.w1_b, self.t1),
                (self.w2_a, self.w2_b, self.t2),
            )
        )
        if len(down_1) * len(down_2) > self.rank:
            return _split_matrix(((up_1 @ down_1) * (up_2 @ down_2),))
        down = (down_1[:, None] * down_2[None]).flatten(0, 1)
        up = (up_1[:, :, None] * up_2[:, None]).flatten(1)
        return down, up

    def delta(self, base: Tensor | None = None) -> Tensor:
        (down_1, up_1), (down_2, up_2) = (
            _tucker(self.w1_a, self.w1_b, self.t1),
            _tucker(self.w2_a, self.w2_b, self.t2),
        )
        return (self.scale * (up_1 @ down_1) * (up_2 @ down_2)).reshape(self.shape)

    def tensors(self) -> tuple[Tensor, ...]:
        parts = (self.w1_a, self.w1_b, self.w2_a, self.w2_b, self.t1, self.t2)
        return tuple(part for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class LokrLayer:
    """A Kronecker product: ΔW = scale · w1 ⊗ w2.

    `w1` is a full matrix or its (a, b); `w2` a full matrix or convolution, its (a, b), or
    (a, b, t2) with a Tucker core (r, r, height, width) and a (r, outputs).
    """

    w1: tuple[Tensor, ...]
    w2: tuple[Tensor, ...]
    scale: float
    kernel: tuple[int, ...] = ()  # of a convolution stored flat, which only the base tells

    @property
    def kind(self) -> str:
        return "LoKr"

    @property
    def rank(self) -> int:
        return min(_inner_rank(self.w1) * _inner_rank(self.w2), *self._flat_shape())

    @property
    def shape(self) -> tuple[int, ...]:
        (outputs, inputs), kernel = self._flat_shape(), self.kernel
        if len(self.w2) == 3 or self.w2[0].ndim == 4:
            kernel = tuple(self.w2[-1].shape[2:])
        return (outputs, inputs // math.prod(kernel), *kernel)

    def factors(self) -> Factors:
        (down_1, up_1), (down_2, up_2) = map(_split_matrix, (self.w1, self.w2))
        if len(down_1) * len(down_2) > self.rank:
            return _split_matrix((torch.kron(up_1 @ down_1, up_2 @ down_2),))
        return torch.kron(down_1, down_2), torch.kron(up_1, up_2)

    def delta(self, base: Tensor | None = None) -> Tensor:
        (down_1, up_1), (down_2, up_2) = map(_split_matrix, (self.w1, self.w2))
        return (self.scale * torch.kron(up_1 @ down_1, up_2 @ down_2)).reshape(self.shape)

    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.w1, *self.w2)

    def side_sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return (outputs, inputs) of w1 and of w2, a kernel flattened into the inputs."""
        return _flat_sizes(self.w1), _flat_sizes(self.w2)

    def _flat_shape(self) -> tuple[int, int]:
        (o_1, i_1), (o_2, i_2) = self.side_sizes()
        return o_1 * o_2, i_1 * i_2


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A full difference: ΔW = scale · diff."""

    diff: Tensor
    scale: float = 1.0

    @property
    def kind(self) -> str:
        return "full difference"

    @property
    def rank(self) -> int:
        return min(len(self.diff), self.diff[0].numel())

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.diff.shape)

    def factors(self) -> Factors:
        return _split_matrix((self.diff,))

    def delta(self, base: Tensor | None = None) -> Tensor:
        return self.scale * self.diff.float()

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.diff,)


@dataclass(frozen=True, slots=True)
class DoraLayer:
    """A change of direction, and the magnitude of the outcome: W' = magnitude · V / |V|.

    V is W + ΔW of `change`. `magnitude` broadcasts against W: where its first axis is the
    outputs, norms are over each output's inputs (PEFT; LyCORIS with wd_on_output), where its
    second is the inputs, over each input's outputs (LyCORIS otherwise).
    """

    change: Layer
    magnitude: Tensor

    @property
    def kind(self) -> str:
        return "DoRA" if self.change.kind == "LoRA" else f"DoRA of {self.change.kind}"

    @property
    def rank(self) -> int:
        return self.change.rank

    @property
    def scale(self) -> float:
        return self.change.scale

    @property
    def shape(self) -> tuple[int, ...]:
        return self.change.shape

    def factors(self) -> Factors:
        raise BaseWeightNeededError(self.kind)

    def delta(self, base: Tensor | None = None) -> Tensor:
        if base is None:
            raise BaseWeightNeededError(self.kind)
        base = base.float()
        changed = base + self.change.delta()
        axes = [axis for axis, size in enumerate(self.magnitude.shape) if size == 1]
        norm = torch.linalg.vector_norm(changed, dim=axes, keepdim=True)
        # LyCORIS adds this; PEFT does not, which differs by less than float32 shows.
        norm = norm + torch.finfo(torch.float32).eps
        delta: Tensor = self.magnitude.float() * changed / norm - base
        return delta

    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.change.tensors(), self.magnitude)


@dataclass(frozen=True, slots=True)
class ReplacedLayer:
    """A weight put in the place of the base's."""

    weight: Tensor

    @property
    def kind(self) -> str:
        return "replaced weight"

    @property
    def rank(self) -> int:
        return min(len(self.weight), self.weight[0].numel())

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.weight.shape)

    def factors(self) -> Factors:
        raise BaseWeightNeededError(self.kind)

    def delta(self, base: Tensor | None = None) -> Tensor:
        if base is None:
            raise BaseWeightNeededError(self.kind)
        return self.weight.float() - base.float()

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.weight,)


@dataclass(frozen=True, slots=True)
class RowsLayer:
    """Some outputs of a layer: one projection of several that were trained as one."""

    whole: Layer
    rows: tuple[slice, ...]  # one after another

    @property
    def kind(self) -> str:
        return self.whole.kind

    @property
    def rank(self) -> int:
        return self.whole.rank

    @property
    def scale(self) -> float:
        return self.whole.scale

    @property
    def shape(self) -> tuple[int, ...]:
        outputs, *inputs = self.whole.shape
        return (sum(len(range(outputs)[rows]) for rows in self.rows), *inputs)

    def factors(self) -> Factors:
        down, up = self.whole.factors()
        return down, torch.cat([up[rows] for rows in self.rows])

    def delta(self, base: Tensor | None = None) -> Tensor:
        delta = self.whole.delta()
        return torch.cat([delta[rows] for rows in self.rows])

    def tensors(self) -> tuple[Tensor, ...]:
        return self.whole.tensors()


def to_arithmetic(tensor: Tensor) -> Tensor:
    """Return float8 as bfloat16, which holds all of its values, and other tensors as they are.

    float8 has no arithmetic on a CPU.
    """
    return tensor.bfloat16() if tensor.itemsize == 1 else tensor


def form_delta(layer: Layer) -> Tensor:
    """Multiply a layer's factors out, in float32."""
    down, up = layer.factors()
    return (layer.scale * (up.float() @ down.float())).reshape(layer.shape)


def _tucker(first: Tensor, second: Tensor, core: Tensor | None) -> Factors:
    """Return one LoRA of a LoHa or LoKr as (down, up) in float32, its kernel flattened."""
    if core is None:
        return second.float(), first.float()
    down = torch.einsum("ijhw,jc->ichw", core.float(), second.float())
    return down.flatten(1), first.float().T.contiguous()


def _split_matrix(parts: tuple[Tensor, ...]) -> Factors:
    """Return (down, up) of a matrix or its parts; the identity stands for the smaller side."""
    if len(parts) > 1:
        return _tucker(parts[0], parts[1], parts[2] if len(parts) == 3 else None)
    matrix = parts[0].float().flatten(1)
    outputs, inputs = matrix.shape
    if outputs <= inputs:
        return matrix, torch.eye(outputs, device=matrix.device)
    return torch.eye(inputs, device=matrix.device), matrix


def _inner_rank(parts: tuple[Tensor, ...]) -> int:
    return len(parts[1]) if len(parts) > 1 else min(_flat_sizes(parts))


def _flat_sizes(parts: tuple[Tensor, ...]) -> tuple[int, int]:
    """(outputs, inputs · kernel) of a matrix or its parts."""
    if len(parts) == 3:
        return parts[0].shape[1], parts[1].shape[1] * math.prod(parts[2].shape[2:])
    return len(parts[0]), math.prod(parts[-1].shape[1:])
