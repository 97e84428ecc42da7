"""The adapters that a picture's texts name, as programs write them down.

Which programs, and where each of them writes, is listed in docs/pictures.md.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from crawler.hub_json import as_dict, as_list, as_number
from crawler.hub_text import MAX_NAME, clean_line
from crawler.pictures.graphs import MOST_NODES, nodes_used
from crawler.pictures.parameters import prompt_of_parameters
from crawler.pictures.texts import PictureTexts, bounded_json

# More than any program loads at once.
MOST_ADAPTERS = 100
MOST_STRENGTH = 100.0
# A file is known by its sha256, AutoV2 and AutoV3, and as older web UIs hashed it.
MOST_HASHES = 4
# What `Lora hashes` lists; some web UIs list each adapter several times.
MOST_LISTED = 2_000
# A label stands once; in a prompt, perhaps once more.
MOST_LABELS = 4
SUFFIX = re.compile(r"\.(?:safetensors|ckpt|pt|pth|bin)$", re.IGNORECASE)
# A sha256, or as much of one as programs write: 8 digits are fewest, AutoV2 has 10, AutoV3 12.
HASH = re.compile(r"[0-9a-f]{8,64}")
# How web UIs are told to load an adapter: `<lora:name:0.8>`, `<lora:name:te=0:unet=0.8>`.
CALL = re.compile(r"<(?:lora|lyco):([^<>:]{1,300})(?::([^<>]{0,100}))?>", re.IGNORECASE)
# Fooocus writes weights beside them, and in older versions behind each hash.
LORA_LISTS = re.compile(r'\bLora (?:hashes|weights):\s*("(?:[^"\\\n]|\\.)*"|[^,\n]*)')
HASHES = re.compile(r"\bHashes:\s*(?=\{)")
RESOURCES = re.compile(r"\bCivitai resources:\s*(?=\[)")
# `urn:air:sdxl:lora:civitai:{model}@{version}`.
AIR = re.compile(r"urn:air:[^:]*:(lora|lycoris|locon|dora):civitai:\d{1,18}@(\d{1,18})")
KINDS = {"lora", "lycoris", "locon", "dora"}

# ComfyUI's inputs that hold a file's name, and those beside them that hold its strength; stacks
# number both. https://github.com/rgthree/rgthree-comfy and
# https://github.com/Suzie1/ComfyUI_Comfyroll_CustomNodes have stacks, and so has
# https://github.com/yolain/ComfyUI-Easy-Use, with the number in the middle.
FILE_INPUT = re.compile(r"lora(?:_name)?(?:_?(\d{1,3}))?")
MIDDLE_NUMBER = re.compile(r"lora_(\d{1,3})_(\w+)")
STRENGTH_INPUTS = (
    "strength_model", "model_strength", "strength", "lora_strength", "lora_weight", "model_weight",
    "lora_wt", "model_str", "weight", "lora_model_strength",
)  # fmt: skip
ADVANCED_STRENGTHS = ("model_str", "lora_model_strength")
# What switches of stacks say.
OFF = ("off", "false")
# What an editor's node does: 2 and 4 are muted and bypassed.
SILENT_MODES = (2, 4)


@dataclass(frozen=True, slots=True)
class NamedAdapter:
    """An adapter as a picture names it: by a file's name, hashes of it, or Civitai's number.

    `strength` is None where it is not told.
    """

    name: str
    hashes: tuple[str, ...] = ()
    version: str = ""
    strength: float | None = None

    @property
    def stem(self) -> str:
        """The name of the file without its folders and its suffix."""
        return SUFFIX.sub("", self._path.rpartition("/")[2])

    @property
    def file(self) -> str:
        """Where its file is said to be, by a graph; "" where it is named without a suffix."""
        return self._path.casefold() if SUFFIX.search(self.name) else ""

    @property
    def sha256(self) -> str:
        """The first whole hash of its file; "" where there are but starts of hashes."""
        return next((one for one in self.hashes if len(one) == 64), "")

    @property
    def _path(self) -> str:
        return self.name.replace("\\", "/")


def adapters_named(texts: PictureTexts) -> tuple[NamedAdapter, ...]:
    """Return the adapters that a picture was made with, as far as it says, each once.

    Our own recipe knows best. A web UI's settings have hashes; ComfyUI's graphs have only names.
    The editor's shows what was not run, too, so it is asked only where the one that was is missing.
    """
    ways: Sequence[Iterator[NamedAdapter]] = (
        _in_recipe(texts.recipe),
        _in_parameters(texts.parameters),
        _in_graph(texts.graph),
        iter(()) if as_dict(texts.graph) else _in_workflow(texts.workflow),
    )
    found = (_merged(way) for way in ways)
    return next((named for named in found if named), ())


def adapters_called(prompt: str) -> tuple[NamedAdapter, ...]:
    """Return the adapters that a prompt calls for as web UIs are told to, each once."""
    return _merged(_calls(prompt))


def _merged(named: Iterable[NamedAdapter]) -> tuple[NamedAdapter, ...]:
    """Put together what is said of one adapter in several places."""
    known: dict[tuple[str, ...], NamedAdapter] = {}
    for one in named:
        key: tuple[str, ...] = (_key(one),)
        before = known.get(key)
        if before is not None and _differ(before, one):
            key = (*key, one.version, one.file, one.sha256)
            before = known.get(key)
        if before is None and len(known) == MOST_ADAPTERS:
            break
        known[key] = one if before is None else replace(
            before,
            hashes=tuple(dict.fromkeys((*before.hashes, *one.hashes)))[:MOST_HASHES],
            version=before.version or one.version,
            strength=one.strength if before.strength is None else before.strength,
        )  # fmt: skip
    return tuple(known.values())


def _key(one: NamedAdapter) -> str:
    """Return what mentions of one adapter have in common."""
    # A1111 leaves these signs out of the names in `Lora hashes`.
    stem = one.stem.casefold().replace(",", "").replace(":", "")
    return stem or one.version or "".join(one.hashes)


def _differ(one: NamedAdapter, other: NamedAdapter) -> bool:
    """Whether two of one name are told to be different adapters."""
    pairs = (one.version, other.version), (one.file, other.file), (one.sha256, other.sha256)
    return any(this and that and this != that for this, that in pairs)


def _named(
    name: Any = "", hash_: Any = "", version: Any = "", strength: Any = None
) -> Iterator[NamedAdapter]:
    """Yield what is left of an adapter's words when they are cleaned, if anything is."""
    hashes = [hash_.strip().lower()] if isinstance(hash_, str) else []
    kept = tuple(one for one in hashes if HASH.fullmatch(one))
    number = str(version) if isinstance(version, int | str) else ""
    number = number if number.isascii() and number.isdigit() and len(number) <= 18 else ""
    line = clean_line(name, MAX_NAME)
    if line.lower() in ("none", "null"):
        line = ""
    if line or kept or number:
        yield NamedAdapter(line, kept, number, _strength(strength))


