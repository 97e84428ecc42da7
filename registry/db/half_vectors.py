"""The type of columns that hold embeddings: pgvector's, written as bytes."""

from collections.abc import Callable
from typing import Any

from pgvector import HalfVector
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import Dialect


class HalfVec(HALFVEC):  # type: ignore[misc]  # pgvector.sqlalchemy has no types
    """pgvector's own writes every vector as text, which takes a third of a millisecond or more.

    How bytes are sent is said in registry/db/session.py.
    """

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], HalfVector | None]:
        return _as_half_vector


def _as_half_vector(value: Any) -> HalfVector | None:
    return value if value is None or isinstance(value, HalfVector) else HalfVector(value)
