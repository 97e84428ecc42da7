"""The adapters that a question points to: by an address on a hub, by a hash, by a file's name.

Nothing is asked where a question has nothing of the kind. What is not here points to nothing: the
question is then taken for words.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from registry.db.models import FILE_STEM
from registry.retrieval.filters import Filters
from registry.retrieval.statements import UNFILTERED, ask, filter_sql, prepare
from registry.text.pointers import (
    CIVITAI,
    FilePointer,
    HashPointer,
    PagePointer,
    Pointer,
    read_pointers,
    without_spans,
)
from registry.text.request_frames import what_is_asked, words_asked
from registry.text.word_segmentation import SAID_OF_ALL

# The adapters of one page, or with one and the same file.
MOST_EACH = 50
# What is said of what is pointed to, and says nothing of what it is like.
_POINTING = frozenset((
    "similar", "same", "more", "anything", "look", "style", "thank", "thx",
    "类似", "相似", "一样", "差不多", "同款", "求", "这种", "那种", "风格", "谢谢",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pointed:
    """The adapters that a question points to, and what to rank the others by.

    That is the rest of the question; where it says nothing else, the name of what was found.
    """

    ids: Sequence[int]
    rest: str


# For each kind of pointer: what leads from the values that are asked to adapters, by an index of
# each. Hashes by ranges, because LIKE would not use an index under most collations; the letter g
# comes behind every digit of a hash. The limits inside are for PostgreSQL, which takes a range that
# it does not know for thousands of files.
_IN_ORDER = f"ORDER BY listings.downloads DESC, listings.adapter_id LIMIT {MOST_EACH}"
_FROM_HASHES = f"""
    unnest(%(digits)s::text[]) WITH ORDINALITY AS asked (digits, place) CROSS JOIN LATERAL (
        SELECT listings.* FROM (
            (
                SELECT sha256 AS file_sha256 FROM files
                WHERE sha256 >= asked.digits AND sha256 < asked.digits || 'g'
                ORDER BY sha256 LIMIT {MOST_EACH}
            ) UNION (
                SELECT sha256 FROM files
                WHERE body_sha256 >= asked.digits AND body_sha256 < asked.digits || 'g'
                ORDER BY body_sha256 LIMIT {MOST_EACH}
            )
        ) AS held JOIN listings USING (file_sha256)
        WHERE {{condition}} {_IN_ORDER}
    ) AS found
"""
_FROM_FILES = f"""
    unnest(%(stems)s::text[]) WITH ORDINALITY AS asked (stem, place) CROSS JOIN LATERAL (
        SELECT listings.* FROM adapters JOIN listings ON listings.adapter_id = adapters.id
        WHERE {FILE_STEM} = asked.stem AND {{condition}} {_IN_ORDER}
    ) AS found
"""
_FROM_VERSIONS = f"""
    unnest(%(versions)s::text[]) WITH ORDINALITY AS asked (version, place) CROSS JOIN LATERAL (
        SELECT listings.* FROM adapters JOIN listings ON listings.adapter_id = adapters.id
        WHERE adapters.hub = '{CIVITAI}' AND adapters.version = asked.version
            AND adapters.version <> '' AND {{condition}} {_IN_ORDER}
    ) AS found
"""
# An address leads to what a hub has, whichever of its sites it was listed from. The index of
# repositories begins with both: they are few, and found by jumping from one to the next.
_SITES = """
    WITH RECURSIVE sites (hub, endpoint) AS (
        (SELECT hub, endpoint FROM adapters ORDER BY hub, endpoint LIMIT 1)
        UNION ALL SELECT following.hub, following.endpoint FROM sites CROSS JOIN LATERAL (
            SELECT hub, endpoint FROM adapters
            WHERE (adapters.hub, adapters.endpoint) > (sites.hub, sites.endpoint)
            ORDER BY hub, endpoint LIMIT 1
        ) AS following
    )
