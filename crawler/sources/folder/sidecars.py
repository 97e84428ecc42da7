"""What people and their programs keep beside an adapter's file; docs/folders.md lists it.

Each reader takes the fields of one kind of sidecar. A sidecar that is broken, or a field that is
not what its name says, costs itself only and is told in one line.
"""

import codecs
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crawler.hub_json import read_json
from crawler.hub_text import (
    MAX_DESCRIPTION,
    MAX_NAME,
    MAX_PROMPT,
    clean_line,
    clean_text,
    clean_words,
    plain_text,
    split_phrases,
    without_calls,
)

MAX_BYTES = 2**20
# Cards have some KB; a parser of YAML takes seconds for a MB.
MAX_CARD_BYTES = 2**16
# What generating programs take; beyond it somebody's typing went wrong.
MAX_STRENGTH = 4.0
MAX_PICTURES = 16
# The longest first: the marks of UTF-16 begin those of UTF-32.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Stable Diffusion web UI's names for a kind of base, in words that hubs use.
WEBUI_BASES = {"SD1": "SD 1.5", "SD2": "SD 2.1", "SDXL": "SDXL 1.0", "SD3": "SD 3"}
# libyaml where PyYAML was built with it: ten times as fast.
YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class SidecarError(ValueError):
    """A sidecar cannot be read; the text says why, without its name."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sidecar says of an adapter; empty where it says nothing."""

    name: str = ""
    author: str = ""
    description: str = ""
    trigger_words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    licence: str = ""
    mature: bool | None = None
    strength: float | None = None
    negative_prompt: str = ""
    # Of the first picture.
    prompt: str = ""
    # Pictures that it names by their path from its folder, with their prompts.
    pictures: tuple[tuple[str, str], ...] = ()


class Fields:
    """A JSON object's fields, each of the kind that is asked for; others are complained of."""

    def __init__(self, values: Mapping[Any, Any], complaints: list[str]) -> None:
        self._values, self._complaints = values, complaints

    def text(self, name: str) -> str:
        return self._take(name, str, "no text") or ""

    def words(self, name: str) -> list[Any] | str:
        return self._take(name, (str, list), "neither text nor a list") or ""

    def flag(self, name: str) -> bool | None:
        value: bool | None = self._take(name, bool, "neither true nor false")
        return value

    def below(self, name: str) -> "Fields":
        """Return the fields of an object inside it."""
        return Fields(self._take(name, dict, "no object") or {}, self._complaints)

    def items(self, name: str) -> Iterator["Fields"]:
        """Yield the fields of the objects of a list."""
        for item in self._take(name, list, "no list") or ():
            if isinstance(item, dict):
                yield Fields(item, self._complaints)

    def strength(self, name: str) -> float | None:
        """Return a multiplier; None for 0 too, by which web UIs mean that there is none."""
        value = self._take(name, (int, float, str), "no number")
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if not abs(number) <= MAX_STRENGTH or isinstance(value, bool):
            self._complain(name, f"no strength from -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}")
            return None
        return number or None

    def _take(self, name: str, kind: type | tuple[type, ...], otherwise: str) -> Any:
        value = self._values.get(name)
        if value is None or isinstance(value, kind):
            return value
        self._complain(name, otherwise)
        return None

    def _complain(self, name: str, what: str) -> None:
        self._complaints.append(f"{name!r} is {what}")


def read_sidecar(path: Path, reader: "Reader") -> tuple[Facts, list[str]]:
    """Return what a sidecar says, and what is wrong with it, in a line each.

    Raises:
        OSError: it cannot be read at all.
    """
    complaints: list[str] = []
    facts = Facts()
    try:
        facts = reader(_text(path), complaints)
    except SidecarError as error:
        return facts, [f"{path.name} {error}; nothing of it was taken"]
    said = f"{path.name}: {', '.join(complaints)}; left out"
    return facts, [said] if complaints else []


def read_own(text: str, complaints: list[str]) -> Facts:
    """Read `<stem>.json`: our fields, or those of Stable Diffusion web UI's own editor [1].

    - [1] https://github.com/AUTOMATIC1111/stable-diffusion-webui, "Edit metadata" of a LoRA
    """
    fields = Fields(_object(text), complaints)
    notes = [fields.text("description"), fields.text("notes")]
    bases = [fields.text("base_model"), WEBUI_BASES.get(fields.text("sd version"), "")]
    preferred = fields.strength("strength")
    return Facts(
        name=fields.text("name"),
        author=fields.text("author"),
        description="\n".join(filter(None, notes)),
        trigger_words=split_phrases(fields.words("trigger_words"))
        or split_phrases(fields.text("activation text")),
        tags=clean_words(fields.words("tags")),
        base_models=tuple(filter(None, bases)),
        licence=fields.text("licence"),
        mature=fields.flag("mature"),
        strength=preferred if preferred is not None else fields.strength("preferred weight"),
        negative_prompt=fields.text("negative_prompt") or fields.text("negative text"),
        prompt=fields.text("prompt"),
    )


def read_civitai(text: str, complaints: list[str]) -> Facts:
    """Read `<stem>.civitai.info`: Civitai's answer about a model's version [1].

    - [1] https://github.com/civitai/civitai/wiki/REST-API-Reference
    """
    return _civitai_version(Fields(_object(text), complaints))


