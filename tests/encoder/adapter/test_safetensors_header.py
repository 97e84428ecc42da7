import contextlib
import io
import json
import os
import shlex
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from encoder.adapter.safetensors_header import (
    CONVERT,
    DTYPE_BYTES,
    Header,
    parse_header,
    read_header,
)
from encoder.errors import HeaderError, LoraFileError, NotSafetensorsError
from tests.encoder.builders import write_header


def parse(data: bytes) -> Header:
    return parse_header("file", io.BytesIO(data), len(data))


def frame(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(start: int, end: int, shape: list[Any] | None = None, dtype: Any = "U8") -> Any:
    return {
        "dtype": dtype,
        "shape": [end - start] if shape is None else shape,
        "data_offsets": [start, end],
    }


def test_a_real_header_is_read_as_the_library_reads_it() -> None:
    tensors = {"b": torch.ones(2, 3, dtype=torch.bfloat16), "a": torch.zeros(4)}
    header = parse(save(tensors, metadata={"key": "值"}))

    assert header.metadata == {"key": "值"}
    assert {k: (t.dtype, t.shape) for k, t in header.tensors.items()} == {
        "a": ("F32", (4,)),
        "b": ("BF16", (2, 3)),
    }


def test_a_header_as_long_as_a_pickles_magic_is_no_pickle() -> None:
    """640 is 80 02 in little-endian, what pickles of protocol 2 begin with."""
    text = json.dumps({"x": tensor(0, 1)}).encode().ljust(640)

    assert list(parse(frame(text, b"\0")).tensors) == ["x"]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"\x80\x02}q\x00." + bytes(100), "a pickle"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"<!DOCTYPE html><html>" + bytes(50), "web page"),
        (b"\n <HTML>" + bytes(50), "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG"),
        (b"GGUF" + bytes(50), "GGUF"),
        (b"some words, no header" + bytes(50), "no JSON"),
        (b'{"error":"Unauthorized","message":"log in"}', "a site answered .*Unauthorized"),
    ],
)
def test_other_formats_are_refused_by_name(data: bytes, cause: str) -> None:
    with pytest.raises(NotSafetensorsError, match=cause):
        parse(data)


TWICE = b'{"x": %b, "x": %b}' % ((json.dumps(tensor(0, 1)).encode(),) * 2)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "too few"),
        (bytes(9), "too few"),
        (bytes(500), "begins with zeros"),
        # As long as `{"` says.
        (struct.pack("<Q", 0x227B) + b"{}", "in a file of"),
        (struct.pack("<Q", 2**63) + b"{}", "at most"),
        (struct.pack("<Q", 50) + b"{}", "in a file of"),
        (frame(b"{ "), "not JSON"),
        (frame(b'{"x": NaN}'), "NaN"),
        (frame(b"{" + b'"a":[' * 5000 + b"]" * 5000 + b"}"), "not JSON"),
        (frame(b'{"a": "\\ud800"}'), "not JSON in UTF-8"),
        (frame(b'{"a": "\xff"}'), "not JSON in UTF-8"),
        (frame(TWICE, b"\0"), "names 'x' twice"),
        (frame({"__metadata__": {"a": 1}}), "map of strings"),
        (frame({"__metadata__": []}), "map of strings"),
        (frame({"x": 1}), "not described"),
        (frame({"x": {**tensor(0, 1), "more": 1}}, b"\0"), "not described"),
        (frame({"x": tensor(0, 1, dtype="F7")}, b"\0"), "unknown dtype 'F7'"),
        (frame({"x": tensor(0, 1, dtype=[])}, b"\0"), "unknown dtype"),
        (frame({"x": tensor(0, 1, shape=[-1])}, b"\0"), "has the shape"),
        (frame({"x": tensor(0, 1, shape=[True])}, b"\0"), "has the shape"),
        (frame({"x": tensor(0, 1, shape=[1.0])}, b"\0"), "has the shape"),
        (frame({"x": tensor(0, 1, shape=[1] * 9)}, b"\0"), "has the shape"),
        (frame({"x": tensor(0, 2, shape=[1])}, b"\0\0"), "does not fill"),
        (frame({"x": tensor(0, 1, shape=[2**62, 2**62])}, b"\0"), "does not fill"),
        (frame({"x": tensor(1, 2)}, b"\0\0"), "leaves a gap"),
        (frame({"x": tensor(0, 2), "y": tensor(1, 3)}, b"\0\0\0"), "overlaps"),
        (frame({"x": tensor(0, 1)}, b"\0\0"), "the file has 2"),
        (frame({"x": tensor(0, 2)}, b"\0"), "the file has 1"),
        (frame({"x" * 501: tensor(0, 1)}, b"\0"), "no name that a layer could have"),
        (frame({"a\x1b[2Jb": tensor(0, 1)}, b"\0"), "no name that a layer could have"),
        (frame({"a\u202eb": tensor(0, 1)}, b"\0"), "no name that a layer could have"),
        (frame(b"[" + b"1," * 300_000 + b"1]"), "no JSON where|values"),
        (frame(b'{"a":[' + b"1," * 300_000 + b"1]}"), "values"),
    ],
)
def test_a_header_that_lies_is_refused(data: bytes, cause: str) -> None:
    with pytest.raises(LoraFileError, match=cause):
        parse(data)


