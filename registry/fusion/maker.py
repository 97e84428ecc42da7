"""From a prompt to the adapters that draw it, and to the image."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Unpack

from encoder.base_models.facts import bases_for, common_bases
from encoder.base_models.names import names_meant
from registry.errors import AdapterNotFoundError, StrengthsError
from registry.fusion.catalogue import Card, Catalogue, Chosen, Ingredient
from registry.fusion.options import (
    Drawing,
    Mode,
    PreviewCallback,
    ShownOptions,
    Size,
    StepCallback,
    UnsizedOptions,
    size_of,
)
from registry.fusion.studio import Studio
from registry.retrieval.terms import Maturity
from registry.text.pasted_prompts import PastedPrompt, read_pasted
from registry.text.trigger_words import missing_triggers
from registry.text.word_segmentation import clean

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry.fusion.fused_image import FusedImage
    from registry.fusion.recipe import Recipe

# The adapters of one picture of a sheet, and how it is drawn.
Plan = tuple[list[Ingredient], Drawing]
COMPARED_MODES: tuple[Mode, ...] = ("sum", "average", "gated")


class Maker:
    """Makes images: a catalogue finds the adapters, a studio draws with them."""

    def __init__(self, catalogue: Catalogue, studio: Studio) -> None:
        self.catalogue = catalogue
        self.studio = studio

    def fuse(
        self,
        prompt: str,
        *,
        k: int = 3,
        adapters: Sequence[int] | None = None,
        strengths: Sequence[float | None] | None = None,
        base_model: str | None = None,
        mature: Maturity = "any",
        mode: Mode | None = None,
        check: bool = True,
        progress: StepCallback | None = None,
        **drawing: Unpack[ShownOptions],
    ) -> "FusedImage":
        """Draw `prompt` with up to `k` adapters that search finds for it.

        `adapters` (ids) replaces the search; `strengths` go with them, in order, and where there
        is none the adapter's own preferred one is taken, or else 1. What the prompt calls for as
        web UIs are told to, `<lora:name:0.8>`, is used too, and is no part of what is drawn. The
        adapters' trigger words are added to the prompt where it lacks them. Without a `mode`
        they are gated where the base has gates, and averaged elsewhere. `check` measures how far
        they depart from the base together.

        Raises:
            SearchError: nothing suits the prompt.
            FusionError: a base model or gates are missing, or an adapter does not fit.
        """
        pasted = read_pasted(clean(prompt))
        if adapters is None and mode == "base":
            k = 0
        ingredients, base_model = self._gather(pasted, k, adapters, strengths, base_model, mature)
        mode = mode or self.studio.usual_mode(base_model)
        how = _drawing(mode=mode, check=check, **drawing)
        return self.studio.draw(pasted.without_calls, ingredients, base_model, how, progress)

    def grid(
        self,
        prompt: str,
        adapters: Sequence[int],
        *,
        strengths: Sequence[float | None] | None = None,
        base_model: str | None = None,
        mode: Mode | None = None,
        progress: StepCallback | None = None,
        **drawing: Unpack[ShownOptions],
    ) -> "Image":
        """Draw every pair of `adapters` fused, and each of them alone on the diagonal.

        All from the same noise. `progress` counts images, and is called at every step.
        """
        from registry.fusion.sheets import draw_grid, label_of

        pasted = read_pasted(clean(prompt))
        ingredients, base_model = self._gather(pasted, 0, adapters, strengths, base_model)
        prompt = pasted.without_calls
        mode = mode or self.studio.usual_mode(base_model)
        how = _drawing(mode=mode, check=False, **drawing)
        pairs = [(i, j) for i in range(len(ingredients)) for j in range(i, len(ingredients))]
        plans = [([ingredients[k] for k in dict.fromkeys(pair)], how) for pair in pairs]
        pictures = self._draw_all(prompt, plans, base_model, progress)
        cells = dict(zip(pairs, pictures, strict=True))
        names = [label_of(each.card.name, each.card.id) for each in ingredients]
        return draw_grid(f"{prompt} · {mode} · seed {how.seed}", names, cells)

    def compare(
        self,
        prompt: str,
        *,
        k: int = 3,
        adapters: Sequence[int] | None = None,
        strengths: Sequence[float | None] | None = None,
        base_model: str | None = None,
        mature: Maturity = "any",
        progress: StepCallback | None = None,
        **drawing: Unpack[ShownOptions],
    ) -> "Image":
        """Draw the base alone, each adapter alone, and all of them by every way of fusing.

        By gates where the base has some. All from the same noise and the same words, trigger
        words included, so that what differs is the adapters' doing. `progress` counts images, and
        is called at every step.
        """
        from registry.fusion.sheets import draw_row, label_of

        pasted = read_pasted(clean(prompt))
        ingredients, base_model = self._gather(pasted, k, adapters, strengths, base_model, mature)
        prompt = pasted.without_calls
        added = missing_triggers(prompt, [each.card for each in ingredients])
        prompt = ", ".join([prompt, *(word for words in added for word in words)])
        how = _drawing(mode=self.studio.usual_mode(base_model), check=False, **drawing)
        modes = [m for m in COMPARED_MODES if m != "gated" or self.studio.has_gates(base_model)]
        labels = ["base alone"]
        labels += [f"{label_of(each.card.name, each.card.id)}\nalone" for each in ingredients]
        labels += modes
        plans: list[Plan] = [([], replace(how, mode="base"))]
        plans += [([each], how) for each in ingredients]
        plans += [(ingredients, replace(how, mode=mode)) for mode in modes]
        pictures = self._draw_all(prompt, plans, base_model, progress)
        return draw_row(f"{prompt} · seed {how.seed}", list(zip(labels, pictures, strict=True)))

    def reproduce(
        self,
        recipe: "Recipe",
        progress: StepCallback | None = None,
        preview: PreviewCallback | None = None,
    ) -> "FusedImage":
        """Draw the image of a recipe again: on the same machine, to the bit."""
        return self.studio.reproduce(recipe, progress, preview)

    def _draw_all(
        self,
        prompt: str,
        plans: Sequence[Plan],
        base_model: str,
        progress: StepCallback | None,
    ) -> Iterator["Image"]:
        """Draw `prompt` by one plan after the other."""

        def told(done: int) -> StepCallback | None:
            # At every step, since what it raises ends the work.
            return None if progress is None else lambda *_: progress(done, len(plans))

        for done, (ingredients, drawing) in enumerate(plans):
            yield self.studio.draw(prompt, ingredients, base_model, drawing, told(done)).image
            if progress is not None:
                progress(done + 1, len(plans))

    def _gather(
        self,
        prompt: PastedPrompt,
        k: int,
        adapters: Sequence[int] | None,
        strengths: Sequence[float | None] | None,
        base_model: str | None,
        mature: Maturity = "any",
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
        strengths = list(strengths or ())
        if base_model is not None:
            base_model = self.base_meant(base_model)
        called = len(prompt.called)
        if adapters:
            found = (
                self.catalogue.choose(prompt.text, called, base_model=base_model, mature=mature)
                if called
                else ()
            )
            also = [each.card for each in found if each.card.id not in adapters]
            # All at once: they are compared by the same parts of the prompt.
            ids = [*adapters, *(card.id for card in also)]
            chosen = self._named(prompt.without_calls, ids)
            strengths = [*(strengths or [None] * len(adapters)), *(card.strength for card in also)]
        elif k and adapters is None:
            chosen = self.catalogue.choose(
                prompt.text, max(k, called), base_model=base_model, mature=mature
            )
        if base_model is None:
            base_model = self._base_of(chosen)
        ingredients = [
            Ingredient(each.card, _strength_of(each.card, given), each.similarities, each.embedding)
            for each, given in zip_longest(chosen, strengths)
        ]
        return ingredients, base_model

    def base_meant(self, word: str) -> str:
        """Return our name of the base that a person names, one that is here where it is open."""
        names = names_meant(word) or (word,)
        return (bases_for(names, self.studio.base_models) or names)[0]

    def _base_of(self, chosen: Sequence[Chosen]) -> str:
        """Return the base that draws all that is chosen: the first adapter's own, or one here.

        An adapter's may leave open which it is, as "flux.1" does.
        """
        names = [each.card.base_model for each in chosen] or [self.catalogue.default_base_model()]
        here = self.studio.base_models
        # Of adapters that go together on no base, the studio says which is not the first one's.
        return (common_bases(names, here) or common_bases(names[:1], here))[0]

    def _named(self, prompt: str, adapter_ids: Sequence[int]) -> list[Chosen]:
        """Return all of the adapters, or raise AdapterNotFoundError."""
        known = {each.card.id: each for each in self.catalogue.named_adapters(prompt, adapter_ids)}
        for adapter_id in adapter_ids:
            if adapter_id not in known:
                raise AdapterNotFoundError(adapter_id)
        return [known[adapter_id] for adapter_id in adapter_ids]


def _strength_of(card: Card, given: float | None) -> float:
    if given is None:
        given = card.strength
    return 1.0 if given is None else given


def _drawing(
    *,
    mode: Mode,
    check: bool,
    size: Size | int | None = None,
    preview: PreviewCallback | None = None,
    **options: Unpack[UnsizedOptions],
) -> Drawing:
    return Drawing(mode=mode, check=check, size=size_of(size), preview=preview, **options)
