"""The header of a safetensors file, checked strictly before anything in it is believed.

Format: u64 little-endian N, N bytes of JSON, data [1]. The checks are those of the Rust
library's `validate()`, plus limits on what an unknown author can make us allocate.

- [1] https://huggingface.co/docs/safetensors
"""

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn

from encoder.errors import HeaderError, NotSafetensorsError

# Trainers write some KB, with thumbnail and tag counts rarely over 1 MB. Parsing takes
# several times this; the limits together keep a hostile header below 100 MB (a test).
MAX_HEADER_BYTES = 10_000_000
# So many headers, no longer than this, are known again: checking one of 256 tensors takes as long
# as hashing 2 MB.
REMEMBERED, REMEMBERED_BYTES = 16, 200_000
# FLUX.1's 494 linear layers give 1,482 tensors with alphas.
MAX_TENSORS = 20_000
# The longest names of networks have some 150. Longer ones, and signs that act on a terminal,
# would go on into verdicts, logs and pages.
MAX_NAME_CHARACTERS = 500
# Tensors need eight; the rest is for tag counts, JSON in a string with every quote escaped.
MAX_QUOTES = 1_000_000
# Four structural characters a tensor is what the format needs; this bounds the memory
# that parsing takes, whatever is nested in the header.
MAX_STRUCTURE = 12 * MAX_TENSORS

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}

# What is looked at of a file that may be something else.
PEEKED_BYTES = 64
# What files that are not safetensors begin with.
DISGUISES = (
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"GGUF", "a GGUF file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"RIFF", "a RIFF container (WebP or the like)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF", "a PDF document"),
)
# PyTorch keeps them in zip archives.
PICKLE = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04")
CONVERT = (
    'python -c "import sys, torch; from safetensors.torch import save_file; '
    "t = torch.load(sys.argv[1], weights_only=True); t = t.get('state_dict', t); "
    "save_file({k: v.clone().contiguous() for k, v in t.items() if torch.is_tensor(v)}, "
    'sys.argv[2])" OLD.pt NEW.safetensors'
)
MARKUP = re.compile(rb"\s*<(!doctype|html|head|body|\?xml|error)", re.IGNORECASE)
# As Civitai answers who is not logged in: {"error":"Unauthorized"…
JSON_ANSWER = re.compile(rb'\s*\{\s*"[^\0]{5}')
# Possessive, with the closing quote optional: an unterminated string takes linear time too.
JSON_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)

# Said of a file that is shorter than it says.
AGAIN = "it was cut off; download or copy it again"

SURROGATE = re.compile(rb"\\u[dD]")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies, relative to the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says it holds; consistent with itself and with the file's size."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int


def read_header(path: Path) -> Header:
    """Read and check the header of a file on disk.

    Raises:
        NotSafetensorsError: the file is something else.
        HeaderError: the header is damaged or hostile.
    """
    try:
        # To open a pipe is to wait for who writes into it.
        if path.is_fifo():
            raise HeaderError(path, "is a pipe; save what comes from it as a file first")
        with path.open("rb") as file:
            size = path.stat().st_size
            return parse_header(path, file, size)
    except OSError as error:
        raise HeaderError(path, f"cannot be read: {error.strerror or error}") from error


def parse_header(name: str | Path, file: BinaryIO, size: int) -> Header:
    """Check the header at the start of `file`, whose whole length is `size` bytes.

    Reads no further than the header, so the start of a remote file is enough.
    """
    start = file.read(PEEKED_BYTES)
    # Any of these may also be the length of a sound header (80 02 is 640), so they
    # only name what has already failed to be one.
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
    if start[8:9] != b"{" or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise _explain(name, start, length, size)
    text = start[8 : 8 + length] + file.read(max(0, length - len(start) + 8))
    if len(text) != length:
        raise HeaderError(name, f"header is cut: {len(text)} of {length} bytes are there")
    check = _check_remembered if length <= REMEMBERED_BYTES else _check_text
    try:
        return check(text, size)
    except HeaderError as error:
        raise HeaderError(name, error.cause) from error.__cause__


def _check_text(text: bytes, size: int) -> Header:
    """Check the header of a file of `size` bytes; it is the same for files of the same layers."""
    name = ""
    entries = _parse_json(name, text)
    metadata = _check_metadata(name, entries.pop("__metadata__", None))
    if len(entries) > MAX_TENSORS:
        raise HeaderError(name, f"{len(entries)} tensors; at most {MAX_TENSORS} are read")
    tensors = {key: _check_tensor(name, key, entry) for key, entry in entries.items()}
    _check_layout(name, tensors, size - 8 - len(text))
    return Header(MappingProxyType(tensors), MappingProxyType(metadata), data_start=8 + len(text))


