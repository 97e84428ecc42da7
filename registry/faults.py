"""What pydantic finds wrong with a value, worded as the rest: what was given, what is allowed.

Its own words name its types, which who typed a value does not know. This imports nothing heavy.
"""

import re
from collections.abc import Mapping, Sized
from typing import Any

from crawler.counted import counted

# Of a value that is no good, to be told by.
MOST_SHOWN_LETTERS = 40
QUOTED = re.compile("'([^']*)'")
# By pydantic's names of faults, with what it tells of each.
WANTED = {
    "less_than_equal": "it is {le} at most",
    "less_than": "it is less than {lt}",
    "greater_than_equal": "it is {ge} at least",
    "greater_than": "it is more than {gt}",
    "literal_error": "it is one of {expected}",
    "enum": "it is one of {expected}",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_parsing_size": "write a smaller number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "finite_number": "write a number that is finite",
    "bool_type": "it is true or false",
    "bool_parsing": "it is true or false",
    "string_type": "give a text",
    "string_pattern_mismatch": "it looks like {pattern}",
    "list_type": "give a list",
    "dict_type": "give a JSON object",
    "model_type": "give a JSON object",
    "model_attributes_type": "give a JSON object",
}
# What is too long is not said again: what it is counted in, and which bound it breaks.
COUNTED = {
    "string_too_long": ("character", "max_length", "most"),
    "string_too_short": ("character", "min_length", "least"),
    "too_long": ("value", "max_length", "most"),
    "too_short": ("value", "min_length", "least"),
}


def fault_words(where: str, fault: Mapping[str, Any]) -> str:
    """Return one of pydantic's faults in one line without its end; `where` is what was given."""
    kind, facts, given = fault["type"], dict(fault.get("ctx", {})), fault.get("input")
    if kind == "missing":
        return f"{where} is missing; give it"
    if kind in COUNTED and isinstance(given, Sized):
        unit, bound, end = COUNTED[kind]
        return f"{where} has {counted(len(given), unit)}; it has {facts[bound]:,} at {end}"
    if kind not in WANTED:
        return f"{where}: {fault['msg']}"
    if "expected" in facts:
        facts["expected"] = ", ".join(QUOTED.findall(facts["expected"])) or facts["expected"]
    for bound in facts.keys() & {"le", "lt", "ge", "gt"}:
        facts[bound] = f"{facts[bound]:g}" if isinstance(facts[bound], float) else facts[bound]
    return f"{where} is {shown_number(given)}; {WANTED[kind].format(**facts)}"


def shown_number(given: object) -> str:
    """Return a value as it was given, a number that came as a text without quotes."""
    is_number = isinstance(given, str) and re.fullmatch(r"-?[\d.]{1,30}", given, re.ASCII)
    return str(given) if is_number else shown(given)


def shown(value: object) -> str:
    """Return a value as it was given, cut where it is long."""
    said = repr(value[:MOST_SHOWN_LETTERS] if isinstance(value, str) else value)
    if isinstance(value, str) and len(value) > MOST_SHOWN_LETTERS:
        return f"{said}…"
    return said if len(said) <= MOST_SHOWN_LETTERS + 2 else f"{said[:MOST_SHOWN_LETTERS]}…"