def read_lora_manager(text: str, complaints: list[str]) -> Facts:
    """Read `<stem>.metadata.json` of ComfyUI-Lora-Manager [1], with Civitai's answer inside.

    - [1] https://github.com/willmiao/ComfyUI-Lora-Manager, py/utils/models.py
    """
    fields = Fields(_object(text), complaints)
    version = _civitai_version(fields.below("civitai"))
    tips = read_json(fields.text("usage_tips"))
    advice = Fields(tips if isinstance(tips, dict) else {}, complaints)
    notes = [plain_text(fields.text("modelDescription")), fields.text("notes")]
    bases = (fields.text("base_model"), *version.base_models)
    return Facts(
        name=fields.text("model_name") or version.name,
        author=version.author,
        description="\n".join(filter(None, notes)) or version.description,
        trigger_words=version.trigger_words,
        tags=clean_words(fields.words("tags")) or version.tags,
        base_models=tuple(filter(None, bases)),
        mature=version.mature,
        strength=advice.strength("strength"),
        prompt=version.prompt,
    )


def read_notes(text: str, complaints: list[str]) -> Facts:
    """Read `<stem>.txt`: a description, notes or a caption, as people leave them."""
    return Facts(description=text)


def read_card(text: str, complaints: list[str]) -> Facts:
    """Read README.md: a model card's front matter [1], and its text.

    - [1] https://huggingface.co/docs/hub/model-cards
    """
    head, body = _split_card(text)
    fields = Fields(head, complaints)
    widgets = [
        (item.below("output").text("url"), item.text("text").strip("-"))
        for item in fields.items("widget")
    ]
    prompt = fields.text("instance_prompt")
    return Facts(
        # A template that nobody filled in says nothing.
        description="" if "[More Information Needed]" in body else body,
        trigger_words=split_phrases(prompt),
        tags=tuple(
            tag for tag in clean_words(fields.words("tags")) if not tag.startswith("template:")
        ),
        base_models=clean_words(fields.words("base_model")),
        licence=fields.text("license"),
        pictures=tuple((url, words) for url, words in widgets if url)[:MAX_PICTURES],
    )


def read_peft_config(text: str, complaints: list[str]) -> Facts:
    """Read adapter_config.json of PEFT: which base it was trained on."""
    base = Fields(_object(text), complaints).text("base_model_name_or_path")
    return Facts(base_models=clean_words(base))


Reader = Callable[[str, list[str]], Facts]
# By what follows a file's stem, and by the whole name in its folder; what comes first wins.
BY_SUFFIX: dict[str, Reader] = {
    ".json": read_own,
    ".metadata.json": read_lora_manager,
    ".civitai.info": read_civitai,
    ".txt": read_notes,
    ".description.txt": read_notes,
}
BY_NAME: dict[str, Reader] = {"adapter_config.json": read_peft_config, "README.md": read_card}


def merge(facts: Sequence[Facts]) -> Facts:
    """Return for each field what the first of `facts` says that says anything."""

    def first(name: str) -> Any:
        values = [getattr(one, name) for one in facts]
        return next((value for value in values if value not in ("", (), None)), values[-1])

    merged = {name: first(name) for name in Facts.__dataclass_fields__}
    # All of them: the first whose words are known counts.
    merged["base_models"] = tuple(word for one in facts for word in one.base_models)
    return _clean(Facts(**merged))


def _clean(facts: Facts) -> Facts:
    return Facts(
        name=clean_line(facts.name, MAX_NAME),
        author=clean_line(facts.author, MAX_NAME),
        description=clean_text(facts.description, MAX_DESCRIPTION),
        trigger_words=facts.trigger_words,
        tags=facts.tags,
        base_models=clean_words(list(facts.base_models)),
        licence=clean_line(facts.licence, MAX_NAME),
        mature=facts.mature,
        strength=facts.strength,
        negative_prompt=clean_text(facts.negative_prompt, MAX_PROMPT),
        prompt=clean_text(without_calls(facts.prompt), MAX_PROMPT),
        pictures=facts.pictures,
    )


def _civitai_version(fields: Fields) -> Facts:
    model = fields.below("model")
    notes = [model.text("description"), fields.text("description")]
    # Programs that fetch this fetch the first image as well, as the preview.
    prompts = [image.below("meta").text("prompt") for image in fields.items("images")]
    return Facts(
        name=model.text("name"),
        author=fields.below("creator").text("username") or model.below("creator").text("username"),
        description="\n".join(filter(None, map(plain_text, notes))),
        trigger_words=split_phrases(fields.words("trainedWords")),
        tags=clean_words(model.words("tags")),
        base_models=clean_words(fields.text("baseModel")),
        mature=model.flag("nsfw"),
        prompt=prompts[0] if prompts else "",
    )


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SidecarError("is larger than 1 MB")
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SidecarError("is not written in UTF-8: save it so") from error


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SidecarError(f"is not JSON: {_why(error)}") from error
    if not isinstance(value, dict):
        raise SidecarError(f"holds {_kind(value)}, not a JSON object")
    return value


def _split_card(text: str) -> tuple[dict[Any, Any], str]:
    """Return a card's front matter, empty where there is none, and its text without comments."""
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), 0)
    if not end or lines[0].rstrip() != "---":
        return {}, ""  # somebody's notes about the whole folder
    head, body = "\n".join(lines[1:end]), "\n".join(lines[end + 1 :])
    if len(head) > MAX_CARD_BYTES:
        raise SidecarError("has front matter of over 64 KB")
    try:
        value = yaml.load(head, YamlLoader)  # noqa: S506 (a safe loader in either case)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SidecarError(f"has front matter that is not YAML: {_why(error)}") from error
    if value is not None and not isinstance(value, dict):
        raise SidecarError(f"has front matter that holds {_kind(value)}, not names and values")
    first, *commented = body.split("<!--")
    told = [first, *(part.partition("-->")[2] for part in commented)]
    return value or {}, plain_text("".join(told))


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"{getattr(error, 'problem', None) or 'it breaks off'} (line {mark.line + 2})"
    return str(error)
