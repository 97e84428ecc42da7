"""Write the files that fuzzing starts from: one of every dialect and kind, and broken ones.

python -m benchmarks.fuzz.seeds FOLDER
"""

import argparse
import struct
import tempfile
from pathlib import Path

from tests.encoder.builders import make_factors, write_adapter
from tests.encoder.dialects.cases import CASES

# Files of other formats, and headers that lie.
BROKEN = {
    "empty": b"",
    "pickle": b"\x80\x02}q\x00.",
    "zip": b"PK\x03\x04" + bytes(30),
    "page": b"<!doctype html><html></html>",
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "no-tensors": struct.pack("<Q", 2) + b"{}",
    "endless": struct.pack("<Q", 2**63) + b"{}",
    "cut": struct.pack("<Q", 100) + b'{"a":',
}


# Larger ones only slow the fuzzer down.
MAX_BYTES = 60_000


def write_seeds(folder: Path) -> int:
    """Write the corpus; returns the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in BROKEN.items():
        (folder / name).write_bytes(data)
    write_adapter(folder / "tiny", make_factors(rank=1))
    with tempfile.TemporaryDirectory() as work:
        for index, case in enumerate(CASES):
            path, _ = case.save(Path(work))
            if path.stat().st_size <= MAX_BYTES:
                path.replace(folder / f"case-{index:02d}")
    return len(list(folder.iterdir()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(f"{write_seeds(parser.parse_args().folder)} files written")
