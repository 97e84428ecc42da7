"""Draw images with adapters fused into a base, and draw them again from their recipes."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL.Image import Image

from registry.fusion.backends.base import Backend, Progress, Sampling
from registry.fusion.errors import (
    AdapterRefusedError,
    CorruptAdapterError,
    FamilyMismatchError,
    GatesMismatchError,
    NotFusableError,
    RecipeError,
)
from registry.fusion.inject import AnyGates, Mode, attach
from registry.fusion.recipe import Recipe, RecipeAdapter, RecipeBase, save_png

if TYPE_CHECKING:
    from encoder.lora_file import LoraWeights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter ready to be fused, with the facts a recipe keeps."""

    name: str
    sha256: str
    weights: "LoraWeights"
    strength: float = 1.0
    trigger_words: tuple[str, ...] = ()
    licence: str | None = None
    id: int | None = None


@dataclass(frozen=True)
class FusedImage:
    """An image, how it was made, and how far each adapter's gates stood open."""

    image: Image
    recipe: Recipe
    # By sha256 of the adapter: layer -> mean gate, 0..1. Empty where the mode has no gates
    # or the strength is 0.
    activity: dict[str, dict[str, float]]

    def save(self, path: Path) -> None:
        """Write a PNG with the recipe inside."""
        save_png(self.image, self.recipe, path)


def generate(
    prompt: str,
    adapters: Sequence[LoadedAdapter],
    backend: Backend,
    gates: AnyGates | None = None,
    *,
    seed: int = 0,
    steps: int = 20,
    guidance: float = 3.0,
    width: int | None = None,
    height: int | None = None,
    negative: str = "",
    mode: Mode = "gated",
    add_triggers: bool = True,
    progress: Progress | None = None,
) -> FusedImage:
    """Draw `prompt` with the adapters fused into the backend's base.

    With `add_triggers` the prompt gets each adapter's first trigger word that it lacks.
    One image at a time per backend: concurrent calls wait for one another. Whatever
    happens, the base is left without adapters.

    Raises:
        AdapterRefusedError: an adapter is of another family, not fusable, corrupt, or twice.
        GatesMismatchError, MissingGateError: the gates do not fit.
        LayerMismatchError: an adapter does not fit the base in spite of its family.
        SamplingError: the size or the number of steps is impossible.
    """
    check_adapters(adapters, backend)
    added = missing_triggers(prompt, adapters) if add_triggers else [()] * len(adapters)
    recipe = Recipe(
        prompt=prompt,
        full_prompt=", ".join([prompt, *(word for words in added for word in words)]),
        negative_prompt=negative,
        seed=seed,
        steps=steps,
        guidance=guidance,
        width=width or backend.size[0],
        height=height or backend.size[1],
        mode=mode,
        adapters=tuple(
            RecipeAdapter(
                id=adapter.id,
                name=adapter.name,
                sha256=adapter.sha256,
                strength=adapter.strength,
                licence=adapter.licence,
                trigger_words=words,
            )
            for adapter, words in zip(adapters, added, strict=True)
        ),
        gates_sha256=gates.sha256 if gates is not None and mode == "gated" else None,
        base=RecipeBase(name=backend.base_model, backend=backend.name, files=backend.file_hashes()),
        versions=all_versions(backend),
        threads=torch.get_num_threads(),
    )
    return draw(recipe, adapters, backend, gates, progress)