def _strength(value: Any) -> float | None:
    number = as_number(value)
    return number if number is not None and abs(number) <= MOST_STRENGTH else None


def _in_recipe(recipe: Any) -> Iterator[NamedAdapter]:
    for used in _dicts(as_dict(recipe).get("adapters")):
        yield from _named(used.get("name"), used.get("sha256"), strength=used.get("strength"))


def _in_parameters(text: str) -> Iterator[NamedAdapter]:
    """Read what A1111, Forge, their extensions and Civitai's generator write."""
    if text.lstrip().startswith("{"):
        yield from _in_civitai_json(bounded_json(text))
        return
    yield from _calls(prompt_of_parameters(text))
    for part in islice(_listed(text), MOST_LISTED):
        yield from _in_part(part)
    for value in _json_after(HASHES, text):
        yield from _in_hashes(value)
    for value in _json_after(RESOURCES, text):
        yield from _in_resources(value)


def _listed(text: str) -> Iterator[str]:
    """Yield the parts of what web UIs write behind `Lora hashes`, and Fooocus also elsewhere."""
    for found in LORA_LISTS.finditer(text):
        said = found[1]
        listed = bounded_json(said) if said.startswith('"') else said
        yield from str(listed).split(",", MOST_LISTED)[:MOST_LISTED]


