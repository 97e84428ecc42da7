"""Which base models are searched together: those whose adapters one encoder knows, or none does.

Similarities of two encoders do not compare, and neither do their queries. So each space is asked
by itself, and its answers are expressed in deviations above strangers before they are merged.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from encoder.arrays import Floats
from registry.retrieval.filters import Filters
from registry.retrieval.ranking import DEFAULT_CALIBRATION, PLAIN_CALIBRATION, Calibration, Scale
from registry.retrieval.strangers import Strangers


class QueryEncoder(Hashable, Protocol):
    """What search needs of a weight encoder; `load_encoder` of its checkpoint gives one."""

    def encode_query(self, embeddings: Floats) -> Floats:
        """Bring text embeddings (n, dim) into the space of the weight embeddings."""
        ...

    def encode_question(self, embeddings: Floats) -> Floats:
        """Bring a question and its parts (1 + parts, dim) there, as one query (dim,)."""
        ...

    def encode_caption_query(self, embeddings: Floats) -> Floats:
        """Turn text embeddings (n, dim) so that they compare with captions' as adapters differ."""
        ...


@dataclass(frozen=True, slots=True)
class ServingEncoder:
    """A weight encoder under the name that its embeddings have in the database."""

    name: str
    loaded: QueryEncoder
    calibration: Calibration = DEFAULT_CALIBRATION


@dataclass(frozen=True, slots=True)
class Space:
    """Adapters that one encoder knows, or that none does; without names, all there are."""

    encoder: ServingEncoder | None = None
    base_models: tuple[str, ...] = ()

    def narrow(self, filters: Filters) -> Filters:
        """Return `filters` for the adapters of this space."""
        if not self.base_models:
            return filters
        # The names are those of the index: whoever meant a family got its variants, and what
        # leaves them open is in one space alone.
        return replace(filters, base_models=self.base_models, variants=False)

    def aim(self, embedding: Floats) -> Floats:
        """Return what a question (dim,) is compared with captions by, (dim,)."""
        if self.encoder is None:
            return embedding
        aimed: Floats = self.encoder.loaded.encode_caption_query(embedding[None])[0]
        return aimed

    def scale(self, aimed: Floats, strangers: Strangers) -> Scale:
        """Return what similarities with a question (dim,) mean here, once it is aimed."""
        if self.encoder is None:
            calibration, captions = PLAIN_CALIBRATION, strangers.plain_scale
        else:
            calibration = self.encoder.calibration
            # Encoders are told apart by what they are, not by what they hold.
            captions = _turned_scale(strangers, self.encoder.loaded)
        mean, deviation = captions
        near = (strangers.likeness_to_gibberish(aimed) - mean) / deviation
        return Scale(calibration, captions, near)


# As many encoders as an index may have active; each costs milliseconds a question otherwise.
@lru_cache(maxsize=32)
def _turned_scale(strangers: Strangers, encoder: QueryEncoder) -> tuple[float, float]:
    return strangers.scale(encoder.encode_caption_query)


def spaces_of(
    names: Sequence[str], encoder_of: Callable[[str], ServingEncoder | None]
) -> list[Space]:
    """Part base models by the encoder that knows them."""
    parts: dict[str | None, tuple[ServingEncoder | None, list[str]]] = {}
    for name in names:
        encoder = encoder_of(name)
        parts.setdefault(encoder.name if encoder else None, (encoder, []))[1].append(name)
    return [Space(encoder, tuple(own)) for encoder, own in parts.values()]
