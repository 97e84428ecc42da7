"""Which of a base's passes know the prompt: guidance runs others beside them.

Classifier-free guidance [1] draws with v_0 + g (v - v_0), v for the prompt and v_0 for the negative
one. With adapters in both, g makes the most of the prompt's words, and of adapters nothing. Where
adapters rest in v_0, guidance leads away from the base alone: towards what they bring as well.
docs/fusion.md tells what that does to images, docs/benchmarks.md how many show what they should.

- [1] Ho and Salimans, 2022, https://arxiv.org/abs/2207.12598
"""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

# How a pipeline runs passes without the prompt. calls: one pass for the prompt, then one for the
# negative prompt. halves: one pass for both, the negative prompt's rows first.
UnpromptedPasses = Literal["calls", "halves"]


@dataclass
class GuidedPasses:
    """Follows a denoiser's passes; adapters rest in those, or those rows, without the prompt."""

    unprompted: UnpromptedPasses | None = None  # None: adapters are at work in all
    # A flag and no count: compiled bases are compiled for each value.
    resting: bool = True

    def begin(self, _: nn.Module, __: tuple[Any, ...]) -> None:
        """Note that a pass begins: a forward pre-hook of the denoiser."""
        self.resting = self.unprompted == "calls" and not self.resting

    def first_row(self, rows: int) -> int:
        """Return the first of a batch's rows in which adapters are at work; `rows` if in none."""
        if self.resting:
            return rows
        return rows // 2 if self.unprompted == "halves" else 0
