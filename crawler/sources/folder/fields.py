"""What a sidecar says, its text, and the fields of its JSON, each of the kind that is asked for."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crawler.hub_json import as_number

# What generating programs take; beyond it somebody's typing went wrong.
MAX_STRENGTH = 4.0


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

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str:
        return self._take(name, str, "no text") or ""

    def words(self, name: str) -> list[Any] | str:
        return self._take(name, (str, list), "neither text nor a list") or ""

    def flag(self, name: str) -> bool | None:
        if self._values.get(name) == "":
            return None
        value: bool | None = self._take(name, bool, "neither true nor false")
        return value

    def number(self, name: str) -> int | None:
        """Return a whole number, where there is one."""
        value = self._values.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

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
        number = as_number(value)
        if number is None or not abs(number) <= MAX_STRENGTH:
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


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sidecar's text, for one of the readers."""

    text: str
    # Of the file that it is about, without its ending.
    stem: str
    # What is wrong with its fields, to which readers add.
    complaints: list[str]

    def fields(self) -> Fields:
        """Return the fields of its JSON.

        Raises:
            SidecarError: it is no JSON object.
        """
        if not self.text.strip():
            raise SidecarError("is empty")
        try:
            value = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise SidecarError(f"is not JSON: {why_broken(error)}") from error
        if not isinstance(value, dict):
            raise SidecarError(f"holds {kind_of(value)}, not a JSON object")
        return Fields(value, self.complaints)


def kind_of(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def why_broken(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(':')} (line {error.lineno}, column {error.colno})"
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"{getattr(error, 'problem', None) or 'it breaks off'} (line {mark.line + 2})"
    return str(error)
