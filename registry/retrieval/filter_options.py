"""Filters as people write them: the same names on the page, the command line, over HTTP, in Python.

`size` as "200MB", dates as "2026-01-31", base models as hubs and trainers call them.
"""

from typing import Any, Unpack

from registry.retrieval.filters import Filters, known_name
from registry.retrieval.given_values import read_filters
from registry.retrieval.terms import FilterOptions

# Fields of `Filters` that have several values where an option has one name for each.
FIELDS = {
    "family": "families",
    "author": "authors",
    "tag": "tags",
    "licence": "licences",
    "hub": "hubs",
    "trainer": "trainers",
}


def make_filters(**options: Unpack[FilterOptions]) -> Filters:
    """Return the filters that options ask for.

    Raises:
        FilterError: there is no such filter, a value cannot be read, or a range has nothing in it.
    """
    read = read_filters(options)
    asked: dict[str, Any] = {FIELDS.get(name, name): value for name, value in read.items()}
    names = asked.pop("base_model", ())
    return Filters(base_models=tuple(map(known_name, names)), **asked)
