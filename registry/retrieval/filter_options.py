"""Filters as people write them: the same names on the page, the command line, over HTTP, in Python.

`size` as "200MB", dates as "2026-01-31", base models as hubs and trainers call them.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import TypeVar, Unpack, get_args

from registry.retrieval.errors import FilterError
from registry.retrieval.filters import Filters, known_name
from registry.retrieval.terms import FilterOptions, Maturity

# Sizes as hubs and the page show them: thousands, not powers of two.
UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)
LARGEST = 2**63 - 1
HIGHEST_RANK = 2**31 - 1

Bound = TypeVar("Bound", int, datetime)
Chosen = TypeVar("Chosen", bound=str)


def make_filters(**options: Unpack[FilterOptions]) -> Filters:
    """Return the filters that options ask for.

    Raises:
        FilterError: there is no such filter, a value cannot be read, or a range has nothing in it.
    """
    for name in options.keys() - FilterOptions.__annotations__.keys():
        known = ", ".join(FilterOptions.__annotations__)
        raise FilterError(f"there is no filter {name}; there are {known}.")
    mature = check_choice("mature", options.get("mature", "any"), get_args(Maturity))
    filters = Filters(
        base_models=tuple(map(known_name, _several(options.get("base_model", ())))),
        families=_several(options.get("family", ())),
        authors=_several(options.get("author", ())),
        tags=_several(options.get("tag", ())),
        licences=_several(options.get("licence", ())),
        commercial=options.get("commercial"),
        hubs=_several(options.get("hub", ())),
        trainers=_several(options.get("trainer", ())),
        min_rank=_read_rank("min_rank", options.get("min_rank")),
        max_rank=_read_rank("max_rank", options.get("max_rank")),
        min_size=read_size("min_size", options.get("min_size")),
        max_size=read_size("max_size", options.get("max_size")),
        updated_since=read_moment("updated_since", options.get("updated_since")),
        updated_before=read_moment("updated_before", options.get("updated_before")),
        trigger_words=options.get("trigger_words"),
        fusable=options.get("fusable"),
        favourite=options.get("favourite"),
        mature=mature,
    )
    _check_range("min_rank", filters.min_rank, "max_rank", filters.max_rank)
    _check_range("min_size", filters.min_size, "max_size", filters.max_size)
    since, before = filters.updated_since, filters.updated_before
    _check_range("updated_since", since, "updated_before", before)
    return filters


def read_size(name: str, value: int | str | None) -> int | None:
    """Return a size in bytes: 200000000, "200MB", "1.5 GB"; units are of a thousand.

    Raises:
        FilterError: it is no size.
    """
    if value is None or isinstance(value, int):
        return value
    read = SIZE.fullmatch(value)
    size = round(float(read[1]) * UNITS[read[2].lower()]) if read else LARGEST + 1
    if size > LARGEST:
        raise FilterError(f"{name} is {value!r}; write a size, like 200MB or 1.5GB.", name)
    return size


def read_moment(name: str, value: datetime | date | str | None) -> datetime | None:
    """Return a moment; a day begins at midnight, and what has no time zone is UTC.

    Raises:
        FilterError: it is no date.
    """
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value.strip() if isinstance(value, str) else str(value))
    except ValueError as error:
        raise FilterError(f"{name} is {value!r}; write a day, like 2026-01-31.", name) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def check_choice(name: str, value: Chosen, known: Sequence[Chosen]) -> Chosen:
    """Return which of those known a value is, without regard to case.

    Raises:
        FilterError: it is none of them.
    """
    for one in known:
        if one == str(value).strip().lower():
            return one
    raise FilterError(f"{name} is {value!r}; it is one of {', '.join(map(str, known))}.", name)


def check_limit(limit: int) -> None:
    """Raises:
    FilterError: no page has so many.
    """
    if limit < 1:
        raise FilterError(f"limit is {limit}; a page has one adapter at least.")


def _read_rank(name: str, value: int | None) -> int | None:
    if value is not None and not (isinstance(value, int) and 1 <= value <= HIGHEST_RANK):
        raise FilterError(f"{name} is {value!r}; write a whole number, like 16.", name)
    return value


def _several(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _check_range(low: str, least: Bound | None, high: str, most: Bound | None) -> None:
    if least is not None and most is not None and least > most:
        said = f"{low} is {_shown(least)} and {high} is {_shown(most)}"
        raise FilterError(f"{said}: nothing is both.", low, high)


def _shown(bound: int | datetime) -> str:
    """Return a bound as people write it: mostly a moment is a day."""
    if isinstance(bound, datetime) and bound.time() == time():
        return f"{bound:%Y-%m-%d}"
    return str(bound)
