"""What is wrong with an address that somebody typed, or in a form, in the language of the page."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from registry.api.pages.addresses import Address
from registry.api.pages.texts import COOKIE, Language, language_of, text_of
from registry.retrieval.errors import SearchError

# What has to stand there, in texts.py, by pydantic's names of faults.
WANTED = {
    "int_type": "whole",
    "int_parsing": "whole",
    "int_parsing_size": "whole",
    "int_from_float": "whole",
    "float_type": "number",
    "float_parsing": "number",
    "finite_number": "number",
    "bool_type": "bool",
    "bool_parsing": "bool",
    "literal_error": "one_of",
    "enum": "one_of",
    "less_than": "less",
    "less_than_equal": "most",
    "greater_than": "greater",
    "greater_than_equal": "least",
    "string_too_long": "letters",
}
# What a page with these faults is headed by, in texts.py.
HEADINGS = {"path": "fault", "query": "fault", "body": "error.422"}
# A path's places, and what belongs there.
PLACES = {"adapter_id": "adapter", "image_id": "image"}
EXAMPLE = "7"
MOST_LETTERS = 40
QUOTED = re.compile("'([^']*)'")


@dataclass(frozen=True, slots=True)
class PageFaults:
    """What a page says of an address or a form, and where one can go on without what is wrong.

    `heading`, and `onward`, what leads there is called, are names in texts.py.
    """

    heading: str
    sentences: Sequence[str]
    without: str | None
    onward: str = "fault.without"


def cursor_faults(request: Request) -> PageFaults:
    """Word that the place in a list which an address names is none, or one of another list."""
    sentence = text_of(language_of(request), "fault.cursor")
    return PageFaults("fault", [sentence], _without(request, ["cursor"]), "fault.first")


def address_without_faults(request: Request, error: SearchError) -> str | None:
    """Return where one goes on without the filters that are wrong, and with all else.

    None where nothing but the question is left: then there are no filters.
    """
    asked = request.query_params.multi_items()
    # What is wrong of a name, or None where all of it is.
    wrong = dict(error.at_fault)
    kept = [
        (name, value)
        for name, value in asked
        if name not in wrong or wrong[name] not in (None, value.strip())
    ]
    is_mended = len(kept) < len(asked) and {name for name, _ in kept} - {"q", "cursor", COOKIE}
    return Address(request.url.path, tuple(kept)).without([]) if is_mended else None


def page_faults(request: Request, faults: Sequence[Mapping[str, Any]]) -> PageFaults | None:
    """Word pydantic's faults; None where one of them has no words here."""
    if not all(map(_has_words, faults)):
        return None
    # A value that may be one of two kinds is at fault twice.
    by_name = {fault["loc"][:2]: fault for fault in reversed(faults)}
    language = language_of(request)
    sentences = [_sentence(language, request, fault) for fault in reversed(by_name.values())]
    heading = HEADINGS[faults[0]["loc"][0]]
    in_query = all(place == "query" for place, _ in by_name)
    without = _without(request, [str(name) for _, name in by_name]) if in_query else None
    return PageFaults(heading, sentences, without)


def _has_words(fault: Mapping[str, Any]) -> bool:
    place, *name = fault["loc"]
    is_said_too_often = place == "query" and fault["type"] == "too_long"
    is_known = place == "path" or is_said_too_often or fault["type"] in WANTED
    return bool(name) and place in HEADINGS and is_known


def _without(request: Request, names: Sequence[str]) -> str:
    asked = tuple(request.query_params.multi_items())
    return Address(request.url.path, asked).without(names)


def _sentence(language: Language, request: Request, fault: Mapping[str, Any]) -> str:
    place, name = fault["loc"][:2]
    given, facts = fault["input"], fault.get("ctx", {})
    if place == "path":
        what = text_of(language, f"fault.place.{PLACES.get(name, 'other')}")
        parts = request.url.path.split("/")
        example = _shown("/".join(EXAMPLE if part == given else part for part in parts))
        return text_of(language, "fault.path", value=_shown(given), what=what, example=example)
    if fault["type"] == "too_long":
        many = {"n": facts["actual_length"], "most": facts["max_length"]}
        return text_of(language, "fault.many", name=name, **many)
    listed = {key: _listed(said, language) for key, said in facts.items()}
    wanted = text_of(language, f"fault.{WANTED[fault['type']]}", **listed)
    if place == "body":
        name = next(part for part in reversed(fault["loc"]) if isinstance(part, str))
    return text_of(language, f"fault.{place}", name=name, value=_shown(given), wanted=wanted)


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"


def _listed(said: object, language: Language) -> str:
    """Return a bound as people write it, and values that pydantic quotes as they list them."""
    if isinstance(said, float):
        return f"{said:g}"
    values = QUOTED.findall(str(said))
    return ("、" if language == "zh" else ", ").join(values) if values else str(said)
