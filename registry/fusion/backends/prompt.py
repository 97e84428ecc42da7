"""Prompt -> the text inputs of the tiny base: what CLIP and T5 are to FLUX.

One multilingual sentence encoder gives both: the whole prompt's embedding is FLUX's
pooled projection, and the embeddings of its single words are the text tokens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from encoder.text_encoder import TextEncoder

TOKENS = 8
# Words of alphabetic scripts; a run of Chinese has no spaces and counts as one word.
WORD = re.compile(r"[\u3400-\u9fff]+|[^\W_\u3400-\u9fff]+(?:['’-][^\W_\u3400-\u9fff]+)*")


@dataclass
class PromptEncoder:
    """Encodes prompts for a base that was trained with `text_encoder`."""

    text_encoder: TextEncoder
    _words: dict[str, Tensor] = field(default_factory=dict)

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return tokens (n, TOKENS, dim) and pooled (n, dim), float32.

        An empty prompt is all zeros: the unconditional input of guidance.
        """
        scale = self.text_encoder.dim**0.5
        split = [WORD.findall(prompt.lower())[:TOKENS] for prompt in prompts]
        self._learn({word for words in split for word in words})
        pooled = torch.from_numpy(self.text_encoder.encode(prompts)) * scale
        tokens = torch.zeros(len(prompts), TOKENS, self.text_encoder.dim)
        for row, words in enumerate(split):
            if not words:
                pooled[row] = 0
            for place, word in enumerate(words):
                tokens[row, place] = self._words[word]
        return tokens, pooled

    def _learn(self, words: set[str]) -> None:
        unknown = sorted(words - self._words.keys())
        if unknown:
            encoded = self.text_encoder.encode(unknown).astype(np.float32)
            scale = self.text_encoder.dim**0.5
            self._words |= dict(zip(unknown, torch.from_numpy(encoded) * scale, strict=True))
