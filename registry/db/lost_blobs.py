"""Files and covers of an origin that the blob store should have, and having lost ones again."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Select, any_, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Text

from registry.db.adapters import Origin, of_origin
from registry.db.drawn_covers import DrawnCover, forget_drawn
from registry.db.models import Adapter, Cover, File

# Rows that come at a time, so that memory does not grow with the index.
ROWS = 5_000


class KeptFile(NamedTuple):
    sha256: str
    size: int  # in bytes


class KeptCover(NamedTuple):
    adapter_id: int
    sha256: str
    thumbnail_sha256: str


def kept_files(session: Session, origin: Origin) -> Iterator[Sequence[KeptFile]]:
    """Yield the files that are kept of an origin's adapters, some at a time."""
    of_adapters = _alive(origin).with_only_columns(Adapter.file_sha256)
    query = select(File.sha256, File.size).where(
        File.state == "stored", File.sha256.in_(of_adapters)
    )
    rows = session.execute(query, execution_options={"yield_per": ROWS})
    for part in rows.partitions():
        yield [KeptFile(*row) for row in part]


def kept_covers(session: Session, origin: Origin) -> Iterator[Sequence[KeptCover]]:
    """Yield the covers that came with an origin's adapters, or were drawn for them."""
    for table in (Cover, DrawnCover):
        query = select(table.adapter_id, table.sha256, table.thumbnail_sha256).where(
            table.sha256.is_not(None), table.adapter_id.in_(_alive(origin))
        )
        rows = session.execute(query, execution_options={"yield_per": ROWS})
        for part in rows.partitions():
            yield [
                KeptCover(adapter_id, image, thumbnail)
                for adapter_id, image, thumbnail in part
                # Those of a cover that could not be drawn are none; the query leaves them out.
                if image is not None and thumbnail is not None
            ]


def _alive(origin: Origin) -> Select[int]:
    return select(Adapter.id).where(*of_origin(origin), Adapter.state.not_in(("gone", "refused")))


def want_files(session: Session, hashes: Collection[str]) -> None:
    """Have files fetched again. What was read of them stays, and is searched meanwhile."""
    lost = any_(literal(list(hashes), ARRAY(Text)))
    session.execute(update(File).where(File.sha256 == lost).values(state="wanted"))


def want_covers(session: Session, adapter_ids: Collection[int]) -> None:
    """Have the covers of adapters fetched again, and drawn again where they were drawn."""
    lost = any_(literal(list(adapter_ids), ARRAY(BigInteger)))
    session.execute(update(Adapter).where(Adapter.id == lost).values(covers_done=False))
    forget_drawn(session, adapter_ids)
