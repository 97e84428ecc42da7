"""Which adapters may be found at all: applied inside every query, never to its results."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import ARRAY, ColumnElement, Text, literal, or_

from encoder.base_models.facts import related_base_models
from registry.db.models import Listing
from registry.text.word_segmentation import clean

# What a person may see of adapters whose pictures are mature.
Maturity = Literal["any", "hide", "only"]


@dataclass(frozen=True, slots=True)
class Filters:
    """None and empty mean any; of several values one must hold, but an adapter has all `tags`.

    Values are compared without regard to case. A family's name among `base_models` means its
    variants too, unless `variants` is False. Ranges include both ends; `rank` is the median of an
    adapter's layers', sizes are bytes, and `updated_since` and `updated_before` are of the hub.
    `commercial` asks for licences that let pictures be sold; who states no licence permits nothing.
    `mature="hide"` keeps what nobody has rated.
    """

    base_models: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    commercial: bool = False
    hubs: tuple[str, ...] = ()
    trainers: tuple[str, ...] = ()
    least_rank: int | None = None
    most_rank: int | None = None
    least_size: int | None = None
    most_size: int | None = None
    updated_since: datetime | None = None
    updated_before: datetime | None = None
    has_trigger_words: bool | None = None
    fusable: bool | None = None
    mature: Maturity = "any"
    variants: bool = True

    def of(self, base_model: str) -> "Filters":
        """The same for one base model."""
        return replace(self, base_models=(base_model,))


def conditions(filters: Filters) -> list[ColumnElement[bool]]:
    """Return conditions on `Listing`, which holds ready adapters: others have no file to load."""
    wanted: list[ColumnElement[bool]] = []
    if filters.base_models:
        wanted.append(Listing.base_model.in_(_meant_base_models(filters)))
    for column, values in (
        (Listing.author, filters.authors),
        (Listing.licence, filters.licences),
        (Listing.hub, filters.hubs),
        (Listing.trainer, filters.trainers),
    ):
        if values:
            wanted.append(column.in_(_lowered(values)))
    if filters.tags:
        wanted.append(Listing.tags.bool_op("@>")(literal(_lowered(filters.tags), ARRAY(Text))))
    for least, column, most in (
        (filters.least_rank, Listing.rank, filters.most_rank),
        (filters.least_size, Listing.size, filters.most_size),
        (filters.updated_since, Listing.updated_at, filters.updated_before),
    ):
        if least is not None:
            wanted.append(column >= least)
        if most is not None:
            wanted.append(column <= most)
    if filters.has_trigger_words is not None:
        wanted.append(Listing.has_trigger_words.is_(filters.has_trigger_words))
    if filters.fusable is not None:
        wanted.append(Listing.fusable.is_(filters.fusable))
    if filters.mature == "hide":
        wanted.append(or_(Listing.mature.is_(None), Listing.mature.is_(False)))
    elif filters.mature == "only":
        wanted.append(Listing.mature.is_(True))
    return wanted


def _meant_base_models(filters: Filters) -> list[str]:
    return sorted(
        {
            meant
            for name in filters.base_models
            for meant in related_base_models(clean(name), siblings=filters.variants)
        }
    )


def _lowered(values: tuple[str, ...]) -> list[str]:
    return [clean(value).lower() for value in values]
