"""What is said of an adapter by all that know something: the ridge, concepts, and looks.

What is drawn is told by the words of the concepts that an adapter is most like, how it is drawn by
those of the looks, and what the ridge was trained on by its prediction. Concepts of every kind
speak for themselves too: names, sorts of things, looks. Where a look is what is clearest, what is
drawn in it would have no say among the nearest of all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from encoder.arrays import Floats
from encoder.text_encoder import normalise
from encoder.weight_encoders.beliefs import Beliefs, said_together
from encoder.weight_encoders.concepts import Concepts, nearest_shares, peaks

if TYPE_CHECKING:
    from encoder.sketches.sketch import Sketch
    from encoder.weight_encoders.text_space import TextSpace

# So many of the nearest have a say in an adapter's words: of all concepts, of those of one kind,
# and of looks. Chosen on validation, where 30 to 100 concepts tie, and 10 and 20 looks.
NEAREST_CONCEPTS, NEAREST_OF_KIND, NEAREST_LOOKS = 50, 20, 10
# So many of the concepts nearest to what is asked for are heard with it, and so many of the looks
# nearest to how it is to be drawn; they count so much beside what was said. Chosen on validation,
# and so that captions of the miniature world find as much as without (docs/benchmarks/wide.md).
HEARD_CONCEPTS, HEARD_LOOKS, HEARD_SHARE = 3, 10, 0.5


class Said(NamedTuple):
    """What each voice says of adapters, and how clearly."""

    voices: dict[str, Floats]  # (n, dim) each, unit rows, always in the same order
    evidence: Floats  # (n, evidence): what tells whom to believe; first the ridge's clearness


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a base model is known to draw, and how far it is believed beside a ridge."""

    concepts: Concepts
    looks: Concepts
    beliefs: Beliefs

    def join(
        self,
        predictions: Floats,
        features: Floats,
        sketches: Sequence["Sketch"],
        text: "TextSpace",
    ) -> tuple[Floats, Floats]:
        """Return embeddings of length 1, (n, dim), and how far each is trusted, (n,), 0..1.

        `predictions` (n, dim) are the ridge's for `features` (n, values of a sketch).
        """
        said = say(self.concepts, self.looks, predictions, features, sketches, text)
        believed = self.beliefs.of(features, said.evidence)
        embeddings, likeness = said_together([*said.voices.values()], believed)
        return embeddings, self.beliefs.trust(likeness)

    def hear(self, asked: Floats, text: "TextSpace") -> Floats:
        """Return what a question asks for, and how, beside the words that adapters are told by.

        `asked` (2, dim) are what and how, of length 1. A stopwatch lies apart from the words of the
        concept that an adapter of one is most like, and these are what its embedding is made of.
        """
        words = [
            nearest_shares(one @ own.T, nearest) @ own
            for one, own, nearest in (
                (asked[:1], words_of(self.concepts, text), HEARD_CONCEPTS),
                (asked[1:], words_of(self.looks, text), HEARD_LOOKS),
            )
        ]
        return normalise(asked + HEARD_SHARE * normalise(np.concatenate(words)))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a checkpoint holds."""
        return {
            **self.concepts.arrays("concept"),
            **self.looks.arrays("look"),
            **self.beliefs.arrays(),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], values: int) -> "Known | None":
        """Build it from what `arrays` gave, of so many `values` of a sketch.

        An encoder need not have any.
        """
        concepts, looks = (Concepts.restore(arrays, name) for name in ("concept", "look"))
        beliefs = Beliefs.restore(arrays, values)
        if concepts is None or looks is None or beliefs is None:
            return None
        return cls(concepts, looks, beliefs)


def say(
    concepts: Concepts,
    looks: Concepts,
    predictions: Floats,
    features: Floats,
    sketches: Sequence["Sketch"],
    text: "TextSpace",
) -> Said:
    """Ask all voices about adapters; arguments are as of `Known.join`."""
    lengths = np.linalg.norm(predictions, axis=1)
    voices = {"ridge": normalise(predictions)}
    clear = [lengths / np.linalg.norm(features, axis=1)]
    speakers = ("concepts", concepts, NEAREST_CONCEPTS), ("looks", looks, NEAREST_LOOKS)
    for name, vocabulary, nearest in speakers:
        scores, words = vocabulary.scores(sketches), words_of(vocabulary, text)
        parts = {name: (slice(None), nearest)}
        for number, kind in enumerate(vocabulary.kinds()):
            parts[f"{name} {number}"] = kind, NEAREST_OF_KIND
        for own, (part, count) in parts.items():
            shares = nearest_shares(scores[:, part], count)
            voices[own] = normalise(shares @ words[part])
            clear.append(peaks(scores[:, part]))
    said = [*voices.values()]
    agreed = [(one * other).sum(axis=1) for place, one in enumerate(said) for other in said[:place]]
    return Said(voices, np.stack([*clear, *agreed], axis=1))


@lru_cache(maxsize=4)
def words_of(vocabulary: Concepts, text: "TextSpace") -> Floats:
    """Return what concepts are called, unit rows (concepts, dim), without what all share."""
    words = text.project(vocabulary.texts.dense())
    return normalise(words - words.mean(axis=0))
