"""Fuzz everything that looks at a file: header, verdict, weights, fingerprint (needs atheris).

    python -m benchmarks.fuzz.seeds CORPUS
    python -m benchmarks.fuzz CORPUS -max_total_time=600 -rss_limit_mb=2500

A finding is any exception but LoraFileError, over 100 MB of memory for one file, or 10 s.
"""

import io
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["encoder"]):
    from encoder.adapter.lora_file import inspect, read, read_verdict
    from encoder.adapter.safetensors_header import parse_header
    from encoder.base_models.families import FAMILIES
    from encoder.errors import FingerprintError, LoraFileError
    from encoder.sketches.fingerprint import fingerprint

import torch

from benchmarks.fuzz.mutate import mutate
from benchmarks.memory import memory_bytes
from tests.encoder.dialects.networks import families

ALL = (*FAMILIES, *families())
MAX_BYTES = 100_000_000
FOLDER = Path(tempfile.mkdtemp(prefix="autolora-fuzz-"))


def read_all(data: bytes) -> None:
    """Do with a file all that the registry does before it is believed."""
    path = FOLDER / "adapter.safetensors"
    path.write_bytes(data)
    try:
        inspect(parse_header(path, io.BytesIO(data), len(data)), path, ALL)
    except LoraFileError:
        # What the header alone refuses, reading refuses as well.
        try:
            read(path, ALL)
        except LoraFileError:
            return
        raise AssertionError("read what its header was refused for") from None
    try:
        weights = read(path, ALL)
    except LoraFileError:
        # Numbers alone may be the reason: then there is a verdict, or the same refusal.
        with suppress(LoraFileError):
            assert not read_verdict(path, ALL).loadable
        return
    with suppress(FingerprintError):
        fingerprint(weights)


def test_one_input(data: bytes) -> None:
    before = memory_bytes("VmRSS")
    # Lets the peak start anew.
    Path("/proc/self/clear_refs").write_text("5")
    read_all(data)
    if (used := memory_bytes("VmHWM") - before) > MAX_BYTES:
        raise AssertionError(f"a file of {len(data)} bytes took {used} bytes of memory")


def custom_mutator(data: bytes, max_size: int, seed: int) -> bytes:
    return mutate(data, max_size, seed, atheris.Mutate)[:max_size]


if __name__ == "__main__":
    torch.set_num_threads(1)
    atheris.Setup([*sys.argv, "-timeout=10", "-max_len=300000"], test_one_input,
                  custom_mutator=custom_mutator)  # fmt: skip
    atheris.Fuzz()
