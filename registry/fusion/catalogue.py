"""What fusing needs of a registry, wherever that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.retrieval.terms import Maturity


class Card(Protocol):
    """What fusing needs to know of an adapter; AdapterCard is one."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def base_model(self) -> str: ...
    @property
    def file_sha256(self) -> str | None: ...
    @property
    def trigger_words(self) -> Sequence[str]: ...
    @property
    def licence(self) -> str | None: ...
    @property
    def strength(self) -> float | None: ...


class Chosen(Protocol):
    """An adapter, how similar the prompt's parts are to its weights, and their embedding, if
    known."""

    @property
    def card(self) -> Card: ...
    @property
    def similarities(self) -> Sequence[float] | None: ...
    @property
    def embedding(self) -> Sequence[float] | None: ...


class Catalogue(Protocol):
    """Finds adapters to draw with."""

    def choose(
        self,
        prompt: str,
        k: int = 3,
        *,
        base_model: str | None = None,
        mature: Maturity = "any",
    ) -> Sequence[Chosen]:
        """Return up to `k` adapters to draw `prompt` with."""
        ...

    def named_adapters(self, prompt: str, adapter_ids: Sequence[int]) -> Sequence[Chosen]:
        """Return those adapters that exist, in their order, as if chosen for `prompt`."""
        ...

    def default_base_model(self) -> str:
        """Return the base model that is meant when none is named."""
        ...


@dataclass(frozen=True)
class Ingredient:
    """An adapter as it shall be used."""

    card: Card
    strength: float = 1.0
    similarities: Sequence[float] | None = None
    embedding: Sequence[float] | None = None
