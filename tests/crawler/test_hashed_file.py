"""A hash that goes with its file holds for as long as the file is the same."""

import hashlib
import os
from pathlib import Path

import pytest

from crawler.hashed_file import HashedFile


def test_a_file_that_changed_is_hashed_anew(tmp_path: Path) -> None:
    """Also where it is as long as before, and its time was set back."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    hashed, then = HashedFile.of(path), path.stat()

    path.write_bytes(b"after!")
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))

    assert hashed.sha256() == hashlib.sha256(b"after!").hexdigest()


def test_another_file_of_its_name_is_hashed_anew(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"before")
    other.write_bytes(b"after!")
    hashed = HashedFile.of(path)

    other.replace(path)

    assert hashed.sha256() == hashlib.sha256(b"after!").hexdigest()


def test_one_that_did_not_change_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    hashed = HashedFile.of(path)
    monkeypatch.delattr(hashlib, "file_digest")

    assert hashed.sha256() == hashlib.sha256(b"before").hexdigest()
