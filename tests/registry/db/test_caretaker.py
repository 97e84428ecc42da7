"""What stops the embedded PostgreSQL when its last user was killed."""

import sys
from pathlib import Path

import pytest

from registry.db.caretaker import wait_and_stop


@pytest.mark.usefixtures("locks_of_nfs")
def test_a_caretaker_stops_the_server_of_a_home_on_nfs(tmp_path: Path) -> None:
    users, lock, stopped = (tmp_path / name for name in ("users", "lock", "stopped"))
    users.touch()
    lock.touch()

    code = f"open({str(stopped)!r}, 'w').close()"
    wait_and_stop(str(users), str(lock), -1, -1, [sys.executable, "-c", code])

    assert stopped.exists()
