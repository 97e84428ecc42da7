"""Draw images with adapters fused into a base, and draw them again from their recipes."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL.Image import Image

from registry.fusion.activity import ActivityMap, map_activity
from registry.fusion.attach import Attachment, Mode, attach
from registry.fusion.backends.base import Backend, Progress, Sampling
from registry.fusion.departure import measure_departure, record, warn_of_departure
from registry.fusion.errors import (
    AdapterRefusedError,
    CorruptAdapterError,
    DeviceMemoryError,
    FamilyMismatchError,
    GatesMismatchError,
    NotFusableError,
    RecipeError,
)
from registry.fusion.gates.kinds import AnyGates
from registry.fusion.gates.rivals import RivalGates, leads
from registry.fusion.guidance import GuideFrom, Passes
from registry.fusion.licences import BASE_LICENCES, conflicts, strictest
from registry.fusion.recipe import Recipe, RecipeAdapter, RecipeBase, save_png
from registry.text.trigger_words import missing_triggers

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter ready to be fused, with the facts a recipe keeps."""

    name: str
    sha256: str
    weights: "LoraWeights"
    strength: float = 1.0
    # Of the prompt's parts to the adapter's weights, -1..1, the same parts for all adapters.
    similarities: Sequence[float] | None = None
    embedding: Sequence[float] | None = None  # of the weights, in the prompts' space
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
    # The same over layers and steps, for those that have gates.
    maps: dict[str, ActivityMap] = field(default_factory=dict)

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
    steps: int | None = None,
    guidance: float | None = None,
    width: int | None = None,
    height: int | None = None,
    negative: str = "",
    mode: Mode = "gated",
    guide_from: GuideFrom | None = None,
    add_triggers: bool = True,
    check: bool = True,
    progress: Progress | None = None,
) -> FusedImage:
    """Draw `prompt` with the adapters fused into the backend's base.

    Steps, guidance, size, and for gated adapters what guidance leads away from, are the base's own
    when not given; ungated, it leads away from the base with the adapters, as diffusers has it.
    With `add_triggers` the prompt gets each adapter's first trigger word that it lacks. `check`
    measures how far several adapters depart from the base together, for as many passes more as
    there are adapters, and one. One image at a time per backend: concurrent calls wait for one
    another. Whatever happens, the base is left without adapters.

    Raises:
        AdapterRefusedError: an adapter is of another family, not fusable, corrupt, or twice.
        GatesMismatchError, MissingGateError: the gates do not fit.
        LayerMismatchError: an adapter does not fit the base in spite of its family.
        SamplingError: the size or the number of steps is impossible.
        DeviceMemoryError: the device has no room.
    """
    check_adapters(adapters, backend)
    base_licence = BASE_LICENCES.get(backend.base_model)
    licences = {adapter.name: adapter.licence for adapter in adapters}
    licences[f"the base {backend.base_model}"] = base_licence
    added = missing_triggers(prompt, adapters) if add_triggers else [()] * len(adapters)
    recipe = Recipe(
        prompt=prompt,
        full_prompt=", ".join([prompt, *(word for words in added for word in words)]),
        negative_prompt=negative,
        seed=seed,
        steps=backend.defaults.steps if steps is None else steps,
        guidance=backend.defaults.guidance if guidance is None else guidance,
        width=width or backend.size[0],
        height=height or backend.size[1],
        mode=mode,
        guide_from=guide_from or (backend.defaults.guide_from if mode == "gated" else "fused"),
        adapters=tuple(
            RecipeAdapter(
                id=adapter.id,
                name=adapter.name,
                sha256=adapter.sha256,
                strength=adapter.strength,
                relevance=relevance,
                leanings=leanings,
                licence=adapter.licence,
                trigger_words=words,
            )
            for adapter, words, relevance, leanings in zip(
                adapters,
                added,
                relevance_of(adapters),
                leanings_of(adapters, gates, mode),
                strict=True,
            )
        ),
        gates_sha256=gates.sha256 if gates is not None and mode == "gated" else None,
        gates_kind=gates.kind if gates is not None and mode == "gated" else None,
        base=RecipeBase(
            name=backend.base_model,
            backend=backend.name,
            files=backend.file_hashes(),
            licence=base_licence,
        ),
        licence=strictest(list(licences.values())),
        warnings=(*conflicts(licences), *left_out(adapters)) if adapters else (),
        versions=all_versions(backend),
        threads=torch.get_num_threads(),
    )
    return draw(recipe, adapters, backend, gates, progress, check)


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
    return draw(recipe, used, backend, gates, progress, recipe.departure is not None)


