"""The file that a running server leaves in its home."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from registry.running import FILE, RunningServer, announced, find_server


def a_server(pid: int, instance: str = "one") -> RunningServer:
    return RunningServer(url="http://127.0.0.1:1", pid=pid, instance=instance, token="secret")


@pytest.fixture
def alive() -> int:
    return os.getpid()


def test_a_server_is_found_while_it_runs_and_only_by_its_owner(tmp_path: Path, alive: int) -> None:
    home = tmp_path / "made"
    with announced(home, a_server(alive)):
        assert find_server(home) == a_server(alive)
        assert stat.S_IMODE((home / FILE).stat().st_mode) == 0o600
        assert [path.name for path in home.iterdir()] == [FILE]

    assert find_server(home) is None
    assert list(home.iterdir()) == []


def test_of_two_servers_the_last_counts_and_stays(tmp_path: Path, alive: int) -> None:
    with announced(tmp_path, a_server(alive, "last")):
        with announced(tmp_path, a_server(alive, "other")):
            assert find_server(tmp_path) == a_server(alive, "other")
        assert find_server(tmp_path) is None
    first = announced(tmp_path, a_server(alive, "first"))
    with first, announced(tmp_path, a_server(alive, "second")):
        assert find_server(tmp_path) == a_server(alive, "second")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_keeps_no_server_from_serving(
    tmp_path: Path, alive: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, text: str, encoding: str) -> None:
        with Path("/dev/full").open("w", encoding=encoding) as full:
            full.write(text)

    with announced(tmp_path, a_server(alive, "other")), monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write)
        with announced(tmp_path, a_server(alive)) as unable:
            assert unable is not None
            assert unable.errno == errno.ENOSPC
            # Nothing half is left, and who was found still is.
            assert [path.name for path in tmp_path.iterdir()] == [FILE]
            assert find_server(tmp_path) == a_server(alive, "other")


def test_a_home_that_cannot_be_written_to_keeps_no_server_from_serving(
    tmp_path: Path, alive: int
) -> None:
    (tmp_path / "file").touch()

    with announced(tmp_path / "file" / "home", a_server(alive)) as unable:
        assert isinstance(unable, NotADirectoryError)


def test_a_process_that_is_gone_serves_nothing(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    with announced(tmp_path, a_server(ended.pid)):
        assert find_server(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", "[", '{"url": 1}', "\0"])
def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)

    assert find_server(tmp_path) is None