def _in_part(part: str) -> Iterator[NamedAdapter]:
    """Read `name: hash`, `name: weight` or `name: hash: weight`."""
    name, _, last = part.rpartition(":")
    if _is_hash(last):
        yield from _named(name, last)
        return
    before, _, hash_ = name.rpartition(":")
    if _is_hash(hash_):
        yield from _named(before, hash_, strength=last)
    else:
        yield from _named(name, strength=last)


def _is_hash(word: str) -> bool:
    return HASH.fullmatch(word.strip().lower()) is not None


def _in_civitai_json(value: Any) -> Iterator[NamedAdapter]:
    """Read the JSON that Civitai writes into comments: its metadata, or a graph of ComfyUI's.

    Fooocus writes another, with its adapters as [name, weight, hash].
    """
    facts = as_dict(value)
    for one in as_list(facts.get("loras")):
        if isinstance(one, list) and len(one) == 3:
            yield from _named(one[0], one[2], strength=one[1])
    yield from _in_hashes(facts.get("hashes"))
    yield from _in_resources(facts.get("resources"))
    yield from _in_resources(facts.get("civitaiResources"))
    strengths = {
        str(one.get("modelVersionId")): one.get("strength", one.get("weight"))
        for one in _dicts(as_dict(bounded_json(_text(facts.get("extraMetadata")))).get("resources"))
    }
    airs = as_dict(facts.get("extra")).get("airs")
    for air in airs if isinstance(airs, list) else ():
        if found := AIR.fullmatch(_text(air)):
            yield from _named(version=found[2], strength=strengths.get(found[2]))
    yield from _in_graph({key: node for key, node in facts.items() if key != "extra"})


def _in_hashes(value: Any) -> Iterator[NamedAdapter]:
    for key, hash_ in as_dict(value).items():
        kind, _, name = str(key).partition(":")
        if kind.lower() in KINDS:
            yield from _named(name, hash_)


def _in_resources(value: Any) -> Iterator[NamedAdapter]:
    for one in _dicts(value):
        air = AIR.fullmatch(_text(one.get("air")))
        if _text(one.get("type")).lower() in KINDS or air:
            name = one.get("modelName") or one.get("name")
            version = air[2] if air else one.get("modelVersionId")
            yield from _named(name, one.get("hash"), version, one.get("weight"))


def _in_graph(graph: Any) -> Iterator[NamedAdapter]:
    """Read the graph that ComfyUI ran: nodes by number, as `crawler.pictures.graphs` says."""
    nodes = {str(k): node for k, node in as_dict(graph).items() if isinstance(node, dict)}
    if len(nodes) <= MOST_NODES:
        for node in nodes_used(nodes, _is_loader):
            yield from _in_inputs(as_dict(node.get("inputs")))


def _is_loader(node: Mapping[str, Any]) -> bool:
    """Whether a node loads adapters; some that save pictures write down their calls, too."""
    is_called_so = "lora" in _text(node.get("class_type")).lower()
    return is_called_so and any(True for _ in _in_inputs(as_dict(node.get("inputs"))))


def _in_inputs(inputs: Mapping[str, Any]) -> Iterator[NamedAdapter]:
    inputs = {_ending_in_number(str(name).lower()): value for name, value in inputs.items()}
    for name, value in inputs.items():
        match, file = FILE_INPUT.fullmatch(name), _without_preview(value)
        if match and isinstance(file, str):
            if _is_on(inputs, match[1]):
                yield from _named(file, strength=_strength_beside(inputs, match[1]))
        else:
            yield from _in_value(value)


def _ending_in_number(name: str) -> str:
    """Write `lora_1_model_strength`, as Easy Use and tinyterra name inputs, as most others do."""
    return MIDDLE_NUMBER.sub(r"lora_\2_\1", name)


def _without_preview(value: Any) -> Any:
    """Return a value of a node; Custom Scripts' loader keeps a picture beside its file's name."""
    return value["content"] if isinstance(value, dict) and "content" in value else value


def _is_on(inputs: Mapping[str, Any], number: str | None) -> bool:
    """Whether a slot of a stack is used: stacks are counted, or have switches, one or many."""
    used = inputs.get("lora_count", inputs.get("num_loras"))
    is_beyond = number is not None and isinstance(used, int) and int(number) > used
    switches = inputs.get("toggle"), inputs.get(f"switch_{number}")
    return not is_beyond and all(str(switch).lower() not in OFF for switch in switches)


