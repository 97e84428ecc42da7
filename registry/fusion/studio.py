"""Where images are made: base models, gates and weights, loaded once and kept.

Importing this imports no torch; making the first image does.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cachetools import LRUCache

from encoder.base_models.facts import related_base_models
from encoder.base_models.matching import person_says
from encoder.errors import LoraFileError
from registry.config import Settings
from registry.errors import (
    AdapterNotReadyError,
    MissingExtraError,
    NoBaseModelError,
    NoGatesError,
)
from registry.fusion.base_folder import check_steps, read_sizes
from registry.fusion.catalogue import Ingredient
from registry.fusion.errors import AdapterRefusedError, FamilyMismatchError
from registry.fusion.options import Drawing, Mode, PreviewCallback, StepCallback
from registry.measures import timed
from registry.text.cached_encoder import load_cached_text_encoder

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights
    from registry.fusion.backends.base import Backend
    from registry.fusion.fused_image import FusedImage
    from registry.fusion.gates.interface import Gates
    from registry.fusion.loaded_adapter import LoadedAdapter
    from registry.fusion.recipe import Recipe

# The extra `fusion` of pyproject.toml, as imported.
FUSION_LIBRARIES = ("diffusers", "peft", "transformers")
# Loaded adapters that are kept; one for a 12B base takes up to 1.2 GB in float32.
KEPT_ADAPTERS = 8


class Studio:
    """Draws images. Safe to share between threads; a base draws one image at a time."""

    def __init__(
        self,
        settings: Settings,
        find_file: Callable[[str], Path],
        find_peft_config: Callable[[str], str],
    ) -> None:
        """Make images with the base models and gates of `settings`.

        `find_file` returns the file of a hash, or raises BlobNotFoundError; `find_peft_config`
        the adapter_config.json that was beside it, "" if there was none.
        """
        self._settings = settings
        self._find_file = find_file
        self._find_peft_config = find_peft_config
        self._lock = threading.Lock()
        self._backends: dict[str, Backend] = {}
        self._gates: dict[str, Gates] = {}
        self._weights: LRUCache[tuple[str, str, str], LoraWeights] = LRUCache(KEPT_ADAPTERS)

    @property
    def base_models(self) -> Collection[str]:
        """The names of the bases that draw here."""
        return self._settings.base_models.keys()

    def has_gates(self, base_model: str) -> bool:
        return base_model in self._settings.gates

    def usual_mode(self, base_model: str) -> Mode:
        """Return how adapters are put together where nobody says: as well as can be done here."""
        return "gated" if self.has_gates(base_model) else "average"

    def draw(
        self,
        prompt: str,
        adapters: Sequence[Ingredient],
        base_model: str,
        drawing: Drawing,
        progress: StepCallback | None = None,
    ) -> "FusedImage":
        """Draw `prompt` with adapters as they shall be used.

        Raises:
            NoBaseModelError, NoGatesError: the settings name none for `base_model`.
            FusionError: an adapter is of another base model, or does not fit; or the base cannot
                draw this size.
        """
        gated = drawing.mode == "gated" and bool(adapters)
        # Before anything slow: what is not configured will not appear.
        self._check_settings(base_model, gated=gated)
        self.check_drawing(base_model, drawing)
        for card in (ingredient.card for ingredient in adapters):
            if card.base_model not in related_base_models(base_model):
                raise FamilyMismatchError(card.name, card.base_model, base_model)
        if drawing.mode == "gated" and drawing.guide_from is None:
            drawing = replace(drawing, guide_from=self._settings.guide_from.get(base_model))
        from registry.fusion.generate import generate

        loaded = [self._load(ingredient) for ingredient in adapters]
        backend = self._backend(base_model)
        gates = self._load_gates(base_model) if gated else None
        with timed("draw"):
            return generate(prompt, loaded, backend, gates, drawing, progress)

    def reproduce(
        self,
        recipe: "Recipe",
        progress: StepCallback | None = None,
        preview: PreviewCallback | None = None,
    ) -> "FusedImage":
        """Draw a recipe's image again. Its adapters are found by their hashes."""
        base_model, gated = recipe.base.name, recipe.gates_sha256 is not None
        self._check_settings(base_model, gated=gated)
        size = (recipe.width, recipe.height)
        self.check_drawing(base_model, Drawing(steps=recipe.steps, size=size))
        from registry.fusion.generate import reproduce
        from registry.fusion.loaded_adapter import LoadedAdapter

        loaded = [
            LoadedAdapter(
                name=used.name,
                sha256=used.sha256,
                weights=self._read(used.name, used.sha256, base_model),
                strength=used.strength,
                trigger_words=used.trigger_words,
                licence=used.licence,
                id=used.id,
            )
            for used in recipe.adapters
        ]
        gates = self._load_gates(base_model) if gated else None
        backend = self._backend(base_model)
        with timed("draw"):
            return reproduce(recipe, loaded, backend, gates, progress, preview)

    def check_drawing(self, base_model: str, drawing: Drawing) -> None:
        """Refuse sizes and steps that a base with a folder cannot do; no weights are loaded.

        Raises:
            SamplingError: with what it can do.
        """
        if drawing.steps is not None:
            check_steps(drawing.steps)
        if drawing.size is not None:
            read_sizes(self._settings.base_models[base_model], base_model).check(drawing.size)

    def _check_settings(self, base_model: str, *, gated: bool) -> None:
        """Refuse what cannot be drawn here, whatever the adapters are."""
        if base_model not in self._settings.base_models:
            raise NoBaseModelError(base_model)
        if gated and not self.has_gates(base_model):
            raise NoGatesError(base_model)
        missing = [name for name in FUSION_LIBRARIES if find_spec(name) is None]
        if missing:
            raise MissingExtraError(missing)

    def _load(self, ingredient: Ingredient) -> "LoadedAdapter":
        from registry.fusion.loaded_adapter import LoadedAdapter

        card = ingredient.card
        if card.file_sha256 is None:
            raise AdapterNotReadyError(card.name, card.id)
        return LoadedAdapter(
            name=card.name,
            sha256=card.file_sha256,
            weights=self._read(card.name, card.file_sha256, card.base_model),
            strength=ingredient.strength,
            similarities=ingredient.similarities,
            embedding=ingredient.embedding,
            trigger_words=tuple(card.trigger_words),
            licence=card.licence,
            id=card.id,
        )

    def _read(self, name: str, sha256: str, base_model: str) -> "LoraWeights":
        """Read an adapter's file as the registry did: for a base model, and with its alpha.

        Raises:
            AdapterRefusedError: it is no adapter that can be used.
        """
        from encoder.adapter.lora_file import Context, open_adapter

        with self._lock:
            config = self._find_peft_config(sha256)
            key = (sha256, base_model, config)
            if (known := self._weights.get(key)) is None:
                context = Context((person_says(base_model, "the registry"),), config)
                try:
                    opened = open_adapter(self._find_file(sha256), context=context)
                    known = self._weights[key] = opened.read_quickly()
                except LoraFileError as error:
                    # The file is called by its hash here; people know the adapter's name.
                    raise AdapterRefusedError(name, error.cause) from error
            return known

    def _backend(self, base_model: str) -> "Backend":
        from registry.fusion.backends.pipeline import load_backend

        with self._lock:
            if base_model not in self._backends:
                folder = self._settings.base_models[base_model]
                self._backends[base_model] = load_backend(
                    folder,
                    base_model,
                    load_cached_text_encoder(self._settings.text_encoder),
                    device=self._settings.device,
                    offload=self._settings.offload,
                    cache_bytes=self._settings.adapter_cache_bytes,
                )
            return self._backends[base_model]

    def _load_gates(self, base_model: str) -> "Gates":
        from registry.fusion.gates.file import load_gates

        with self._lock:
            if base_model not in self._gates:
                path = self._settings.gates[base_model]
                self._gates[base_model] = load_gates(path, base_model)
            return self._gates[base_model]