def draw(
    recipe: Recipe,
    adapters: Sequence[LoadedAdapter],
    backend: Backend,
    gates: AnyGates | None,
    progress: Progress | None,
    check: bool,
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
    if recipe.mode == "gated" and gates is not None and gates.base_model != backend.base_model:
        raise GatesMismatchError(gates.base_model, backend.base_model)
    relevance = [math.nan if part.relevance is None else part.relevance for part in recipe.adapters]
    known = max((len(part.leanings) for part in recipe.adapters), default=0)
    leanings = [part.leanings or (math.nan,) * known for part in recipe.adapters]

    guided = backend.guided(recipe.guidance) if recipe.guide_from == "base" else None

    def attach_some(
        places: Sequence[int], passes: Passes | None = None, watch: bool = False
    ) -> AbstractContextManager[Attachment]:
        return attach(
            backend.transformer,
            [(loaded[k], recipe.adapters[k].strength) for k in places],
            gates,
            recipe.mode,
            relevance=torch.tensor([relevance[k] for k in places]),
            leanings=torch.tensor([leanings[k] for k in places]) if known else None,
            passes=passes or Passes(guided),
            watch=watch,
        )

    measured = check and recipe.mode != "base" and len(adapters) > 1
    with backend.lock, threads(recipe.threads), enough_memory(recipe, backend):
        loaded = [
            backend.cache.get(adapter.sha256, linear_layers(adapter.weights))
            for adapter in adapters
        ]
        passes = Passes(guided)
        with (
            attach_some(range(len(adapters)), passes, watch=True) as attachment,
            record(backend.transformer, passes) as recording,
        ):
            (image,) = backend.generate([recipe.full_prompt], sampling, progress)
        if measured:
            departure = measure_departure(
                backend.transformer, recording, attach_some, len(adapters)
            )
            backend.free()
            recipe = tell_departure(recipe, departure)
    used = {part.sha256: k for k, part in enumerate(recipe.adapters)}
    return FusedImage(
        image,
        recipe,
        activity={sha256: attachment.activity(k) for sha256, k in used.items()},
        maps={
            sha256: map_activity(opened, recipe.steps)
            for sha256, k in used.items()
            if (opened := attachment.passes(k))
        },
    )


def tell_departure(recipe: Recipe, departure: float) -> Recipe:
    """Return the recipe with its departure, and with a warning where that is far."""
    said = warn_of_departure(departure)
    warnings = [*recipe.warnings, said] if said and said not in recipe.warnings else recipe.warnings
    return recipe.model_copy(update={"departure": departure, "warnings": tuple(warnings)})


@contextmanager
def enough_memory(recipe: Recipe, backend: Backend) -> Iterator[None]:
    """Say what can be done when the device has no room, and leave it as much as there is."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        backend.cache.clear()
        raise DeviceMemoryError(recipe.width, recipe.height, len(recipe.adapters)) from error


def relevance_of(adapters: Sequence[LoadedAdapter]) -> list[float | None]:
    """Return how far the prompt favours each adapter over the others; None where unknown."""
    parts = max((len(adapter.similarities or ()) for adapter in adapters), default=0)
    if not parts:
        return [None] * len(adapters)
    unknown = [math.nan] * parts
    table = torch.tensor([adapter.similarities or unknown for adapter in adapters])
    return [None if math.isnan(lead) else lead for lead in leads(table.T).tolist()]


def leanings_of(
    adapters: Sequence[LoadedAdapter], gates: AnyGates | None, mode: Mode
) -> list[tuple[float, ...]]:
    """Return by adapter what the gates' questions say of its embedding; nothing if unknown.

    Raises:
        GatesMismatchError: the embeddings are of another space than the gates' questions.
    """
    if mode != "gated" or not isinstance(gates, RivalGates):
        return [()] * len(adapters)
    found: list[tuple[float, ...]] = []
    for adapter in adapters:
        if adapter.embedding is None or not len(gates.questions):
            found.append(())
            continue
        embedding = torch.tensor(adapter.embedding)
        if len(embedding) != gates.questions.shape[1]:
            raise GatesMismatchError(
                f"embeddings of {gates.questions.shape[1]} numbers",
                f"an encoder that gives {len(embedding)}",
            )
        found.append(tuple(gates.leanings(embedding).tolist()))
    return found


def linear_layers(weights: "LoraWeights") -> "LoraWeights":
    """Leave out an adapter's convolutions of several pixels: gates are for linear layers."""
    linear = {
        name: layer for name, layer in weights.layers.items() if layer.shape[2:] in ((), (1, 1))
    }
    return weights if len(linear) == len(weights.layers) else replace(weights, layers=linear)


def left_out(adapters: Sequence[LoadedAdapter]) -> list[str]:
    """Say in words what of the adapters is not fused."""
    return [
        f"{adapter.name} also changes {count} convolutions, which are left out"
        for adapter in adapters
        if (count := len(adapter.weights.layers) - len(linear_layers(adapter.weights).layers))
    ]


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
        if adapter.sha256 in backend.cache or weights.file is not None:
            continue  # looked at before; of a file, by the reader
        for name, layer in weights.layers.items():
            if not all(torch.isfinite(part).all() for part in layer.tensors()):
                raise CorruptAdapterError(adapter.name, name)


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
