"""Values of questions as people give them, read the same way wherever they are answered.

`registry.Client` reads them before it sends them, `LocalReader` before it answers, so that both
refuse the same in the same words. This loads no database.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from numbers import Integral
from typing import Any, Self, TypeVar, cast, get_args

from registry.faults import shown
from registry.retrieval.errors import FilterError, LikenessError, QueryTooLongError
from registry.retrieval.terms import FOUND_SORTS, FilterOptions, FoundSort, Maturity

# A whole book is a mistake; what a page of one describes is still asked for.
MOST_CHARACTERS = 10_000
# Of what was found, and of a list of all.
MOST_FOUND_PAGE, MOST_PAGE = 100, 200
MOST_SEED = 2**32 - 1
# Programs that read JSON know greater numbers no longer exactly.
MOST_ID = 2**53 - 1
# Adapters that are fused in one image.
MOST_CHOSEN = 5
# Adapters that results should be like, or unlike: more on one side say nothing that their mean
# does not say.
MOST_LIKES = 10
# Of one filter.
MOST_VALUES, MOST_VALUE_LETTERS = 20, 200

# Sizes as hubs and the page show them: thousands, not powers of two.
UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SIZE = re.compile(r"\s*(\d{1,19}(?:\.\d{1,6})?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)
LARGEST = 2**63 - 1
HIGHEST_RANK = 2**31 - 1
YES_NO = {"true": True, "false": False}

Chosen = TypeVar("Chosen", bound=str)


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list, in which order; `seed` is of the random one."""

    limit: int = 10
    cursor: str | None = None
    sort: FoundSort = "relevance"
    seed: int = 0

    @classmethod
    def read(
        cls,
        limit: object,
        cursor: object,
        sort: FoundSort = "relevance",
        seed: object = 0,
        *,
        most: int = MOST_FOUND_PAGE,
        sorts: Sequence[FoundSort] = FOUND_SORTS,
    ) -> Self:
        """Return what is asked for, of lists with pages of `most` at most.

        Raises:
            FilterError: a value is none that can be asked for.
        """
        return cls(
            read_whole("limit", limit, 1, most),
            read_text("cursor", cursor) or None,
            check_choice("sort", sort, sorts),
            read_whole("seed", seed, 0, MOST_SEED),
        )

    def checked(self) -> Self:
        """Return it with its sort as we write it; see FilterError."""
        paging = replace(self, sort=check_choice("sort", self.sort, FOUND_SORTS))
        check_limit(self.limit)
        return paging


@dataclass(frozen=True, slots=True)
class Likes:
    """What results should be like, and unlike: adapters by their ids, and a text."""

    like: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()
    unlike_text: str = ""

    @classmethod
    def read(cls, like: object, unlike: object, unlike_text: object) -> Self:
        """Return what is asked for; see FilterError and QueryTooLongError."""
        text = read_question("unlike_text", unlike_text)
        return cls(read_ids("like", like), read_ids("unlike", unlike), text)

    def __bool__(self) -> bool:
        return bool(self.like or self.unlike or self.unlike_text)

    @property
    def ids(self) -> tuple[int, ...]:
        return (*self.like, *self.unlike)

    def check(self, text: str) -> None:
        """Raises:
        LikenessError: this cannot be asked; says why.
        """
        for side, ids in (("like", self.like), ("unlike", self.unlike)):
            if len(ids) > MOST_LIKES:
                raise LikenessError(
                    f"{len(ids)} adapters are given as {side!r}; {MOST_LIKES} may be"
                )
        both = sorted(set(self.like) & set(self.unlike))
        if both:
            raise LikenessError(f"adapter {both[0]} is given both as 'like' and as 'unlike'")
        if not text and not self.like:
            raise LikenessError("all of it is what results should be unlike, nothing what like")


def read_filters(options: Mapping[str, Any]) -> FilterOptions:
    """Return the filters that ask for something, each value as `Filters` has it.

    Raises:
        FilterError: there is no such filter, a value cannot be read, or a range has nothing in it.
    """
    for name in options.keys() - FilterOptions.__annotations__.keys():
        known = ", ".join(FilterOptions.__annotations__)
        raise FilterError(f"there is no filter {name}; there are {known}.")
    asked: dict[str, Any] = {}
    for name, value in options.items():
        read = _READ[name](name, value)
        if read not in (None, ()):
            asked[name] = read
    for what in ("rank", "size"):
        _check_range(asked, f"min_{what}", f"max_{what}")
    _check_range(asked, "updated_since", "updated_before")
    return cast(FilterOptions, asked)


