"""JSON from a hub: bounded before, while and after it is decoded."""

import json
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crawler.errors import SourceError

if TYPE_CHECKING:
    import httpx

# A page of the listing is some 2 MB, with every README in it.
MAX_JSON_BYTES = 16 * 2**20
# A page has some 50 x 100 fields. The smallest values take 3 bytes here and 64 in memory.
MAX_VALUES = 500_000
# A MuseInfo has 6 levels; what is deeper breaks functions that walk it.
MAX_DEPTH = 32
# What a compressed answer becomes at once, at most.
PIECE_BYTES = 2**16


def pieces(response: "httpx.Response", where: str) -> Iterator[bytes]:
    """Yield what an answer says, which may be gzip, in small pieces.

    httpx would undo all codings of what came at once: some KB of gzip in gzip are gigabytes.

    Raises:
        SourceError: it has another coding, or a broken one.
    """
    coding = response.headers.get("Content-Encoding", "identity").lower()
    if coding not in ("identity", "gzip"):
        raise SourceError(f"{where} answered in a coding that was not asked for")
    if coding == "gzip":
        yield from unpacked(response.iter_raw(), where)
    else:
        yield from response.iter_bytes()


def unpacked(chunks: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Yield what a gzip body holds, in small pieces: a KB of it can be a MB.

    Raises:
        SourceError: it is broken, or was cut.
    """
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            while chunk and not unpacker.eof:
                yield unpacker.decompress(chunk, PIECE_BYTES)
                chunk = unpacker.unconsumed_tail
            if unpacker.eof:
                return
    except zlib.error as error:
        raise SourceError(f"{where} answered broken gzip") from error
    raise SourceError(f"{where} cut its compressed answer off", retryable=True)


def read_answer(data: bytes, where: str) -> Any:
    """Return what an answer of a hub says; `where` names the hub in errors.

    Raises:
        SourceError: it is too large, too deep, or no JSON.
    """
    if len(data) > MAX_JSON_BYTES:
        raise SourceError(f"{where} answered more than {MAX_JSON_BYTES} bytes of JSON")
    # Also counts what stands in texts, which is few beside the limit.
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise SourceError(f"{where} answered more than {MAX_VALUES} values")
    try:
        decoded = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where} answered something that is not JSON") from error
    if _is_deep(decoded):
        raise SourceError(f"{where} answered JSON nested more than {MAX_DEPTH} levels deep")
    return decoded


def read_json(value: Any) -> Any:
    """Return what a JSON string inside an answer holds; anything else as it is.

    A string that is broken, or as deep as no answer may be, is None.
    """
    if not isinstance(value, str):
        return value
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return None if _is_deep(decoded) else decoded


def as_dict(value: Any) -> dict[str, Any]:
    """Return an object's fields, none where it is no object."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_number(value: Any) -> float | None:
    """Return a number, also one that is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def as_count(value: Any) -> int:
    """Return a number within a PostgreSQL integer, whatever a hub says."""
    return min(max(value, 0), 2**31 - 1) if isinstance(value, int) else 0


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
