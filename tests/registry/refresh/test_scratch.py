"""Folders to work in go when their processes do, one way or another."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registry.errors import DiskFullError
from registry.refresh.scratch import scratch_folder, take_room

# Leaves a folder with a file in it behind.
KILLED = """
import os, signal, sys
from pathlib import Path
from registry.refresh.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), "learning-") as folder:
    (folder / "sketches").write_bytes(b"much")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_that_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    [left] = tmp_path.iterdir()

    with scratch_folder(tmp_path, "learning-") as folder:
        assert list(tmp_path.iterdir()) == [folder]

    assert folder != left
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, "learning-") as one, scratch_folder(tmp_path, "learning-"):
        assert one.is_dir()


def test_room_is_taken_before_it_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_room(tmp_path / "roomy", 100_000)
    assert (tmp_path / "roomy").stat().st_size == 100_000
    assert (tmp_path / "roomy").stat().st_blocks * 512 >= 100_000

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFullError, match=r"no space left on the disk of .*narrow"):
        take_room(tmp_path / "narrow", 100_000)