"""
_FROM_PAGES = f"""
    unnest(%(hubs)s::text[], %(repos)s::text[], %(versions)s::text[], %(files)s::text[])
        WITH ORDINALITY AS asked (hub, repo, version, file_name, place)
    CROSS JOIN LATERAL (
        SELECT listings.*
        FROM sites
            JOIN adapters ON adapters.hub = sites.hub AND adapters.endpoint = sites.endpoint
            JOIN listings ON listings.adapter_id = adapters.id
        WHERE asked.hub IN ('', sites.hub) AND adapters.repo = asked.repo
            AND asked.version IN ('', adapters.version)
            AND asked.file_name IN ('', adapters.file_name) AND {{condition}} {_IN_ORDER}
    ) AS found
"""


def find_pointed(session: Session, text: str, *, filters: Filters) -> Pointed | None:
    """Return the adapters that a text points to among what filters leave; None if to none."""
    pointers = read_pointers(text)
    if not pointers:
        return None
    condition, values = filter_sql(filters)
    prepare(session, anew=condition != UNFILTERED)
    found = _look_up(session, pointers, condition, values)
    spans: list[tuple[int, int]] = []
    names: dict[int, str] = {}
    for pointer in pointers:
        # Of what is said of one part of the text, the first that is here is meant.
        overlaps = any(pointer.span[0] < end and start < pointer.span[1] for start, end in spans)
        if overlaps or pointer not in found:
            continue
        spans.append(pointer.span)
        names |= found[pointer]
    if not names:
        return None
    rest = without_spans(text, spans)
    return Pointed(list(names), rest if _says_more(rest) else next(iter(names.values())))


def _says_more(rest: str) -> bool:
    """Whether the rest of a question says what to rank others by: `something like …` does not."""
    words = words_asked(what_is_asked(rest))
    return any(word.weight == 1.0 and word.text not in _POINTING | SAID_OF_ALL for word in words)


def _look_up(
    session: Session, pointers: Sequence[Pointer], condition: str, values: Mapping[str, Any]
) -> Mapping[Pointer, Mapping[int, str]]:
    """Return what each points to, with its name, where listings meet a condition."""
    asked = [
        (some, ask(session, _statement(source, condition), {**values, **wanted}))
        for some, source, wanted in _questions(pointers)
    ]
    found: dict[Pointer, dict[int, str]] = {}
    for some, answer in asked:
        for row in answer():
            found.setdefault(some[row.place - 1], {})[row.id] = row.name
    return found


def _questions(
    pointers: Sequence[Pointer],
) -> Iterator[tuple[Sequence[Pointer], str, Mapping[str, Collection[str]]]]:
    """Yield all pointers of each kind with where they are looked up, and what is asked there."""
    pages = [one for one in pointers if isinstance(one, PagePointer) and one.repo]
    if pages:
        wanted = {
            "hubs": [page.hub for page in pages],
            "repos": [page.repo for page in pages],
            "versions": [page.version for page in pages],
            "files": [page.file_name for page in pages],
        }
        yield pages, _FROM_PAGES, wanted
    versions = [one for one in pointers if isinstance(one, PagePointer) and not one.repo]
    if versions:
        yield versions, _FROM_VERSIONS, {"versions": [one.version for one in versions]}
    hashes = [one for one in pointers if isinstance(one, HashPointer)]
    if hashes:
        yield hashes, _FROM_HASHES, {"digits": [one.digits for one in hashes]}
    files = [one for one in pointers if isinstance(one, FilePointer)]
    if files:
        yield files, _FROM_FILES, {"stems": [one.stem for one in files]}


def _statement(source: str, condition: str) -> str:
    sites = _SITES if source is _FROM_PAGES else ""
    return f"""{sites}
        SELECT asked.place, adapters.id, adapters.name
        FROM {source.format(condition=condition)}
            JOIN adapters ON adapters.id = found.adapter_id
        ORDER BY asked.place, found.downloads DESC, found.adapter_id
    """