_check_remembered = lru_cache(maxsize=REMEMBERED)(_check_text)


def _explain(name: str | Path, start: bytes, length: int, size: int) -> Exception:
    for magic, what in DISGUISES:
        if start.startswith(magic):
            return NotSafetensorsError(name, f"is {what}; only safetensors are read")
    if PICKLE.match(start):
        return NotSafetensorsError(
            name,
            "is a pickle or a zip archive (PyTorch writes both): such files can run code, so it "
            f"was not read. Convert it to safetensors: {CONVERT}",
        )
    if MARKUP.match(start):
        return NotSafetensorsError(name, "is a web page, not a file of weights")
    if JSON_ANSWER.match(start):
        said = start.decode(errors="replace")
        return NotSafetensorsError(name, f"is what a site answered in place of it: {said!r} …")
    if len(start) == PEEKED_BYTES and not any(start):
        return HeaderError(name, "begins with zeros: its download broke off, or a disk lost it")
    if size < 10:
        return HeaderError(name, f"{size} bytes are too few for a safetensors file: {AGAIN}")
    if start[8:9] != b"{":
        return NotSafetensorsError(name, "is not safetensors: no JSON where its header should be")
    if length > MAX_HEADER_BYTES:
        return HeaderError(name, f"header of {length} bytes; at most {MAX_HEADER_BYTES} are read")
    return HeaderError(name, f"header of {length} bytes in a file of {size}: {AGAIN}")


def _parse_json(name: str | Path, text: bytes) -> dict[str, Any]:
    if text.count(b'"') > MAX_QUOTES:
        raise HeaderError(name, f"header has over {MAX_QUOTES} quotation marks")
    skeleton = JSON_STRING.sub(b"", text)
    if sum(skeleton.count(mark) for mark in (b",", b"{", b"[")) > MAX_STRUCTURE:
        raise HeaderError(name, f"header has over {MAX_STRUCTURE} values")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            double = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise HeaderError(name, f"header names {double[:100]!r} twice")
        return entries

    def refuse(constant: str) -> NoReturn:
        raise HeaderError(name, f"header holds {constant}, which is not JSON")

    try:
        entries = json.loads(text.decode(), object_pairs_hook=unique, parse_constant=refuse)
        if SURROGATE.search(text):
            # A lone one survives parsing and would fail later, in a database or a log.
            json.dumps(entries, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise HeaderError(name, f"header is not JSON in UTF-8: {error}") from error
    if not isinstance(entries, dict):
        raise HeaderError(name, "header is not a JSON object")
    return entries


def _check_metadata(name: str | Path, metadata: Any) -> dict[str, str]:
    if metadata is None:
        # `null` is none, as for the library.
        return {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise HeaderError(name, "header's __metadata__ is not a map of strings to strings")
    return metadata


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _check_tensor(name: str | Path, key: str, entry: Any) -> TensorInfo:
    shown = key[:100]
    if len(key) > MAX_NAME_CHARACTERS or not key.isprintable():
        raise HeaderError(name, f"tensor {shown!r} has no name that a layer could have")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise HeaderError(name, f"tensor {shown!r} is not described by dtype, shape, offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise HeaderError(name, f"tensor {shown!r} has the unknown dtype {str(dtype)[:30]!r}")
    if not isinstance(shape, list) or len(shape) > 8 or not all(map(_is_size, shape)):
        raise HeaderError(name, f"tensor {shown!r} has the shape {str(shape)[:60]}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise HeaderError(name, f"tensor {shown!r} has the offsets {str(offsets)[:60]}")
    start, end = offsets
    if end - start != math.prod(shape) * DTYPE_BYTES[dtype]:
        raise HeaderError(
            name, f"tensor {shown!r}: {dtype} {shape} does not fill bytes {start} to {end}"
        )
    return TensorInfo(dtype, tuple(shape), start, end)


def _check_layout(name: str | Path, tensors: dict[str, TensorInfo], data_bytes: int) -> None:
    position = 0
    for key, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            what = "overlaps the one before" if tensor.start < position else "leaves a gap"
            raise HeaderError(name, f"tensor {key[:100]!r} {what}, at byte {tensor.start}")
        position = tensor.end
    if position != data_bytes:
        said = f"header describes {position} bytes of data, the file has {data_bytes}"
        raise HeaderError(name, f"{said}: {AGAIN}" if position > data_bytes else said)
