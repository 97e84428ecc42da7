"""Draw images with adapters fused into a base, and draw them again from their recipes."""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from pydantic import ValidationError

from crawler.peft_config import CONFIG_NAME
from encoder.adapter.alpha import IN_METADATA
from encoder.threads import thread_count, threads
from registry.errors import first_fault
from registry.fusion.activity import map_activity
from registry.fusion.attach import Attachment, attach
from registry.fusion.backends.base import Backend, Sampling, is_of_base
from registry.fusion.departure import measure_departure, record, warn_of_departure
from registry.fusion.device_cache import DeviceAdapter
from registry.fusion.errors import DeviceMemoryError, GatesMismatchError, RecipeError, SamplingError
from registry.fusion.fused_image import FusedImage
from registry.fusion.gates.interface import Gates
from registry.fusion.guidance import GuidedPasses
from registry.fusion.loaded_adapter import LoadedAdapter, check_adapters
from registry.fusion.options import Drawing, PreviewCallback, StepCallback
from registry.fusion.recipe import Recipe
from registry.fusion.recipe_writer import all_versions, write_recipe

log = logging.getLogger(__name__)


def generate(
    prompt: str,
    adapters: Sequence[LoadedAdapter],
    backend: Backend,
    gates: Gates | None,
    drawing: Drawing,
    progress: StepCallback | None = None,
) -> FusedImage:
    """Draw `prompt` with the adapters fused into the backend's base.

    The prompt gets each adapter's first trigger word that it lacks. One image at a time per
    backend: concurrent calls wait for one another. Whatever happens, the base is left without
    adapters.

    Raises:
        AdapterRefusedError: an adapter is of another family, not fusable, corrupt, or twice.
        GatesMismatchError, MissingGateError: the gates do not fit.
        LayerMismatchError: an adapter does not fit the base in spite of its family.
        SamplingError: the size or the number of steps is impossible.
        DeviceMemoryError: the device has no room.
    """
    check_adapters(adapters, backend)
    gates = gates if drawing.mode == "gated" else None
    try:
        recipe = write_recipe(prompt, adapters, backend, gates, drawing)
    except ValidationError as error:
        # Before anything slow: no recipe could hold it.
        raise SamplingError(first_fault(error)) from error
    return follow(recipe, adapters, backend, gates, progress, drawing.preview, check=drawing.check)


def reproduce(
    recipe: Recipe,
    adapters: Sequence[LoadedAdapter],
    backend: Backend,
    gates: Gates | None = None,
    progress: StepCallback | None = None,
    preview: PreviewCallback | None = None,
) -> FusedImage:
    """Draw the image of a recipe again: the same pixels on the same machine.

    `adapters` are found by their sha256; their strengths are taken from the recipe.

    Raises:
        RecipeError: the base, the gates or an adapter is not the one of the recipe, or an adapter
            is scaled otherwise.
    """
    by_hash = {adapter.sha256: adapter for adapter in adapters}
    if problems := "; ".join(list_problems(recipe, by_hash, backend, gates)):
        raise RecipeError(f"the recipe cannot be followed: {problems}")
    versions = all_versions(backend)
    if versions != recipe.versions:
        log.warning("made with %s, now %s: pixels may differ", recipe.versions, versions)
    used = [by_hash[wanted.sha256] for wanted in recipe.adapters]
    check_adapters(used, backend)
    check = recipe.departure is not None
    return follow(recipe, used, backend, gates, progress, preview, check=check)


def list_problems(
    recipe: Recipe, by_hash: Mapping[str, LoadedAdapter], backend: Backend, gates: Gates | None
) -> Iterator[str]:
    """Yield in words what is not here as the recipe has it."""
    for wanted in recipe.adapters:
        adapter = by_hash.get(wanted.sha256)
        if adapter is None:
            yield f"adapter {wanted.name!r} ({wanted.sha256[:12]}) is missing"
        # What stands in the file is the same wherever its hash is.
        elif (
            adapter.weights.config != IN_METADATA and adapter.config_scale() != wanted.config_scale
        ):
            yield (
                f"adapter {wanted.name!r} is scaled by {_scale_said(adapter.config_scale())} here, "
                f"by {_scale_said(wanted.config_scale)} there: its {CONFIG_NAME} is another"
            )
    files = {name: sha256 for name, sha256 in recipe.base.files.items() if is_of_base(name)}
    if (backend.base_model, backend.file_hashes()) != (recipe.base.name, files):
        yield f"the base {backend.base_model!r} has other files than it had"
    # A gated recipe without adapters may have no gates.
    gates_sha256 = gates.sha256 if gates is not None else None
    if recipe.mode == "gated" and gates_sha256 != recipe.gates_sha256:
        yield "the gates are others"
    asked = gates.leaning_count if gates is not None else 0
    for wanted in recipe.adapters:
        told = len(wanted.leanings)
        if told not in (0, asked):
            yield f"adapter {wanted.name!r} has {told} leanings, and the gates ask for {asked}"


