"""How a picture was drawn, beside its prompt and its adapters, as programs write it down."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from crawler.hub_json import as_dict, as_number
from crawler.hub_text import MAX_PROMPT, clean_line, clean_text, without_calls, without_escapes
from crawler.pictures.graphs import MOST_NODES, negative_of_graph
from crawler.pictures.parameters import (
    facts_of_civitai,
    negative_of_parameters,
    settings_of_parameters,
)
from crawler.pictures.texts import PictureTexts

SIZE = re.compile(r"(\d{1,5})\s*x\s*(\d{1,5})")
# Far above what anybody draws with.
MOST_SEED, MOST_STEPS, MOST_SIDE, MOST_GUIDANCE = 2**64 - 1, 1000, 16_384, 1000.0


@dataclass(frozen=True, slots=True)
class DrawnWith:
    """What a picture says of how it was drawn; None and "" where it does not."""

    negative_prompt: str = ""
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    mode: str = ""  # how adapters were fused; only ours tell

    @property
    def is_known(self) -> bool:
        return self != DrawnWith()


def drawn_with(texts: PictureTexts) -> DrawnWith:
    """Return what the first program says that says anything, in the order of adapters."""
    ways: Iterator[DrawnWith] = (
        read(texts) for read in (_in_recipe, _in_civitai_json, _in_parameters, _in_graph)
    )
    return next((found for found in ways if found.is_known), DrawnWith())


def _in_recipe(texts: PictureTexts) -> DrawnWith:
    recipe = texts.recipe if isinstance(texts.recipe, dict) else {}
    read = _settings(recipe, negative=recipe.get("negative_prompt"))
    return replace(read, mode=clean_line(recipe.get("mode"), 20))


def _in_civitai_json(texts: PictureTexts) -> DrawnWith:
    """Read the JSON that Civitai's generator writes into comments."""
    told = facts_of_civitai(texts.parameters)
    settings = told | {"guidance": told.get("cfgScale")}
    return _settings(settings, negative=told.get("negativePrompt"))


def _in_parameters(texts: PictureTexts) -> DrawnWith:
    """Read the settings of A1111, Forge and their like."""
    told = settings_of_parameters(texts.parameters)
    size = SIZE.fullmatch(told.get("Size", ""))
    settings = {
        "seed": told.get("Seed"),
        "steps": told.get("Steps"),
        # Forge has it for networks that take guidance as an input; CFG is then 1.
        "guidance": told.get("Distilled CFG Scale") or told.get("CFG scale"),
        "width": size and size[1],
        "height": size and size[2],
    }
    return _settings(settings, negative=negative_of_parameters(texts.parameters), escaped=True)


def _in_graph(texts: PictureTexts) -> DrawnWith:
    """Read the graph that ComfyUI ran: the first node that has an input of the name."""
    nodes = texts.graph if isinstance(texts.graph, dict) else {}
    if len(nodes) > MOST_NODES:
        return DrawnWith()
    inputs = [_inputs(node) for node in nodes.values()]

    def first(*names: str) -> Any:
        found = (_value(nodes, one[name]) for name in names for one in inputs if name in one)
        return next((value for value in found if value is not None), None)

    latent: Mapping[str, Any] = next(
        (one for one in inputs if {"width", "height", "batch_size"} <= one.keys()), {}
    )
    settings = {
        "seed": first("seed", "noise_seed"),
        "steps": first("steps"),
        "guidance": first("guidance", "cfg"),
        "width": _value(nodes, latent.get("width")),
        "height": _value(nodes, latent.get("height")),
    }
    return _settings(settings, negative=negative_of_graph(nodes), escaped=True)


def _inputs(node: Any) -> Mapping[str, Any]:
    return as_dict(as_dict(node).get("inputs"))


def _value(nodes: Mapping[str, Any], value: Any) -> Any:
    """Return a number, or the one that the node has which an input is linked to."""
    if isinstance(value, list) and len(value) == 2:
        linked = _inputs(nodes.get(str(value[0])))
        value = next((linked[name] for name in ("value", "seed", "int") if name in linked), None)
    return value if isinstance(value, int | float) else None


def _settings(told: Mapping[str, Any], *, negative: Any, escaped: bool = False) -> DrawnWith:
    """Return what of it makes sense."""
    words = clean_text(negative, MAX_PROMPT)
    return DrawnWith(
        negative_prompt=without_escapes(without_calls(words)) if escaped else words,
        seed=_whole(told.get("seed"), 0, MOST_SEED),
        steps=_whole(told.get("steps"), 1, MOST_STEPS),
        guidance=_guidance(told.get("guidance")),
        width=_whole(told.get("width"), 1, MOST_SIDE),
        height=_whole(told.get("height"), 1, MOST_SIDE),
    )


def _whole(value: Any, least: int, most: int) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if least <= value <= most else None


def _guidance(value: Any) -> float | None:
    number = as_number(value)
    return number if number is not None and 0 <= number <= MOST_GUIDANCE else None
