"""Where images are made: base models, gates and weights, loaded once and kept.

Importing this imports no torch; making the first image does.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from encoder.errors import LoraFileError
from encoder.text_encoder import TextEncoder
from registry.config import Settings
from registry.errors import (
    AdapterNotReadyError,
    MissingExtraError,
    NoBaseModelError,
    NoGatesError,
)
from registry.fusion.errors import AdapterRefusedError, FamilyMismatchError
from registry.fusion.maker import Ingredient, Size

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights
    from registry.fusion.attach import Mode
    from registry.fusion.backends.base import Backend, Progress
    from registry.fusion.gates.kinds import AnyGates
    from registry.fusion.generate import FusedImage, LoadedAdapter
    from registry.fusion.recipe import Recipe

# The extra `fusion` of pyproject.toml, as imported.
FUSION_LIBRARIES = ("diffusers", "peft", "transformers")
# Loaded adapters that are kept; one for a 12B base takes up to 1.2 GB in float32.
KEPT_ADAPTERS = 8


class Studio:
    """Draws images. Safe to share between threads; a base draws one image at a time."""

    def __init__(
        self, settings: Settings, find_file: Callable[[str], Path], text_encoder: TextEncoder
    ) -> None:
        """Make images with the base models and gates of `settings`.

        `find_file` returns the file of a hash, or raises BlobNotFoundError.
        """
        self._settings = settings
        self._find_file = find_file
        self._text_encoder = text_encoder
        self._lock = threading.Lock()
        self._backends: dict[str, Backend] = {}
        self._gates: dict[str, AnyGates] = {}
        self._weights: OrderedDict[str, LoraWeights] = OrderedDict()

    def draw(
        self,
        prompt: str,
        adapters: Sequence[Ingredient],
        base_model: str,
        *,
        seed: int,
        steps: int | None = None,
        size: Size | None = None,
        mode: "Mode" = "gated",
        check: bool = True,
        progress: "Progress | None" = None,
    ) -> "FusedImage":
        """Draw `prompt` with adapters as they shall be used.

        Raises:
            NoBaseModelError, NoGatesError: the settings name none for `base_model`.
            FusionError: an adapter is of another base model, or does not fit.
        """
        # Before anything slow: what is not configured will not appear.
        if base_model not in self._settings.base_models:
            raise NoBaseModelError(base_model)
        for card in (one.card for one in adapters):
            if card.base_model != base_model:
                raise FamilyMismatchError(card.name, card.base_model, base_model)
        if mode == "gated" and adapters and base_model not in self._settings.gates:
            raise NoGatesError(base_model)
        _check_libraries()
        from registry.fusion.generate import generate

        loaded = [self._load(one) for one in adapters]
        backend = self._backend(base_model)
        gates = self._gates_of(base_model) if mode == "gated" and adapters else None
        return generate(
            prompt,
            loaded,
            backend,
            gates,
            seed=seed,
            steps=steps,
            width=size[0] if size else None,
            height=size[1] if size else None,
            mode=mode,
            guide_from=self._settings.guide_from.get(base_model) if mode == "gated" else None,
            check=check,
            progress=progress,
        )

    def reproduce(self, recipe: "Recipe", progress: "Progress | None") -> "FusedImage":
        """Draw a recipe's image again. Its adapters are found by their hashes."""
        base_model = recipe.base.name
        if base_model not in self._settings.base_models:
            raise NoBaseModelError(base_model)
        _check_libraries()
        from registry.fusion.generate import LoadedAdapter, reproduce

        loaded = [
            LoadedAdapter(
                name=used.name,
                sha256=used.sha256,
                weights=self._read(used.sha256),
                strength=used.strength,
                trigger_words=used.trigger_words,
                licence=used.licence,
                id=used.id,
            )
            for used in recipe.adapters
        ]
        gates = None
        if recipe.gates_sha256 is not None:
            if base_model not in self._settings.gates:
                raise NoGatesError(base_model)
            gates = self._gates_of(base_model)
        return reproduce(recipe, loaded, self._backend(base_model), gates, progress)

    def _load(self, chosen: Ingredient) -> "LoadedAdapter":
        from registry.fusion.generate import LoadedAdapter

        card = chosen.card
        if card.file_sha256 is None:
            raise AdapterNotReadyError(card.name, card.id)
        try:
            weights = self._read(card.file_sha256)
        except LoraFileError as error:
            # The file is called by its hash here; people know the adapter's name.
            raise AdapterRefusedError(card.name, error.cause) from error
        return LoadedAdapter(
            name=card.name,
            sha256=card.file_sha256,
            weights=weights,
            strength=chosen.strength,
            similarities=chosen.similarities,
            embedding=chosen.embedding,
            trigger_words=tuple(card.trigger_words),
            licence=card.licence,
            id=card.id,
        )

    def _read(self, sha256: str) -> "LoraWeights":
        from encoder.adapter.lora_file import open_adapter

        with self._lock:
            if sha256 not in self._weights:
                self._weights[sha256] = open_adapter(self._find_file(sha256)).read_quickly()
            self._weights.move_to_end(sha256)
            while len(self._weights) > KEPT_ADAPTERS:
                self._weights.popitem(last=False)
            return self._weights[sha256]

    def _backend(self, base_model: str) -> "Backend":
        from registry.fusion.backends.pipeline import load_backend

        with self._lock:
            if base_model not in self._backends:
                folder = self._settings.base_models[base_model]
                self._backends[base_model] = load_backend(
                    folder,
                    base_model,
                    self._text_encoder,
                    device=self._settings.device,
                    offload=self._settings.offload,
                    cache_bytes=self._settings.adapter_cache_bytes,
                )
            return self._backends[base_model]

    def _gates_of(self, base_model: str) -> "AnyGates":
        from registry.fusion.gates.kinds import load_gates

        with self._lock:
            if base_model not in self._gates:
                path = self._settings.gates[base_model]
                self._gates[base_model] = load_gates(path, base_model)
            return self._gates[base_model]


def png_bytes(fused: "FusedImage") -> bytes:
    """Return the image as a PNG with its recipe inside."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fused.png"
        fused.save(path)
        return path.read_bytes()


def _check_libraries() -> None:
    missing = [name for name in FUSION_LIBRARIES if find_spec(name) is None]
    if missing:
        raise MissingExtraError(missing)