def reproduce(
    recipe: Recipe,
    adapters: Sequence[LoadedAdapter],
    backend: Backend,
    gates: AnyGates | None = None,
    progress: Progress | None = None,
) -> FusedImage:
    """Draw the image of a recipe again: the same pixels on the same machine.

    `adapters` are found by their sha256; their strengths are taken from the recipe.

    Raises:
        RecipeError: the base, the gates or an adapter is not the one of the recipe.
    """
    by_hash = {adapter.sha256: adapter for adapter in adapters}
    problems = [
        f"adapter {wanted.name!r} ({wanted.sha256[:12]}) is missing"
        for wanted in recipe.adapters
        if wanted.sha256 not in by_hash
    ]
    if (backend.base_model, backend.file_hashes()) != (recipe.base.name, recipe.base.files):
        problems.append(f"the base {backend.base_model!r} has other files than it had")
    # A gated recipe without adapters may have no gates.
    gates_sha256 = gates.sha256 if gates is not None else None
    if recipe.mode == "gated" and gates_sha256 != recipe.gates_sha256:
        problems.append("the gates are others")
    if problems:
        raise RecipeError(f"the recipe cannot be followed: {'; '.join(problems)}")
    versions = all_versions(backend)
    if versions != recipe.versions:
        log.warning("made with %s, now %s: pixels may differ", recipe.versions, versions)
    used = [by_hash[wanted.sha256] for wanted in recipe.adapters]
    check_adapters(used, backend)
    return draw(recipe, used, backend, gates, progress)


def draw(
    recipe: Recipe,
    adapters: Sequence[LoadedAdapter],
    backend: Backend,
    gates: AnyGates | None,
    progress: Progress | None,
) -> FusedImage:
    """Follow a recipe with adapters that are in its order."""
    sampling = Sampling(
        seed=recipe.seed,
        steps=recipe.steps,
        guidance=recipe.guidance,
        width=recipe.width,
        height=recipe.height,
        negative=recipe.negative_prompt,
    )
    strong = [
        (adapter.weights, part.strength)
        for adapter, part in zip(adapters, recipe.adapters, strict=True)
    ]
    if recipe.mode == "gated" and gates is not None and gates.base_model != backend.base_model:
        raise GatesMismatchError(gates.base_model, backend.base_model)
    with (
        backend.lock,
        threads(recipe.threads),
        attach(backend.transformer, strong, gates, recipe.mode, watch=True) as attachment,
    ):
        (image,) = backend.generate([recipe.full_prompt], sampling, progress)
    activity = {part.sha256: attachment.activity(i) for i, part in enumerate(recipe.adapters)}
    return FusedImage(image, recipe, activity)


def check_adapters(adapters: Sequence[LoadedAdapter], backend: Backend) -> None:
    """Refuse what must not be fused, before anything is drawn."""
    seen: set[str] = set()
    for adapter in adapters:
        weights = adapter.weights
        if weights.base_model != backend.base_model:
            raise FamilyMismatchError(adapter.name, weights.base_model, backend.base_model)
        if not weights.verdict.fusable:
            raise NotFusableError(adapter.name, "; ".join(weights.verdict.reasons))
        if not math.isfinite(adapter.strength):
            raise AdapterRefusedError(adapter.name, f"its strength is {adapter.strength}")
        if adapter.sha256 in seen:
            raise AdapterRefusedError(adapter.name, "it is given twice; raise its strength")
        seen.add(adapter.sha256)
        for name, layer in weights.layers.items():
            if not all(torch.isfinite(part).all() for part in layer.tensors()):
                raise CorruptAdapterError(adapter.name, name)


def missing_triggers(prompt: str, adapters: Sequence[LoadedAdapter]) -> list[tuple[str, ...]]:
    """Return by adapter the trigger words to add to a prompt: the first, unless it is there.

    Only the first, since hubs list alternatives and the usual one comes first.
    """
    known, added = prompt.lower(), []
    for adapter in adapters:
        words = tuple(w for w in adapter.trigger_words[:1] if w and w.lower() not in known)
        known = ", ".join([known, *words]).lower()
        added.append(words)
    return added


def all_versions(backend: Backend) -> dict[str, str]:
    try:
        own = version("autolora-registry")
    except PackageNotFoundError:
        own = "source"  # run from a checkout that was never installed
    return {"autolora-registry": own, **backend.versions()}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads: sums are split by thread, and the split shows in bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
