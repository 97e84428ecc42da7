"""What people and their programs keep beside an adapter's file; docs/folders.md lists it.

Each reader takes the fields of one kind of sidecar. A sidecar that is broken, or a field that is
not what its name says, costs itself only and is told in one line.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

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
from crawler.sources.folder.encodings import decode
from crawler.sources.folder.fields import Facts, Fields, Sheet, SidecarError, kind_of, why_broken
from crawler.sources.folder.programs import (
    read_civitai,
    read_civitai_model,
    read_lora_manager,
    read_own,
    read_rgthree,
    read_stability_matrix,
    read_swarm,
)
from crawler.sources.hub_fields import MATURE

MAX_BYTES = 2**20
# Cards have some KB; a parser of YAML takes seconds for a MB.
MAX_CARD_BYTES = 2**16
MAX_PICTURES = 16


# libyaml where PyYAML was built with it: ten times as fast.
class CardLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads safe YAML but for merges, which are written out: half a KB of them makes gigabytes."""

    def flatten_mapping(self, node: Any) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                problem = "merges (<<) are not read"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        super().flatten_mapping(node)


def read_sidecar(path: Path, reader: "Reader", stem: str) -> tuple[Facts, list[str]]:
    """Return what a sidecar of `stem` says, and what is wrong with it, in a line each.

    Raises:
        OSError: it cannot be read at all.
    """
    complaints: list[str] = []
    facts = Facts()
    try:
        facts = reader(Sheet(_text(path), stem, complaints))
    except SidecarError as error:
        return facts, [f"{path.name} {error}; nothing of it was taken"]
    said = f"{path.name}: {', '.join(complaints)}; left out"
    return facts, [said] if complaints else []


def read_notes(sheet: Sheet) -> Facts:
    """Read `<stem>.txt`: a description, notes or a caption, as people leave them."""
    return Facts(description=sheet.text)


def read_card(sheet: Sheet) -> Facts:
    """Read README.md: a model card's front matter [1], and its text.

    - [1] https://huggingface.co/docs/hub/model-cards
    """
    head, body = _split_card(sheet.text)
    fields = Fields(head, sheet.complaints)
    widgets = (
        (item.below("output").text("url"), item.text("text").strip("-"))
        for item in fields.items("widget")
    )
    tags = clean_words(fields.words("tags"))
    return Facts(
        # A template that nobody filled in says nothing.
        description="" if "[More Information Needed]" in body else body,
        trigger_words=split_phrases(fields.words("instance_prompt")),
        tags=tuple(tag for tag in tags if not tag.startswith("template:")),
        base_models=clean_words(fields.words("base_model")),
        licence=_card_licence(fields),
        mature=True if MATURE in tags else None,
        pictures=tuple(islice((picture for picture in widgets if picture[0]), MAX_PICTURES)),
    )


def _card_licence(fields: Fields) -> str:
    """Return a card's licence: one that the hub has no name for has its own."""
    named = ", ".join(clean_words(fields.words("license")))
    return fields.text("license_name") or named if named == "other" else named


def read_peft_config(sheet: Sheet) -> Facts:
    """Read adapter_config.json of PEFT: which base it was trained on."""
    return Facts(base_models=clean_words(sheet.fields().text("base_model_name_or_path")))


Reader = Callable[[Sheet], Facts]
# By what follows a file's stem, and by the whole name in its folder; what comes first wins.
BY_SUFFIX: dict[str, Reader] = {
    ".json": read_own,
    ".metadata.json": read_lora_manager,
    ".civitai.info": read_civitai,
    ".cm-info.json": read_stability_matrix,
    ".swarm.json": read_swarm,
    ".safetensors.rgthree-info.json": read_rgthree,
    ".api_info.json": read_civitai_model,
    ".txt": read_notes,
    ".description.txt": read_notes,
}
BY_NAME: dict[str, Reader] = {"adapter_config.json": read_peft_config, "README.md": read_card}


def without_own_name(facts: Facts, stem: str) -> Facts:
    """Return facts without a name that only repeats the file's, as programs write it down."""
    is_own = facts.name.casefold() in (stem.casefold(), f"{stem}.safetensors".casefold())
    return replace(facts, name="") if is_own else facts


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


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SidecarError("is larger than 1 MB")
    return decode(data)


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
        value = yaml.load(head, CardLoader)  # noqa: S506 (a safe loader)
    except (
        yaml.YAMLError, ValueError, RecursionError,
        # What is raised for values that are not what their tag says, as in `!!bool maybe`.
        LookupError, AttributeError, TypeError, ArithmeticError,
    ) as error:  # fmt: skip
        raise SidecarError(f"has front matter that is not YAML: {why_broken(error)}") from error
    if value is not None and not isinstance(value, dict):
        raise SidecarError(f"has front matter that holds {kind_of(value)}, not names and values")
    first, *commented = body.split("<!--")
    told = [first, *(part.partition("-->")[2] for part in commented)]
    return value or {}, plain_text("".join(told))
