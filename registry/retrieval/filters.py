"""Which adapters may be found at all: applied inside every query, never to its results."""

from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import ARRAY, ColumnElement, Text, func, literal

from encoder.base_models.facts import related_base_models
from registry.db.models import Adapter
from registry.text.word_segmentation import clean

State = Literal["listed", "ready", "refused", "gone"]


@dataclass(frozen=True, slots=True)
class Filters:
    """None and empty mean any; an adapter must have all of `tags`.

    A family's name as `base_model` means its variants too, unless `variants` is False.
    """

    base_model: str | None = None
    author: str | None = None
    tags: tuple[str, ...] = ()
    licence: str | None = None
    hub: str | None = None
    variants: bool = True

    def of(self, base_model: str) -> "Filters":
        """The same for one base model."""
        return replace(self, base_model=base_model)


def conditions(filters: Filters, state: State = "ready") -> list[ColumnElement[bool]]:
    """Return conditions on `Adapter`. Only ready ones are searched: others have no file to load."""
    wanted = [Adapter.state == state]
    if filters.base_model is not None:
        meant = related_base_models(clean(filters.base_model), siblings=filters.variants)
        wanted.append(Adapter.base_model.in_(meant))
    if filters.author is not None:
        wanted.append(Adapter.author == clean(filters.author))
    if filters.tags:
        wanted.append(
            Adapter.tags.bool_op("@>")(literal([clean(tag) for tag in filters.tags], ARRAY(Text)))
        )
    if filters.licence is not None:
        # Hubs write Apache-2.0 and apache-2.0.
        wanted.append(func.lower(Adapter.licence) == clean(filters.licence).lower())
    if filters.hub is not None:
        wanted.append(Adapter.hub == clean(filters.hub))
    return wanted
