"""Facets as links: each value leads to the same page with it, or without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from registry.api.pages.addresses import Address
from registry.api.pages.render import format_bytes
from registry.api.pages.texts import Language, text_of
from registry.retrieval.facets import SIZE_BOUNDS, Facet
from registry.retrieval.terms import FacetName

# Of several values one must hold, or all of them of tags: each is added to those chosen.
SEVERAL: Sequence[FacetName] = (
    "base_model", "family", "author", "tag", "licence", "hub", "trainer",
)  # fmt: skip
YES_OR_NO: Sequence[str] = ("commercial", "trigger_words", "fusable", "favourite")
# How many are shown before one asks for more.
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """A value to filter by; where it is `chosen`, its address is the page's without it."""

    label: str
    count: str
    address: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Choices:
    """A facet's values: the first to show, the rest, and how many more there are."""

    name: FacetName
    first: tuple[Choice, ...]
    rest: tuple[Choice, ...]
    more: int


def choices_of(facets: Sequence[Facet], address: Address, language: Language) -> list[Choices]:
    """Return the facets that leave a choice, or in which one was made."""
    views: list[Choices] = []
    base_models = {value.value for facet in facets[:1] for value in facet.values}
    for facet in facets:
        if facet.name == "family" and {value.value for value in facet.values} == base_models:
            # No family has two: they would be the same links twice.
            continue
        all_ = tuple(
            Choice(
                _label(facet.name, value.value, language),
                f"{value.count:,}" if facet.exact else f"≈ {value.count:,}",
                *_address_of(facet.name, value.value, address),
            )
            for value in facet.values
        )
        if len(all_) > 1 or any(choice.chosen for choice in all_):
            first = max(SHOWN, 1 + max((n for n, c in enumerate(all_) if c.chosen), default=0))
            # Nobody opens a list for one more.
            first = len(all_) if len(all_) <= first + 1 else first
            views.append(Choices(facet.name, all_[:first], all_[first:], facet.more))
    return views


def chosen_of(address: Address, names: Sequence[str], language: Language) -> list[Choice]:
    """Return what is filtered by, with the addresses that go without."""
    t = partial(text_of, language)
    chosen = []
    for name, value in address.asked:
        if name in names:
            shown = _label(name, value, language)
            label = t("chosen", name=t(f"filter.{name}"), value=shown)
            chosen.append(Choice(label, "", address.removing(name, value), chosen=True))
    return chosen


def _address_of(name: FacetName, value: str, address: Address) -> tuple[str, bool]:
    if name in SEVERAL:
        same = [asked for own, asked in address.asked if own == name and asked.lower() == value]
        if same:
            return address.removing(name, same[0]), True
        return address.adding(name, value), False
    if name == "rank":
        wanted: dict[str, str] = {"min_rank": value, "max_rank": value}
    elif name == "size":
        wanted = _sizes(int(value))
    else:
        wanted = {name: value}
    chosen = all(pair in address.asked for pair in wanted.items())
    names = ("min_rank", "max_rank") if name == "rank" else ("min_size", "max_size")
    old = dict.fromkeys(names if name in ("rank", "size") else (name,))
    return address.setting(**(old if chosen else old | wanted)), chosen


def _sizes(least: int) -> dict[str, str]:
    """Return what asks for the range of sizes that begins at `least`."""
    above = next((bound for bound in SIZE_BOUNDS if bound > least), None)
    wanted = {"min_size": str(least)} if least else {}
    return wanted | ({"max_size": str(above - 1)} if above else {})


def _label(name: str, value: str, language: Language) -> str:
    if name in YES_OR_NO:
        return text_of(language, "yes" if value == "true" else "no")
    if name == "hub" and value == "folder":
        return text_of(language, "hub.folder")
    if name == "mature":
        return text_of(language, f"mature.{value}")
    if name in ("min_size", "max_size") and value.isdecimal():
        return format_bytes(int(value))
    if name == "size":
        least = int(value)
        above = next((bound for bound in SIZE_BOUNDS if bound > least), None)
        if above is None:
            return f"> {least // 10**6} MB"
        return f"{least // 10**6}–{above // 10**6} MB" if least else f"< {above // 10**6} MB"
    return value
