"""Several processes make files side by side; none is made twice, and none is left out."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.side_by_side import claimed, join

HOLD = """
import sys
from pathlib import Path
from demo.side_by_side import claimed
with claimed(Path(sys.argv[1])) as free:
    print(free, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has claimed a file."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process


def test_what_another_process_is_at_is_not_to_be_made(tmp_path: Path) -> None:
    path = tmp_path / "0000.json"

    with holding(path), claimed(path) as free:
        assert not free
    with claimed(path) as free:
        assert free


def test_a_process_that_is_killed_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "0000.json"

    with holding(path) as process:
        process.kill()
        process.wait()
        with claimed(path) as free:
            assert free


def test_what_is_there_is_not_to_be_made(tmp_path: Path) -> None:
    path = tmp_path / "0000.json"
    path.write_text("[]")

    with claimed(path) as free:
        assert not free


def test_parts_are_joined_in_order_and_nothing_else_is(tmp_path: Path) -> None:
    parts = tmp_path / "groups"
    parts.mkdir()
    for name in ("0001.txt", "0000.txt", "0002.lock", "0003.txt.partial"):
        (parts / name).write_text(name)

    join(parts, "*.txt", tmp_path / "all.csv", ",".join)

    assert (tmp_path / "all.csv").read_text() == "0000.txt,0001.txt"
