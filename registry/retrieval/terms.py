"""The words of questions and answers: which there are of each kind.

Imports nothing, for who only asks a registry elsewhere needs them too.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal, TypedDict, get_args

State = Literal["listed", "ready", "refused", "gone"]
STATES: tuple[State, ...] = get_args(State)

Sort = Literal["name", "newest", "updated", "downloads", "size", "rank", "random"]
SORTS: tuple[Sort, ...] = get_args(Sort)
FoundSort = Literal["relevance", Sort]
FOUND_SORTS: tuple[FoundSort, ...] = ("relevance", *SORTS)

# What a person may see of adapters whose pictures are mature.
Maturity = Literal["any", "hide", "only"]
MATURITIES: tuple[Maturity, ...] = get_args(Maturity)

FacetName = Literal[
    "base_model", "family", "author", "tag", "licence", "commercial", "hub", "trainer",
    "rank", "size", "trigger_words", "fusable", "mature",
]  # fmt: skip
FACETS: tuple[FacetName, ...] = get_args(FacetName)

# The long lists of a verdict, whose counts say enough.
VERDICT_LISTS = ("layer_names", "missing_names", "spectrum")

# What speaks for an adapter, and what is said of it by the probability that comes of that.
Signal = Literal["weights", "captions", "words"]
SIMILARITIES: tuple[Signal, ...] = ("weights", "captions")
SIGNALS: tuple[Signal, ...] = get_args(Signal)
Band = Literal["fits", "perhaps", "probably not"]

# What told likeness, where adapters were given.
Compared = Literal["weights", "captions", "fingerprints"]
# The active weight encoder; fingerprints, where there is none or it has not seen the file; or
# nothing, where the file has neither.
ComparedBy = Literal["encoder", "fingerprints", "nothing"]

# The same bytes; the same tensors under another header; the same change of the base, written
# otherwise (cast, re-factorised, renamed); that change at another strength (the same tensors with
# another alpha, wherever that is written); nearly that change (truncated, trained on a little).
DuplicateKind = Literal["file", "tensors", "change", "strength", "near"]
KINDS: tuple[DuplicateKind, ...] = get_args(DuplicateKind)

# By hash, Civitai's number of a version, or the name of a file, as the picture says itself; by
# a cover that is this picture, or nearly; by covers that the image encoder finds alike; by what a
# vision model says of the picture.
Way = Literal["hash", "version", "cover", "name", "near cover", "image", "description"]
WAYS: tuple[Way, ...] = get_args(Way)

# Some 1,500 ids; addresses of 8 kB pass every proxy.
LONGEST_CURSOR = 6000


class FilterOptions(TypedDict, total=False):
    """What may be asked for; what is left out asks for nothing. `Filters` says what each means."""

    base_model: str | Sequence[str]
    family: str | Sequence[str]
    author: str | Sequence[str]
    tag: str | Sequence[str]
    licence: str | Sequence[str]
    commercial: bool | None
    hub: str | Sequence[str]
    trainer: str | Sequence[str]
    min_rank: int | None
    max_rank: int | None
    min_size: int | str | None
    max_size: int | str | None
    updated_since: datetime | date | str | None
    updated_before: datetime | date | str | None
    trigger_words: bool | None
    fusable: bool | None
    favourite: bool | None
    mature: Maturity
