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

from registry.fusion.errors import LayerMismatchError

# How a pipeline runs passes without the prompt. calls: one pass for the prompt, then one for the
# negative prompt. halves: one pass for both, the negative prompt's rows first. second halves: the
# same, its rows last.
UnpromptedPasses = Literal["calls", "halves", "second halves"]


@dataclass
class GuidedPasses:
    """Follows a denoiser's passes; adapters rest in those, or those rows, without the prompt."""

    unprompted: UnpromptedPasses | None = None  # None: adapters are at work in all
    # A flag and no count: compiled bases are compiled for each value.
    resting: bool = True
    samples: int = 0  # of the pass, where the denoiser is told by place

    def begin(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Note that a pass begins: a forward pre-hook of the denoiser."""
        self.resting = self.unprompted == "calls" and not self.resting
        self.samples = len(inputs[0]) if inputs else 0

    def at_work(self, rows: int) -> slice:
        """Return those of a batch's rows in which adapters are at work: all, half or none."""
        if self.resting:
            return slice(0, 0)
        match self.unprompted:
            case "halves":
                return slice(rows // 2, rows)
            case "second halves":
                return slice(0, rows - rows // 2)
        return slice(0, rows)

    def check_rows(self, name: str, rows: int) -> None:
        """Refuse a layer that takes the words of all samples in a row, not sample by sample.

        Raises:
            LayerMismatchError: which words are the negative prompt's is not to be seen there.
        """
        if self.unprompted == "second halves" and self.samples and rows != self.samples:
            raise LayerMismatchError(
                f"layer {name!r} takes all samples in a row: adapters that change it cannot rest "
                "in the negative prompt's; guide from the fused base"
            )
