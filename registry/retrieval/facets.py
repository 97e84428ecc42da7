"""How many adapters there are of every value that they can be filtered by.

Each facet is counted under all filters but its own, so that its numbers tell what switching or
adding would give; tags under all, for an adapter has all that are asked for. Where more than
MOST_COUNTED pass, counts come from a random sample, and are said to be about right: its rows are
the first in a kept random order, and it grows no more with the index.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session, aliased

from encoder.base_models.facts import family_of, related_base_models
from registry.db.models import Listing
from registry.retrieval.browsing import MOST_COUNTED, PLACES, Total
from registry.retrieval.filters import Filters, conditions_by_field
from registry.retrieval.terms import FACETS, FacetName
from registry.retrieval.vector import passing

# The field of `Filters` that a facet is chosen by, where it is counted without it.
FIELDS: Mapping[FacetName, str] = {
    "base_model": "base_models", "family": "families", "author": "authors",
    "licence": "licences", "commercial": "commercial", "hub": "hubs", "trainer": "trainers",
    "rank": "rank", "size": "size", "trigger_words": "trigger_words", "fusable": "fusable",
    "mature": "mature",
}  # fmt: skip
# Those that are a range there.
RANGES = ("rank", "size")
MOST_VALUES = 20
# Adapters that a sample looks at: at a million some 30 ms, and a share of 5 % within a tenth.
SAMPLE = 6_000
# Sizes are counted between these, bytes; as "<50MB", "50MB-200MB" and so on.
SIZE_BOUNDS = (50_000_000, 200_000_000, 500_000_000)


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value, as a filter asks for it, and how many adapters have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Facet:
    """The most frequent values, how many `more` there are; counts are about right if not exact.

    `trigger_words`, `fusable` and `commercial` have the values "true" and "false", `mature` has
    those of its filter. `size` counts ranges, whose least bytes are the value.
    """

    name: FacetName
    values: tuple[FacetValue, ...]
    more: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Facets:
    """`about` estimates how many adapters pass where they are not counted to the end."""

    total: Total
    about: int
    facets: tuple[Facet, ...]


# What adapters are counted by, and the condition on a row of them to be counted.
_Counted = tuple[FacetName, ColumnElement[bool]]
# Of a facet: each value's count, and how many values there are.
_Counts = dict[FacetName, tuple[Counter[str], int]]


def count_facets(session: Session, filters: Filters) -> Facets:
    """Return every facet of the adapters that filters let through."""
    groups = _groups(filters)
    tried = _count_where_few(session, filters, groups)
    few = {left_out: counted for left_out, counted in tried.items() if counted is not None}
    sampled = {left_out: facets for left_out, facets in groups.items() if left_out not in few}
    counts, matched, share = _count_sample(session, filters, sampled) if sampled else ({}, [], 1.0)
    exact = dict.fromkeys(FACETS, share == 1)
    totals = {
        left_out: (Total(found), found) for left_out, found in zip(sampled, matched, strict=True)
    }
    for left_out, facets in sampled.items():
        if share == 1:
            break
        about = _rounded(totals[left_out][1] / share)
        totals[left_out] = Total(MOST_COUNTED, exact=False), about
        # A sample tells twice as many from more than are counted.
        if about >= 2 * MOST_COUNTED or left_out in tried:
            continue
        counted = _count_few(session, filters, left_out, facets)
        if counted is not None:
            few[left_out] = counted
    for left_out, (own, total) in few.items():
        counts |= own
        exact |= dict.fromkeys(groups[left_out], True)
        totals[left_out] = Total(total), total
    made = tuple(_facet(name, *counts[name], exact[name], 1 / share) for name in FACETS)
    return Facets(*totals[""], made)


def count_facets_among(session: Session, adapter_ids: Sequence[int]) -> Facets:
    """Return every facet of these adapters, such as a question found."""
    rows = select(*_columns(Listing)).where(Listing.adapter_id.in_(adapter_ids))
    wanted: list[_Counted] = [(name, true()) for name in FACETS]
    counts, (total,) = _count(session, _fenced(rows, "found"), wanted, [func.count()])
    facets = tuple(_facet(name, *counts[name], exact=True, scale=1) for name in FACETS)
    return Facets(Total(total), total, facets)


def _groups(filters: Filters) -> dict[str, list[FacetName]]:
    """Return which facets are counted without which field; first those under all filters."""
    asked = conditions_by_field(filters)
    groups: dict[str, list[FacetName]] = {"": []}
    for name in FACETS:
        field = FIELDS.get(name, "")
        groups.setdefault(field if field in asked else "", []).append(name)
    return groups


def _count_where_few(
    session: Session, filters: Filters, groups: Mapping[str, Sequence[FacetName]]
) -> dict[str, tuple[_Counts, int] | None]:
    """Return exact counts and totals of groups that PostgreSQL takes for small; None of others.

    Of a small index a sample has everything, and counts all groups at once.
    """
    tried: dict[str, tuple[_Counts, int] | None] = {}
    for left_out, facets in groups.items():
        passed, everything = passing(session, _without(filters, left_out))
        if passed <= MOST_COUNTED and everything > SAMPLE:
            tried[left_out] = _count_few(session, filters, left_out, facets)
    return tried


def _without(filters: Filters, left_out: str) -> Filters:
    """Return filters without what they ask of a field; a range asks by both of its ends."""
    if not left_out:
        return filters
    names = [f"min_{left_out}", f"max_{left_out}"] if left_out in RANGES else [left_out]
    return replace(filters, **{name: getattr(Filters(), name) for name in names})


def _count_sample(
    session: Session, filters: Filters, groups: Mapping[str, Sequence[FacetName]]
) -> tuple[_Counts, list[int], float]:
    """Return counts in a sample, how many of it pass by group, and its share of all adapters."""
    # A subquery with a limit is no place for conditions: the planner walks the kept order.
    first = select(Listing).order_by(Listing.shuffle, Listing.adapter_id).limit(SAMPLE).subquery()
    listing = aliased(Listing, first)
    passes = [
        _all_but(filters, left_out, listing).label(f"passes_{place}")
        for place, left_out in enumerate(groups)
    ]
    seen = _fenced(select(*_columns(listing), listing.shuffle, *passes), "seen")
    flags = [seen.c[condition.name] for condition in passes]
    wanted = [
        (name, flag) for facets, flag in zip(groups.values(), flags, strict=True) for name in facets
    ]
    figures = [func.count(), func.max(seen.c.shuffle), *map(func.count().filter, flags)]
    counts, (looked, last, *matched) = _count(session, seen, wanted, figures)
    share = 1.0 if looked < SAMPLE else (last + PLACES // 2 + 1) / PLACES
    return counts, matched, share


def _count_few(
    session: Session, filters: Filters, left_out: str, facets: Sequence[FacetName]
) -> tuple[_Counts, int] | None:
    """Return exact counts and the total; None where more pass than are counted."""
    passes = _all_but(filters, left_out, Listing)
    few = _fenced(select(*_columns(Listing)).where(passes).limit(MOST_COUNTED + 1), "few")
    wanted: list[_Counted] = [(name, true()) for name in facets]
    counts, (total,) = _count(session, few, wanted, [func.count()])
    return None if total > MOST_COUNTED else (counts, total)


def _all_but(filters: Filters, left_out: str, of: Any) -> ColumnElement[bool]:
    asked = conditions_by_field(filters, of)
    return and_(true(), *(c for field, own in asked.items() if field != left_out for c in own))


def _columns(listing: Any) -> list[Any]:
    return [
        listing.base_model, listing.author, listing.tags, listing.licence, listing.commercial,
        listing.hub, listing.trainer, listing.rank, listing.size, listing.has_trigger_words,
        listing.fusable, listing.mature,
    ]  # fmt: skip


def _fenced(rows: Select[Any], name: str) -> CTE:
    """Return rows that are found once, however often they are counted."""
    return rows.cte(name).prefix_with("MATERIALIZED")


def _count(
    session: Session, rows: CTE, wanted: Sequence[_Counted], figures: Sequence[ColumnElement[int]]
) -> tuple[_Counts, list[int]]:
    """Return the most frequent values of facets, and figures over all rows, in one statement."""
    selects: list[Any] = [_select(rows, name, passes) for name, passes in wanted]
    selects += [
        select(
            literal(None, Text), literal(str(place)), func.coalesce(figure, 0), literal(0)
        ).select_from(rows)
        for place, figure in enumerate(figures)
    ]
    counts: _Counts = {}
    read = [0] * len(figures)
    for name, value, number, values in session.execute(union_all(*selects)):
        if name is None:
            read[int(value)] = number
        else:
            counts.setdefault(name, (Counter(), values))[0][value] = number
    return {name: counts.get(name, (Counter(), 0)) for name, _ in wanted}, read


def _select(rows: CTE, name: FacetName, passes: ColumnElement[bool]) -> Select[Any]:
    values = select(_value(rows, name).label("value")).where(passes).subquery()
    number = func.count()
    counted = (
        select(
            literal(name).label("facet"),
            values.c.value,
            number.label("number"),
            func.count().over().label("values"),
        )
        .where(values.c.value.is_not(None))
        .group_by(values.c.value)
    )
    if name in ("base_model", "family"):
        # Names mean several of them: all are needed.
        return counted
    return counted.order_by(number.desc(), values.c.value).limit(MOST_VALUES)


def _value(rows: CTE, name: FacetName) -> ColumnElement[Any]:
    columns = rows.c
    match name:
        case "base_model" | "family":
            return columns.base_model
        case "tag":
            return func.unnest(columns.tags)
        case "commercial" | "fusable":
            return cast(columns[name], Text)
        case "trigger_words":
            return cast(columns.has_trigger_words, Text)
        case "mature":
            return case((columns.mature, "only"), else_="hide")
        case "author":
            # Who is not named is nobody to filter by.
            return func.nullif(columns.author, "")
        case "rank":
            return cast(func.nullif(columns.rank, 0), Text)
        case "size":
            bounds = array((0, *SIZE_BOUNDS))
            return cast(bounds[func.width_bucket(columns.size, bounds)], Text)
        case _:
            return columns[name]


def _facet(name: FacetName, found: Counter[str], values: int, exact: bool, scale: float) -> Facet:
    if name == "base_model":
        found = Counter(
            {asked: sum(found[own] for own in related_base_models(asked)) for asked in found}
        )
    elif name == "family":
        families: Counter[str] = Counter()
        for base_model, number in found.items():
            families[family_of(base_model)] += number
        found, values = families, len(families)
    if name in ("rank", "size"):
        ordered = sorted(found.items(), key=lambda pair: int(pair[0]))
    else:
        ordered = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = tuple(
        FacetValue(value, number if exact else _rounded(number * scale))
        for value, number in ordered[:MOST_VALUES]
    )
    return Facet(name, shown, values - len(shown), exact)


def _rounded(estimate: float) -> int:
    """Return an estimate with the two digits that a sample knows."""
    return int(float(f"{estimate:.2g}"))
