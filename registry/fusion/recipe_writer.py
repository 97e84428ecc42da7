"""What a recipe says of an image that is about to be drawn."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from encoder.adapter.alpha import IN_METADATA
from encoder.base_models.facts import variant_of
from encoder.threads import thread_count
from registry.fusion.backends.base import Backend
from registry.fusion.gates.interface import Gates
from registry.fusion.licences import conflicts, strictest
from registry.fusion.loaded_adapter import (
    LoadedAdapter,
    distinct_names,
    leanings_by_adapter,
    not_exported,
    relevance_by_adapter,
)
from registry.fusion.options import Drawing
from registry.fusion.recipe import Recipe, RecipeAdapter, RecipeBase
from registry.text.trigger_words import missing_triggers


def write_recipe(
    prompt: str,
    adapters: Sequence[LoadedAdapter],
    backend: Backend,
    gates: Gates | None,
    drawing: Drawing,
) -> Recipe:
    """Return all that fixes an image's pixels, with what the base draws best with filled in."""
    defaults, gated = backend.defaults, drawing.mode == "gated"
    base_licence = variant_of(backend.base_model).licence
    licences = {
        name: adapter.licence
        for name, adapter in zip(distinct_names(adapters), adapters, strict=True)
    } | {f"the base {backend.base_model}": base_licence}
    triggers = missing_triggers(prompt, adapters)
    width, height = drawing.size or backend.size
    return Recipe(
        prompt=prompt,
        full_prompt=", ".join([prompt, *(word for words in triggers for word in words)]),
        negative_prompt=drawing.negative,
        seed=drawing.seed,
        steps=defaults.steps if drawing.steps is None else drawing.steps,
        guidance=defaults.guidance if drawing.guidance is None else drawing.guidance,
        width=width,
        height=height,
        mode=drawing.mode,
        guide_from=drawing.guide_from or (defaults.guide_from if gated else "fused"),
        adapters=recipe_adapters(adapters, triggers, gates),
        gates_sha256=None if gates is None else gates.sha256,
        gates_kind=None if gates is None else gates.kind,
        base=RecipeBase(
            name=backend.base_model,
            backend=backend.name,
            files=backend.file_hashes(),
            licence=base_licence,
        ),
        licence=strictest(list(licences.values())),
        warnings=(*conflicts(licences), *not_exported(adapters)) if adapters else (),
        versions=all_versions(backend),
        threads=thread_count(),
    )


def recipe_adapters(
    adapters: Sequence[LoadedAdapter], triggers: Sequence[tuple[str, ...]], gates: Gates | None
) -> tuple[RecipeAdapter, ...]:
    """Return what a recipe keeps of adapters, with the trigger words added for each."""
    return tuple(
        RecipeAdapter(
            id=adapter.id,
            name=adapter.name,
            sha256=adapter.sha256,
            strength=adapter.strength,
            relevance=relevance,
            leanings=leanings,
            licence=adapter.licence,
            trigger_words=words,
            autov3=adapter.autov3(),
            config_scale=adapter.config_scale(),
            config_in_file=adapter.weights.config == IN_METADATA,
            text_encoders=adapter.text_encoders(),
        )
        for adapter, words, relevance, leanings in zip(
            adapters,
            triggers,
            relevance_by_adapter(adapters),
            leanings_by_adapter(adapters, gates),
            strict=True,
        )
    )


def all_versions(backend: Backend) -> dict[str, str]:
    try:
        ours = version("autolora-registry")
    except PackageNotFoundError:
        ours = "source"  # run from a checkout that was never installed
    return {"autolora-registry": ours, **backend.versions()}