def test_a_file_that_is_not_there_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(HeaderError, match="No such file"):
        read_header(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("filling", [b'{"a":{}},', b'\\"', b'\\"\\\\"', b'"', b"["])
def test_a_hostile_header_takes_little_memory_and_time(filling: bytes) -> None:
    """Unfinished strings would make a naive pattern quadratic; brackets a parser's stack."""
    for opening in (b'{"a":"', b'{"a":'):
        data = frame(opening + filling * (9_000_000 // len(filling)))
        tracemalloc.start()
        with pytest.raises(HeaderError):
            parse(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100_000_000


def test_the_largest_header_of_wide_characters_takes_little_memory() -> None:
    """Python keeps four bytes for each character of a string that has an emoji in it."""
    comment = "x" * 9_000_000 + "\N{CAT FACE}"
    data = frame(json.dumps({"__metadata__": {"c": comment}}, ensure_ascii=False).encode())
    tracemalloc.start()
    parse(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 100_000_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
DESCRIPTION = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPE_BYTES, "F7"]),
        "shape": st.lists(st.integers(-1, 4), max_size=3),
        "data_offsets": st.lists(st.integers(-1, 20), min_size=1, max_size=3),
    }
)
HEADER = st.dictionaries(st.text(max_size=8), DESCRIPTION | JSON, max_size=3)


@given(HEADER.map(json.dumps).map(str.encode) | st.binary(max_size=80), st.binary(max_size=24))
@example(b'{"__metadata__": {}}', b"")
def test_whatever_the_header_it_is_refused_or_the_library_agrees(text: bytes, data: bytes) -> None:
    """Never another exception, and never looser than the library that reads the tensors."""
    framed = frame(text, data)
    try:
        header = parse(framed)
    except LoraFileError:
        return
    assert sum(t.end - t.start for t in header.tensors.values()) == len(data)
    assert_library_reads(framed, set(header.tensors))


@given(st.binary(max_size=120))
def test_any_bytes_are_refused_with_a_typed_error_or_read(data: bytes) -> None:
    with contextlib.suppress(LoraFileError):
        parse(data)


def assert_library_reads(framed: bytes, names: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(framed)
        try:
            with safe_open(path, framework="pt") as file:
                assert set(file.keys()) == names
        except SafetensorError as error:
            pytest.fail(f"believed here, refused by safetensors: {error}")


def test_write_header_writes_what_is_parsed(tmp_path: Path) -> None:
    path = write_header(tmp_path / "x", {"t": tensor(0, 3)}, b"abc")

    assert read_header(path).tensors["t"].end == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """As a shell gives what another program writes."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(HeaderError, match="is a pipe"):
        read_header(tmp_path / "pipe")


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_advised_command_converts_what_pickles_hold(tmp_path: Path, *, wrapped: bool) -> None:
    """Checkpoints keep their tensors under `state_dict`, beside what is none."""
    tensors = {"a": torch.ones(2)}
    torch.save({"state_dict": tensors, "epoch": 3} if wrapped else tensors, tmp_path / "OLD.pt")
    command = CONVERT.replace("python", shlex.quote(sys.executable), 1)

    subprocess.run(command, shell=True, cwd=tmp_path, check=True)

    assert list(load_file(tmp_path / "NEW.safetensors")) == ["a"]
