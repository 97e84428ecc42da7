import hashlib
import json
from pathlib import Path

import pytest

from encoder.adapter.file_hashes import CHUNK_BYTES, hash_adapter
from encoder.errors import LoraFileError
from tests.encoder.builders import write_header

SIZE = 2 * CHUNK_BYTES + 5
DATA = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)


def write(path: Path, metadata: dict[str, str]) -> Path:
    tensor = {"dtype": "U8", "shape": [SIZE], "data_offsets": [0, SIZE]}
    return write_header(path, {"__metadata__": metadata, "x": tensor}, DATA)


def test_hashes_are_those_of_the_file_and_of_its_body(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {})

    hashes = hash_adapter(path)

    assert hashes.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashes.body_sha256 == hashlib.sha256(DATA).hexdigest()
    assert hashes.autov2 == hashes.sha256[:10].upper()
    assert hashes.autov3 == hashes.body_sha256[:12].upper()


def test_the_body_hash_survives_an_edit_of_the_metadata(tmp_path: Path) -> None:
    one = hash_adapter(write(tmp_path / "a.safetensors", {}))
    other = hash_adapter(write(tmp_path / "b.safetensors", {"title": "A cat"}))

    assert one.sha256 != other.sha256
    assert one.body_sha256 == other.body_sha256


def test_what_is_no_safetensors_has_no_body_to_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(json.dumps({}).encode() * 100)

    with pytest.raises(LoraFileError, match=r"a\.safetensors"):
        hash_adapter(path)