def read_text(name: str, value: object) -> str:
    """Return a text, which None leaves empty.

    Raises:
        FilterError: it is no text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FilterError(f"{name} is {shown(value)}; give a text.", name)
    return value


def read_question(name: str, value: object) -> str:
    """Return a text to search for; see QueryTooLongError."""
    text = read_text(name, value)
    check_length(text)
    return text


def check_length(text: str) -> None:
    """Raises:
    QueryTooLongError: it is longer than what is searched for.
    """
    if len(text) > MOST_CHARACTERS:
        raise QueryTooLongError(len(text), MOST_CHARACTERS)


def read_whole(name: str, value: object, least: int, most: int) -> int:
    """Return a whole number that is neither too small nor too large.

    Raises:
        FilterError: it is none.
    """
    if not _is_whole(value):
        raise FilterError(f"{name} is {shown(value)}; write a whole number.", name)
    number = int(cast(int, value))
    if number < least:
        raise FilterError(f"{name} is {number}; it is {least} at least.", name)
    if number > most:
        raise FilterError(f"{name} is {number}; it is {most} at most.", name)
    return number


def read_ids(name: str, value: object) -> tuple[int, ...]:
    """Return ids of adapters, of which one may stand alone.

    Raises:
        FilterError: some are none.
    """
    given = (value,) if _is_whole(value) else () if value is None else value
    # A text goes letter by letter, and a mapping by its keys: neither was meant.
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise FilterError(
            f"{name} is {shown(value)}; give an adapter's id, or several in a list.", name
        )
    return tuple(read_whole(name, id_, 1, MOST_ID) for id_ in given)


def read_id(value: object) -> int:
    """Return an adapter's id; see FilterError."""
    return read_whole("adapter_id", value, 1, MOST_ID)


def read_size(name: str, value: int | str | None) -> int | None:
    """Return a size in bytes: 200000000, "200MB", "1.5 GB"; units are of a thousand.

    Raises:
        FilterError: it is no size.
    """
    if value is None:
        return None
    if _is_whole(value) and 0 <= cast(int, value) <= LARGEST:
        return int(cast(int, value))
    read = SIZE.fullmatch(value) if isinstance(value, str) else None
    size = LARGEST + 1
    if read:
        # As a float a large number would not be exact.
        number = float(read[1]) if "." in read[1] else int(read[1])
        size = round(number * UNITS[read[2].lower()])
    if size > LARGEST:
        raise FilterError(f"{name} is {shown(value)}; write a size, like 200MB or 1.5GB.", name)
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
        said = f"{name} is {shown(value)}; write a day, like 2026-01-31."
        raise FilterError(said, name) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def check_choice(name: str, value: str, known: Sequence[Chosen]) -> Chosen:
    """Return which of those known a value is, without regard to case.

    Raises:
        FilterError: it is none of them.
    """
    for one in known:
        if one == str(value).strip().lower():
            return one
    raise FilterError(f"{name} is {shown(value)}; it is one of {', '.join(map(str, known))}.", name)


def check_limit(limit: int) -> None:
    """Raises:
    FilterError: no page has so many.
    """
    if limit < 1:
        raise FilterError(f"limit is {limit}; it is 1 at least.")


def _read_rank(name: str, value: object) -> int | None:
    if value is None:
        return None
    if not (_is_whole(value) and 1 <= cast(int, value) <= HIGHEST_RANK):
        raise FilterError(f"{name} is {shown(value)}; write a whole number, like 16.", name)
    return int(cast(int, value))


def _read_yes_no(name: str, value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    # As the page and HTTP write it.
    read = YES_NO.get(value.strip().lower()) if isinstance(value, str) else None
    if read is None:
        raise FilterError(f"{name} is {shown(value)}; it is true or false.", name)
    return read


def _read_several(name: str, value: object) -> tuple[str, ...]:
    given = (value,) if isinstance(value, str) else () if value is None else value
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise FilterError(f"{name} is {shown(value)}; give a text, or several in a list.", name)
    texts = tuple(given)
    if len(texts) > MOST_VALUES:
        raise FilterError(f"{name} has {len(texts)} values; it has {MOST_VALUES} at most.", name)
    for text in texts:
        if not isinstance(text, str):
            raise FilterError(f"{name} is {shown(text)}; give a text.", name)
        if len(text) > MOST_VALUE_LETTERS:
            said = f"{len(text):,} characters; it has {MOST_VALUE_LETTERS} at most"
            raise FilterError(f"{name} has {said}.", name)
    return texts


def _read_maturity(name: str, value: Any) -> Maturity | None:
    return None if value is None else check_choice(name, value, get_args(Maturity))


def _is_whole(value: object) -> bool:
    """Whether it is a number without a fraction, NumPy's too; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


_READ: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(
        ("base_model", "family", "author", "tag", "licence", "hub", "trainer"), _read_several
    ),
    **dict.fromkeys(("commercial", "trigger_words", "fusable", "favourite"), _read_yes_no),
    **dict.fromkeys(("min_rank", "max_rank"), _read_rank),
    **dict.fromkeys(("min_size", "max_size"), read_size),
    **dict.fromkeys(("updated_since", "updated_before"), read_moment),
    "mature": _read_maturity,
}


def _check_range(asked: Mapping[str, Any], low: str, high: str) -> None:
    least, most = asked.get(low), asked.get(high)
    if least is not None and most is not None and least > most:
        said = f"{low} is {_shown_bound(least)} and {high} is {_shown_bound(most)}"
        raise FilterError(f"{said}: nothing is both.", low, high)


def _shown_bound(bound: int | datetime) -> str:
    """Return a bound as people write it: mostly a moment is a day."""
    if isinstance(bound, datetime) and bound.time() == time():
        return f"{bound:%Y-%m-%d}"
    return str(bound)