def _scale_said(scale: float | None) -> str:
    return "what its file says" if scale is None else f"{scale:g}"


def follow(
    recipe: Recipe,
    adapters: Sequence[LoadedAdapter],
    backend: Backend,
    gates: Gates | None,
    progress: StepCallback | None,
    preview: PreviewCallback | None,
    *,
    check: bool,
) -> FusedImage:
    """Follow a recipe with adapters that are in its order."""
    if recipe.mode == "gated" and gates is not None and gates.base_model != backend.base_model:
        raise GatesMismatchError(gates.base_model, backend.base_model)
    # More threads than cores wait for each other; a recipe of a larger machine may ask for them.
    count = min(recipe.threads, max(os.cpu_count() or 1, thread_count()))
    if count < recipe.threads:
        log.warning("made with %d threads, now %d: pixels may differ", recipe.threads, count)
    with backend.lock, threads(count), enough_memory(recipe, backend):
        ready = ReadyAdapters.load(recipe, adapters, backend, gates)
        passes = ready.passes()
        with (
            ready.attach(range(len(adapters)), passes, watch=True) as attachment,
            record(backend.transformer, passes) as recording,
        ):
            (image,) = backend.generate(
                [recipe.full_prompt], sampling_of(recipe), progress, preview
            )
        if check and recipe.mode != "base" and len(adapters) > 1:
            departure = measure_departure(
                backend.transformer, recording, ready.attach, len(adapters)
            )
            backend.free()
            recipe = tell_departure(recipe, departure)
    activity = {used.sha256: attachment.activity(k) for k, used in enumerate(recipe.adapters)}
    maps = {
        used.sha256: map_activity(openness, recipe.steps)
        for k, used in enumerate(recipe.adapters)
        if (openness := attachment.passes(k))
    }
    return FusedImage(image, recipe, activity, maps)


@dataclass(frozen=True)
class ReadyAdapters:
    """A recipe's adapters on the device, any of which can be attached to the base."""

    recipe: Recipe
    backend: Backend
    gates: Gates | None
    loaded: Sequence[DeviceAdapter]

    @classmethod
    def load(
        cls,
        recipe: Recipe,
        adapters: Sequence[LoadedAdapter],
        backend: Backend,
        gates: Gates | None,
    ) -> "ReadyAdapters":
        loaded = [backend.cache.get(adapter.sha256, adapter.weights) for adapter in adapters]
        return cls(recipe, backend, gates, loaded)

    def passes(self) -> GuidedPasses:
        """Return what follows the base's passes, for adapters to rest where the recipe says so."""
        rests = self.recipe.guide_from == "base"
        return GuidedPasses(self.backend.unprompted_passes(self.recipe.guidance) if rests else None)

    def attach(
        self, places: Sequence[int], passes: GuidedPasses | None = None, watch: bool = False
    ) -> AbstractContextManager[Attachment]:
        """Attach the adapters at `places` as the recipe has them, in an average at their shares
        among all."""
        mode, share = self.recipe.mode, self.recipe.share
        used = [self.recipe.adapters[k] for k in places]
        # How many leanings the gates know of some adapter of the recipe; of others they know none.
        count = max((len(adapter.leanings) for adapter in self.recipe.adapters), default=0)
        leanings = [adapter.leanings or (math.nan,) * count for adapter in used]
        relevance = [
            math.nan if adapter.relevance is None else adapter.relevance for adapter in used
        ]
        return attach(
            self.backend.transformer,
            [(self.loaded[k], self.recipe.adapters[k].strength * share) for k in places],
            self.gates,
            "sum" if mode == "average" else mode,
            relevance=torch.tensor(relevance),
            leanings=torch.tensor(leanings) if count else None,
            passes=passes or self.passes(),
            watch=watch,
        )


def sampling_of(recipe: Recipe) -> Sampling:
    return Sampling(
        seed=recipe.seed,
        steps=recipe.steps,
        guidance=recipe.guidance,
        width=recipe.width,
        height=recipe.height,
        negative=recipe.negative_prompt,
    )


def tell_departure(recipe: Recipe, departure: float) -> Recipe:
    """Return the recipe with its departure, and with a warning where that is far."""
    warnings, warning = recipe.warnings, warn_of_departure(departure)
    if warning is not None and warning not in warnings:
        warnings = (*warnings, warning)
    return recipe.model_copy(update={"departure": departure, "warnings": warnings})


@contextmanager
def enough_memory(recipe: Recipe, backend: Backend) -> Iterator[None]:
    """Say what can be done when the device has no room, and leave it as much as there is."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        backend.cache.clear()
        raise DeviceMemoryError(recipe.width, recipe.height, len(recipe.adapters)) from error
