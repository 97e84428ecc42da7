import os
from pathlib import Path

import pytest

from encoder.errors import LoraFileError, SketchError
from encoder.sketches.sketch import sketch_file
from encoder.sketches.sketch_folder import kept_sketch, sketch_path
from tests.encoder.builders import make_factors, write_adapter


def test_a_kept_sketch_stands_in_for_the_file(tmp_path: Path) -> None:
    """Nobody keeps 15 TB of adapters to train an encoder again."""
    adapter = write_adapter(tmp_path / "a.safetensors")
    made = kept_sketch(adapter, tmp_path / "sketches")
    adapter.unlink()

    assert kept_sketch(adapter, tmp_path / "sketches").to_bytes() == made.to_bytes()
    with pytest.raises(LoraFileError):
        kept_sketch(tmp_path / "b.safetensors", tmp_path / "sketches")


def test_namesakes_of_other_folders_keep_their_own(tmp_path: Path) -> None:
    adapters = [tmp_path / name / "a.safetensors" for name in ("x", "y")]
    for seed, path in enumerate(adapters):
        path.parent.mkdir()
        write_adapter(path, make_factors(seed))

    first, second = (kept_sketch(path, tmp_path) for path in adapters)

    assert first.to_bytes() != second.to_bytes()


def test_a_damaged_sketch_is_named(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a.safetensors")
    sketch_path(adapter, tmp_path).write_bytes(b"half")

    with pytest.raises(SketchError, match=r"a-.*\.sketch: .*; delete it"):
        kept_sketch(adapter, tmp_path)


def test_a_file_that_was_written_since_is_sketched_again(tmp_path: Path) -> None:
    """A run that trains on goes to the same path, and must not be taken for what was there."""
    adapter = write_adapter(tmp_path / "a.safetensors", make_factors(1))
    folder = tmp_path / "sketches"
    before = kept_sketch(adapter, folder).to_bytes()
    write_adapter(adapter, make_factors(2))
    made = sketch_path(adapter, folder).stat()
    os.utime(adapter, ns=(made.st_mtime_ns + 1, made.st_mtime_ns + 1))

    again = kept_sketch(adapter, folder).to_bytes()

    assert again != before
    assert again == sketch_file(adapter).to_bytes()
