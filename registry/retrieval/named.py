"""The adapters that a picture names, found here: by hash, by Civitai's number, by the file's name.

A name says less than a hash: other adapters may bear it. So it counts only where nothing better
is told, or nothing here has it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Boolean, ColumnElement, literal_column, or_, select, union
from sqlalchemy.orm import Session

from crawler.file_names import is_generic
from registry.db.models import FILE_STEM, Adapter, File, Listing
from registry.retrieval.filters import Filters, conditions, lowered

if TYPE_CHECKING:
    from crawler.pictures.adapters import NamedAdapter

NamedBy = Literal["hash", "version", "name"]
# Adapters with one and the same name, or re-uploads of the same bytes.
MOST_EACH = 5
# How our exports end files' names: with the start of their hash.
EXPORTED = re.compile(r"-([0-9a-f]{8})$")
CIVITAI = "civitai"


@dataclass(frozen=True, slots=True)
class NamedMatch:
    """An adapter here that a picture names."""

    adapter_id: int
    named: "NamedAdapter"
    by: NamedBy


def find_named(
    session: Session, named: Sequence["NamedAdapter"], filters: Filters
) -> list[NamedMatch]:
    """Return the ready adapters that are named, in the order of their mention."""
    return [match for one in named for match in _find(session, one, filters)]


def _find(session: Session, named: "NamedAdapter", filters: Filters) -> list[NamedMatch]:
    exported = EXPORTED.search(named.stem)
    hashes = named.hashes or ((exported[1],) if exported else ())
    ways: dict[NamedBy, ColumnElement[bool] | None] = {
        "hash": or_(*map(_has_hash, hashes)) if hashes else None,
        "version": _is_version(named.version) if named.version else None,
        "name": _is_called(named) if named.name else None,
    }
    for by, condition in ways.items():
        if condition is None:
            continue
        ids = session.scalars(
            select(Listing.adapter_id)
            .where(condition, *conditions(filters))
            .order_by(Listing.downloads.desc(), Listing.adapter_id)
            .limit(MOST_EACH)
        ).all()
        if ids:
            return [NamedMatch(id_, named, by) for id_ in ids]
    return []


def _has_hash(hash_: str) -> ColumnElement[bool]:
    # Ranges, because LIKE would not use an index under most collations. The letter g comes behind
    # every digit of a hash.
    # One list of both: a condition OR another is looked up in no index.
    columns = (File.sha256, File.body_sha256)
    return Listing.file_sha256.in_(
        union(*(select(File.sha256).where(one >= hash_, one < hash_ + "g") for one in columns))
    )


def _is_version(version: str) -> ColumnElement[bool]:
    # The index is of what has a version.
    versioned = literal_column("version <> ''", Boolean)
    return Listing.adapter_id.in_(
        select(Adapter.id).where(Adapter.hub == CIVITAI, Adapter.version == version, versioned)
    )


def _is_called(named: "NamedAdapter") -> ColumnElement[bool]:
    """Whether a name is that of the adapter or of its file, in whichever case."""
    names = lowered([named.name, named.stem])
    by_name = select(Listing.adapter_id).where(Listing.name.in_(names))
    if is_generic(named.stem):
        return Listing.adapter_id.in_(by_name)
    by_file = select(Adapter.id).where(FILE_STEM.in_(lowered([named.stem])))
    return Listing.adapter_id.in_(union(by_name, by_file))
