"""A file of ours and its sha256, so that whoever is handed it need not read it again."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# What says which file it is, and changes with whatever is written to it.
_Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file whose bytes this process has hashed, and how the file was then.

    The hash is to be had by `sha256` only, which takes it anew where the file has changed since.
    """

    path: Path
    _sha256: str
    _stamp: _Stamp

    @classmethod
    def of(cls, path: Path) -> Self:
        """Hash a file."""
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            return cls(path, sha256, stamp(os.fstat(stream.fileno())))

    def sha256(self) -> str:
        """Return the sha256 of the file as it is now, in hex."""
        if stamp(self.path.stat()) == self._stamp:
            return self._sha256
        return self.of(self.path)._sha256


def stamp(facts: os.stat_result) -> _Stamp:
    """Return by what a file is known to be as it was."""
    return (
        facts.st_dev,
        facts.st_ino,
        facts.st_size,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
    )


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hex, reading it piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
