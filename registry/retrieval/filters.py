"""Which adapters may be found at all: applied inside every query, never to its results."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, bindparam, cast, func, or_, select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm.util import AliasedClass

from encoder.base_models.facts import family_members, related_base_models
from encoder.base_models.names import find_base_model, names_meant
from registry.db.favourites import Favourite
from registry.db.models import Listing, ListingWords
from registry.retrieval.spellings import spellings
from registry.retrieval.terms import Maturity
from registry.text.word_segmentation import clean


@dataclass(frozen=True, slots=True)
class Filters:
    """None and empty mean any; of several values one must hold, but an adapter has all `tags`.

    Values are compared without regard to case, base models also as hubs, trainers and people call
    them: a word that may mean several ("flux") asks for all of those. A family's name among
    `base_models` means its variants too, and where it leaves open which, it comes with each of
    them; with `variants` False they are names of the index, as they stand. `families` are named
    by themselves or by any of their base models. Licences, hubs and trainers count as
    `registry.retrieval.spellings` has them. Ranges include both ends;
    `rank` is the median of an adapter's layers', sizes are bytes, and `updated_since` and
    `updated_before` are of the hub. `commercial` asks for licences that let pictures be sold, or
    do not; who states no licence permits nothing. `mature="hide"` keeps what nobody has rated.
    `registry.retrieval.filter_options` makes them of what people write.
    """

    base_models: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    commercial: bool | None = None
    hubs: tuple[str, ...] = ()
    trainers: tuple[str, ...] = ()
    min_rank: int | None = None
    max_rank: int | None = None
    min_size: int | None = None
    max_size: int | None = None
    updated_since: datetime | None = None
    updated_before: datetime | None = None
    trigger_words: bool | None = None
    fusable: bool | None = None
    favourite: bool | None = None
    mature: Maturity = "any"
    variants: bool = True

    @property
    def asked(self) -> bool:
        """Whether anything is asked for."""
        return self != Filters(variants=self.variants)


def conditions(
    filters: Filters, of: type[Listing] | AliasedClass[Listing] = Listing
) -> list[ColumnElement[bool]]:
    """Return conditions on `of`, which holds ready adapters: others have no file to load."""
    return [condition for own in conditions_by_field(filters, of).values() for condition in own]


def conditions_by_field(
    filters: Filters, of: type[Listing] | AliasedClass[Listing] = Listing
) -> dict[str, list[ColumnElement[bool]]]:
    """Return the conditions that each field of `filters` makes, of those that ask for something.

    A range is under the name of what it bounds: "rank", "size", "updated".
    """
    wanted: dict[str, list[ColumnElement[bool]]] = {}
    if filters.base_models:
        wanted["base_models"] = [of.base_model.in_(base_models_named(filters))]
    if filters.families:
        wanted["families"] = [of.base_model.in_(base_models_of_families(filters))]
    for field, column, values in (
        ("authors", of.author, filters.authors),
        ("licences", of.licence, spellings("licences", filters.licences)),
        ("hubs", of.hub, spellings("hubs", filters.hubs)),
        ("trainers", of.trainer, spellings("trainers", filters.trainers)),
    ):
        if values:
            wanted[field] = [column.in_(lowered(values))]
    if filters.tags:
        wanted["tags"] = [has_tags(of.tags, filters.tags)]
    if bounds := _within(filters.min_rank, of.rank, filters.max_rank):
        # 0 is no rank: what has none is neither large nor small.
        wanted["rank"] = [of.rank > 0, *bounds]
    if bounds := _within(filters.min_size, of.size, filters.max_size):
        wanted["size"] = bounds
    if bounds := _within(filters.updated_since, of.updated_at, filters.updated_before):
        wanted["updated"] = bounds
    for field, column, value in (
        ("commercial", of.commercial, filters.commercial),
        ("trigger_words", of.has_trigger_words, filters.trigger_words),
        ("fusable", of.fusable, filters.fusable),
    ):
        if value is not None:
            wanted[field] = [column.is_(value)]
    if filters.favourite is not None:
        # They are few, and found by themselves.
        marked = of.adapter_id.in_(select(Favourite.adapter_id))
        wanted["favourite"] = [marked if filters.favourite else ~marked]
    if filters.mature == "hide":
        wanted["mature"] = [or_(of.mature.is_(None), of.mature.is_(False))]
    elif filters.mature == "only":
        wanted["mature"] = [of.mature.is_(True)]
    return wanted


def conditions_on_facts(filters: Filters) -> list[ColumnElement[bool]]:
    """Return conditions on `ListingWords`, the same as those on `Listing` of all but ranges."""
    wanted: list[ColumnElement[bool]] = []
    for asked, facts in (
        (filters.base_models, [f"base_model={name}" for name in base_models_named(filters)]),
        (filters.families, [f"base_model={name}" for name in base_models_of_families(filters)]),
        (filters.authors, _lowered_facts("author", filters.authors)),
        (filters.licences, _lowered_facts("licence", spellings("licences", filters.licences))),
        (filters.hubs, _lowered_facts("hub", spellings("hubs", filters.hubs))),
        (filters.trainers, _lowered_facts("trainer", spellings("trainers", filters.trainers))),
    ):
        if asked:
            wanted.append(_in_facts("&&", facts))
    if filters.tags:
        wanted.append(_in_facts("@>", _lowered_facts("tag", filters.tags)))
    for fact, value in (
        ("commercial", filters.commercial),
        ("trigger_words", filters.trigger_words),
        ("fusable", filters.fusable),
        ("mature", {"hide": False, "only": True}.get(filters.mature)),
    ):
        if value is not None:
            has = _in_facts("@>", [fact])
            wanted.append(has if value else ~has)
    return wanted


def beyond_facts(filters: Filters) -> Filters:
    """Return what `filters` ask that facts do not tell: ranges, and favourites."""
    return replace(
        filters,
        base_models=(),
        families=(),
        authors=(),
        licences=(),
        hubs=(),
        trainers=(),
        tags=(),
        commercial=None,
        trigger_words=None,
        fusable=None,
        mature="any",
    )


def _in_facts(operator: str, facts: Sequence[Any]) -> ColumnElement[bool]:
    # Names that no column has: conditions on `Listing` may stand in the same statement.
    values = [
        bindparam("fact", fact, unique=True) if isinstance(fact, str) else fact for fact in facts
    ]
    told = cast(array(values, type_=Text), ARRAY(Text))
    has: ColumnElement[bool] = ListingWords.facts.bool_op(operator)(told)
    return has


def _lowered_facts(kind: str, values: Sequence[str]) -> list[Any]:
    return [
        func.lower(bindparam("fact", f"{kind}={clean(value).strip()}", unique=True))
        for value in values
    ]


def known_name(base_model: str) -> str:
    """Return our name of a base model that may be written as hubs, trainers or people write it.

    A word that may mean several stays as it is.
    """
    name = clean(base_model).strip()
    return find_base_model(name) or name


def known_names(base_model: str) -> tuple[str, ...]:
    """Return our names of all base models that a word may mean, itself where none is known."""
    name = clean(base_model).strip()
    return names_meant(name) or (name,)


def base_models_meant(word: str) -> tuple[str, ...]:
    """Return the base models whose adapters are asked for by what a person calls one."""
    related = map(related_base_models, known_names(word))
    return tuple(dict.fromkeys(name for names in related for name in names))


def members_of(family: str) -> tuple[str, ...]:
    """Return the base models of a family, which any of them names, or of all that may be meant."""
    names = known_names(family)
    if len(names) == 1:
        return family_members(names[0])
    # Who says "flux" leaves the size open, too: each is a family of its own.
    members = (family_members(name) for name in base_models_meant(family))
    return tuple(dict.fromkeys(name for own in members for name in own))


def lowered(values: Sequence[str]) -> list[Any]:
    """Return values as listings have them: in PostgreSQL's lower case, which is not Python's."""
    return [func.lower(clean(value).strip()) for value in values]


def has_tags(column: Any, tags: Sequence[str]) -> ColumnElement[bool]:
    """Whether a column of tags in lower case has all of `tags`."""
    wanted: array[str] = array(lowered(tags), type_=Text)
    has: ColumnElement[bool] = column.bool_op("@>")(wanted)
    return has


def _within(least: Any, column: Any, most: Any) -> list[ColumnElement[bool]]:
    bounds = [column >= least] if least is not None else []
    return [*bounds, column <= most] if most is not None else bounds


def base_models_named(filters: Filters) -> list[str]:
    """Return the base models that `base_models` ask for."""
    if not filters.variants:
        return sorted(filters.base_models)
    return sorted({meant for name in filters.base_models for meant in base_models_meant(name)})


def base_models_of_families(filters: Filters) -> list[str]:
    """Return the base models that `families` ask for."""
    return sorted({name for family in filters.families for name in members_of(family)})
