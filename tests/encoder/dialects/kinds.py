"""What trainers write for one module, and the change that their own code makes of it.

Written out from the trainers' definitions, in float64, apart from the reader's: LyCORIS
(lycoris/modules and functional), PEFT (peft/tuners), sd-scripts (networks/lora.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Written:
    """The tensors of one module by suffix, and what they do."""

    tensors: Tensors
    change: Tensor | None = None  # of the weight
    bias: Tensor | None = None  # added to the bias
    # The outcome from the base's weight, for kinds that depend on it.
    outcome: Callable[[Tensor], Tensor] | None = None
    vectors: Tensors = field(default_factory=dict)


class Pen:
    """Draws tensors of one file; all of them differ."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._count = 0

    def draw(self, *shape: int) -> Tensor:
        """Random values, small enough for a network to stay well-behaved with them."""
        values: Tensor = torch.randn(shape, generator=self._generator) / math.sqrt(shape[-1])
        return values

    def alpha(self) -> float:
        """Another alpha for each module, so that a mix-up of scales is seen."""
        self._count += 1
        return 0.5 + self._count % 7

    def lora(
        self, shape: tuple[int, ...], *, rank: int = 2, names: str = "kohya", alpha: bool = True
    ) -> Written:
        """alpha / rank · up · down; a convolution's down has the kernel, its up is 1x1."""
        outputs, inputs, *kernel = shape
        ones = [1] * len(kernel)
        down, up = self.draw(rank, inputs, *kernel), self.draw(outputs, rank, *ones)
        value = self.alpha() if alpha else float(rank)
        first, second = SUFFIXES[names]
        tensors = {first: down, second: up}
        if alpha:
            tensors["alpha"] = torch.tensor(value)
        product = up.flatten(1).double() @ down.flatten(1).double()
        return Written(tensors, (value / rank * product).reshape(shape))

    def locon_tucker(self, shape: tuple[int, ...], *, rank: int = 2) -> Written:
        outputs, inputs, *kernel = shape
        down, up = self.draw(rank, inputs, 1, 1), self.draw(outputs, rank, 1, 1)
        mid, alpha = self.draw(rank, rank, *kernel), self.alpha()
        tensors = {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid,
                   "alpha": torch.tensor(alpha)}  # fmt: skip
        change = rebuild_tucker(mid, up.flatten(1).T, down.flatten(1))
        return Written(tensors, alpha / rank * change)

    def loha(
        self,
        shape: tuple[int, ...],
        *,
        rank: int = 2,
        tucker: bool = False,
        convolved: bool = False,
    ) -> Written:
        """`convolved`: of a convolution, the weights of two, as OneTrainer's `LoHaModule` has."""
        outputs, inputs, *kernel = shape
        alpha, halves = self.alpha(), []
        tensors: Tensors = {}
        for number in "12":
            if tucker:
                a, b = self.draw(rank, outputs), self.draw(rank, inputs)
                core = self.draw(rank, rank, *kernel)
                tensors[f"hada_t{number}"] = core
                halves.append(rebuild_tucker(core, a, b))
            else:
                a = self.draw(outputs, rank)
                b = self.draw(rank, inputs * int(torch.tensor(kernel).prod()))
                halves.append((a.double() @ b.double()).reshape(shape))
            if convolved and kernel:
                a, b = a.reshape(outputs, rank, 1, 1), b.reshape(rank, inputs, *kernel)
            tensors |= {f"hada_w{number}_a": a, f"hada_w{number}_b": b}
        tensors["alpha"] = torch.tensor(alpha)
        return Written(tensors, alpha / rank * halves[0] * halves[1])

    def lokr(self, shape: tuple[int, ...], *, form: str = "w2", rank: int = 2) -> Written:
        """`form`: "full", "w2" (its w2 factored), "both", or "tucker" for a convolution."""
        outputs, inputs, *kernel = shape
        small = (2, 2)
        large = (outputs // 2, inputs // 2)
        alpha = self.alpha()
        tensors: Tensors = {}
        w1 = self.draw(*small)
        if form == "both":
            a, b = self.draw(2, rank), self.draw(rank, 2)
            tensors |= {"lokr_w1_a": a, "lokr_w1_b": b}
            w1 = a @ b
        else:
            tensors["lokr_w1"] = w1
        if form == "full":
            w2 = self.draw(*large, *kernel)
            tensors["lokr_w2"] = w2
        elif form == "tucker":
            a, b, core = (self.draw(rank, large[0]), self.draw(rank, large[1]),
                          self.draw(rank, rank, *kernel))  # fmt: skip
            tensors |= {"lokr_w2_a": a, "lokr_w2_b": b, "lokr_t2": core}
            w2 = rebuild_tucker(core, a, b)
        else:
            a = self.draw(large[0], rank)
            b = self.draw(rank, large[1] * int(torch.tensor(kernel).prod()))
            tensors |= {"lokr_w2_a": a, "lokr_w2_b": b}
            w2 = (a.double() @ b.double()).reshape(*large, *kernel)
        tensors["alpha"] = torch.tensor(alpha)
        # LyCORIS: where nothing is factored, the scale is 1 whatever alpha says.
        scale = 1.0 if form == "full" else alpha / rank
        w1 = w1.double().reshape(*small, *[1] * len(kernel))
        return Written(tensors, scale * torch.kron(w1, w2.double().contiguous()))

    def dora(
        self,
        shape: tuple[int, ...],
        *,
        by_output: bool,
        names: str = "kohya",
        vector: str = "lora_magnitude_vector.weight",
    ) -> Written:
        """LyCORIS and OneTrainer: W' = dora_scale · (W + ΔW) / its norm by output or by input.

        Where PEFT's names are used, the magnitude is a `vector` of that name.
        """
        plain = self.lora(shape, names=names, alpha=names == "kohya")
        assert plain.change is not None
        change = plain.change
        outputs, inputs, *kernel = shape
        ones = [1] * len(kernel)
        size = (outputs, 1, *ones) if by_output else (1, inputs, *ones)
        magnitude = self.draw(*size).abs() + 0.5
        axes = tuple(axis for axis in range(len(shape)) if axis != (0 if by_output else 1))

        def outcome(base: Tensor) -> Tensor:
            direction = base.double() + change
            norm: Tensor = torch.linalg.vector_norm(direction, dim=axes, keepdim=True)
            return magnitude.double() * direction / norm

        key = "dora_scale"
        if names == "peft":
            key, magnitude = vector, magnitude.flatten()
            stored = magnitude
            magnitude = magnitude.reshape(size)
            return Written({**plain.tensors, key: stored}, outcome=outcome)
        return Written({**plain.tensors, key: magnitude}, outcome=outcome)

    def full(self, shape: tuple[int, ...], *, bias: bool = False) -> Written:
        """LyCORIS' "full": differences of the weight and of the bias."""
        diff = self.draw(*shape)
        if not bias:
            return Written({"diff": diff}, diff.double())
        diff_b = self.draw(shape[0])
        return Written({"diff": diff, "diff_b": diff_b}, diff.double(), diff_b.double())

    def norm(self, length: int) -> Written:
        """LyCORIS' "norm": differences of a norm's weight and bias."""
        weight, bias = self.draw(length), self.draw(length)
        return Written({"w_norm": weight, "b_norm": bias}, weight.double(), bias.double())


SUFFIXES = {
    "kohya": ("lora_down.weight", "lora_up.weight"),
    "peft": ("lora_A.weight", "lora_B.weight"),
    "default": ("lora_A.default.weight", "lora_B.default.weight"),
    "bare": ("lora_A", "lora_B"),
    "old-diffusers": ("lora.down.weight", "lora.up.weight"),
    "processor": ("down.weight", "up.weight"),
}


def rebuild_tucker(core: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    """LyCORIS' rebuild_tucker: core (r, r, height, width), outputs (r, o), inputs (r, i)."""
    weight: Tensor = torch.einsum(
        "ij...,ip,jr->pr...", core.double(), outputs.double(), inputs.double()
    )
    return weight
