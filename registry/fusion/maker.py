"""From a prompt to the adapters that draw it, wherever the registry is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from registry.errors import AdapterNotFoundError, StrengthsError
from registry.text.segment import clean
from registry.text.trigger_words import missing_triggers

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry.fusion.attach import Mode
    from registry.fusion.backends.base import Progress
    from registry.fusion.generate import FusedImage
    from registry.fusion.recipe import Recipe
    from registry.fusion.studio import Studio

Size = tuple[int, int]  # width and height in pixels


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


class Chosen(Protocol):
    """An adapter, how similar the prompt's parts are to its weights, and their embedding, if
    known."""

    @property
    def card(self) -> Card: ...
    @property
    def similarities(self) -> Sequence[float] | None: ...
    @property
    def embedding(self) -> Sequence[float] | None: ...


@dataclass(frozen=True)
class Ingredient:
    """An adapter as it shall be used."""

    card: Card
    strength: float = 1.0
    similarities: Sequence[float] | None = None
    embedding: Sequence[float] | None = None


class Maker(ABC):
    """A registry, here or elsewhere, that makes images with its adapters."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Give back what is open."""

    @property
    @abstractmethod
    def studio(self) -> "Studio":
        """What makes images: base models, gates and weights, loaded when first needed."""

    @abstractmethod
    def choose(self, prompt: str, k: int = 3, *, base_model: str | None = None) -> Sequence[Chosen]:
        """Return up to `k` adapters to draw `prompt` with."""

    @abstractmethod
    def choices(self, prompt: str, adapter_ids: list[int]) -> Sequence[Chosen]:
        """Return those adapters that exist, in their order."""

    @abstractmethod
    def default_base_model(self) -> str:
        """Return the base model that is meant when none is named."""

    def fuse(
        self,
        prompt: str,
        *,
        k: int = 3,
        adapters: Sequence[int] | None = None,
        strengths: Sequence[float] | None = None,
        base_model: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        size: Size | None = None,
        mode: "Mode" = "gated",
        check: bool = True,
        progress: "Progress | None" = None,
    ) -> "FusedImage":
        """Draw `prompt` with up to `k` adapters that search finds for it.

        `adapters` (ids) replaces the search; `strengths` (default 1) go with them, in order. The
        adapters' trigger words are added to the prompt where it lacks them. `check` measures how
        far they depart from the base together.

        Raises:
            SearchError: nothing suits the prompt.
            FusionError: a base model or gates are missing, or an adapter does not fit.
        """
        prompt = clean(prompt)
        chosen, base_model = self._gather(
            prompt,
            0 if adapters is None and mode == "base" else k,
            adapters,
            strengths,
            base_model,
        )
        return self.studio.draw(
            prompt,
            chosen,
            base_model,
            seed=seed,
            steps=steps,
            size=size,
            mode=mode,
            check=check,
            progress=progress,
        )

    def grid(
        self,
        prompt: str,
        adapters: Sequence[int],
        *,
        seed: int = 0,
        steps: int | None = None,
        size: Size | None = None,
        mode: "Mode" = "gated",
        progress: "Progress | None" = None,
    ) -> "Image":
        """Draw every pair of `adapters` fused, and each of them alone on the diagonal.

        All from the same noise. `progress` counts images.
        """
        from registry.fusion.sheets import draw_grid, label_of

        prompt = clean(prompt)
        chosen, base_model = self._gather(prompt, 0, adapters, None, None)
        pairs = [(i, j) for i in range(len(chosen)) for j in range(i, len(chosen))]
        cells = {}
        for done, (i, j) in enumerate(pairs, start=1):
            own = [chosen[i]] if i == j else [chosen[i], chosen[j]]
            cells[i, j] = self.studio.draw(
                prompt, own, base_model, seed=seed, steps=steps, size=size, mode=mode, check=False
            ).image
            if progress is not None:
                progress(done, len(pairs))
        names = [label_of(one.card.name, one.card.id) for one in chosen]
        return draw_grid(f"{prompt} · {mode} · seed {seed}", names, cells)

    def compare(
        self,
        prompt: str,
        *,
        k: int = 3,
        adapters: Sequence[int] | None = None,
        base_model: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        size: Size | None = None,
        progress: "Progress | None" = None,
    ) -> "Image":
        """Draw the base alone, each adapter alone, and all of them by every way of fusing.

        All from the same noise and the same words, trigger words included, so that what differs
        is the adapters' doing. `progress` counts images.
        """
        from registry.fusion.sheets import draw_row, label_of

        prompt = clean(prompt)
        chosen, base_model = self._gather(prompt, k, adapters, None, base_model)
        added = missing_triggers(prompt, [one.card for one in chosen])
        words = ", ".join([prompt, *(word for words in added for word in words)])
        modes: tuple[Mode, ...] = ("sum", "average", "gated")
        plans: list[tuple[str, list[Ingredient], Mode]] = [
            ("base alone", [], "base"),
            *((f"{label_of(one.card.name, one.card.id)}\nalone", [one], "gated") for one in chosen),
            *((mode, chosen, mode) for mode in modes),
        ]
        pictures = []
        for label, own, mode in plans:
            drawn = self.studio.draw(
                words, own, base_model, seed=seed, steps=steps, size=size, mode=mode, check=False
            )
            pictures.append((label, drawn.image))
            if progress is not None:
                progress(len(pictures), len(plans))
        return draw_row(f"{words} · seed {seed}", pictures)

    def reproduce(self, recipe: "Recipe", progress: "Progress | None" = None) -> "FusedImage":
        """Draw the image of a recipe again: on the same machine, to the bit."""
        return self.studio.reproduce(recipe, progress)

    def _gather(
        self,
        prompt: str,
        k: int,
        adapters: Sequence[int] | None,
        strengths: Sequence[float] | None,
        base_model: str | None,
    ) -> tuple[list[Ingredient], str]:
        """Return the adapters to draw `prompt` with, and their base model.

        Raises:
            StrengthsError: there is not one strength for each adapter that is named.
            AdapterNotFoundError: a named adapter does not exist.
            SearchError: nothing suits the prompt.
        """
        if strengths is not None and len(strengths) != len(adapters or ()):
            raise StrengthsError(len(strengths), len(adapters or ()))
        chosen: Sequence[Chosen] = ()
        if adapters is not None:
            known = {one.card.id: one for one in self.choices(prompt, list(adapters))}
            for adapter_id in adapters:
                if adapter_id not in known:
                    raise AdapterNotFoundError(adapter_id)
            chosen = [known[adapter_id] for adapter_id in adapters]
        elif k:
            chosen = self.choose(prompt, k, base_model=base_model)
        if base_model is None:
            base_model = chosen[0].card.base_model if chosen else self.default_base_model()
        ingredients = [
            Ingredient(one.card, strength, one.similarities, one.embedding)
            for one, strength in zip(chosen, strengths or [1.0] * len(chosen), strict=True)
        ]
        return ingredients, base_model
