"""The file that a running server leaves in its home."""

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


def test_a_process_that_is_gone_serves_nothing(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    with announced(tmp_path, a_server(ended.pid)):
        assert find_server(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", "[", '{"url": 1}', "\0"])
def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)

    assert find_server(tmp_path) is None