def _in_value(value: Any) -> Iterator[NamedAdapter]:
    """Read a slot of a loader with many, a list of them, or a text with calls."""
    if isinstance(value, str):
        yield from _calls(value)
    elif isinstance(value, dict):
        if isinstance(value.get("__value__"), list):
            yield from _in_value(value["__value__"])
        elif value.get("on", value.get("active", True)) is True:
            name = value.get("lora") or value.get("name")
            if isinstance(name, str) and "strength" in value:
                yield from _named(name, strength=value["strength"])
    elif isinstance(value, list):
        for slot in _dicts(value):
            yield from _in_value(slot)


def _strength_beside(inputs: Mapping[str, Any], number: str | None) -> Any:
    ending = "" if number is None else f"_{number}"
    # Some stacks keep all strengths of a slot, those of their simple mode and of the other.
    is_simple = inputs.get("input_mode", inputs.get("mode", "simple")) == "simple"
    names = STRENGTH_INPUTS if is_simple else (*ADVANCED_STRENGTHS, *STRENGTH_INPUTS)
    values = (inputs.get(name + ending) for name in names)
    return next((value for value in values if isinstance(value, int | float)), None)


def _in_workflow(workflow: Any) -> Iterator[NamedAdapter]:
    """Read the graph that ComfyUI's editor saves, and the graphs inside it."""
    for node in islice(_loud_nodes(as_dict(workflow)), MOST_NODES):
        if "lora" not in _text(node.get("type")).lower():
            continue
        widgets = node.get("widgets_values")
        if isinstance(widgets, dict):
            yield from _in_inputs(widgets)
        elif isinstance(widgets, list):
            yield from _in_widgets(widgets)


def _loud_nodes(workflow: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the nodes that are not silent, and those of the subgraphs that such nodes stand for."""
    subgraphs = {
        _text(part.get("id")): part
        for part in _dicts(as_dict(workflow.get("definitions")).get("subgraphs"))
    }
    waiting = [workflow]
    while waiting:
        for node in _dicts(waiting.pop().get("nodes")):
            if node.get("mode") in SILENT_MODES:
                continue
            yield node
            # A node's type is the id of its subgraph; a second one of it would show the same.
            inside = subgraphs.pop(_text(node.get("type")), None)
            if inside is not None:
                waiting.append(inside)


def _in_widgets(widgets: Sequence[Any]) -> Iterator[NamedAdapter]:
    """Read a node's values, which have no names: a file, and the number behind it."""
    for place, value in enumerate(map(_without_preview, widgets)):
        if not isinstance(value, str) or not SUFFIX.search(value):
            yield from _in_value(value)
        # The switch of a slot of Comfyroll's stacks.
        elif not place or _text(widgets[place - 1]).lower() != "off":
            yield from _named(value, strength=next(iter(widgets[place + 1 : place + 2]), None))


def _calls(prompt: str) -> Iterator[NamedAdapter]:
    for call in CALL.finditer(prompt):
        yield from _named(call[1], strength=_called_strength(call[2] or ""))


def _called_strength(given: str) -> str | None:
    """Return the strength for the denoiser: `0.8`, or behind the text encoders' `0:0.8`, or named.

    As extensions-builtin/Lora/extra_networks_lora.py of A1111 reads it.
    """
    parts = given.split(":")
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    plain = [part for part in parts if "=" not in part]
    text_encoders = named.get("te", next(iter(plain), None))
    return named.get("unet", plain[1] if len(plain) > 1 else text_encoders)


def _json_after(label: re.Pattern[str], text: str) -> Iterator[Any]:
    """Yield the JSON that stands behind a label inside a text."""
    for found in islice(label.finditer(text), MOST_LABELS):
        try:
            _, end = json.JSONDecoder().raw_decode(text, found.end())
        except (ValueError, RecursionError):
            return
        yield bounded_json(text[found.end() : end])


def _dicts(value: Any) -> Iterator[Mapping[str, Any]]:
    for one in as_list(value):
        if isinstance(one, dict):
            yield one


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
