"""Stops the embedded PostgreSQL when its last user has died without doing so.

A program of its own, started beside the server: who is killed cannot clean up after itself.
It needs nothing but the standard library, so it starts in milliseconds and sleeps in little
memory.

    python caretaker.py USERS LOCK UID GID COMMAND...   (UID and GID are -1 for our own)
"""

import fcntl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def wait_and_stop(users: str, lock: str, uid: int, gid: int, command: list[str]) -> None:
    """Run `command` once nobody holds the lock file `users` any more.

    `lock` is held while looking and stopping, as those do who start the server. Nobody waits
    for `users` with `lock` in hand, nor holds `users` while waiting for it.
    """
    while True:
        # To be written to, since NFS locks nothing else for one alone.
        with Path(users).open("r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # sleeps until the last user is gone
        with Path(lock).open("r+") as alone, Path(users).open("r+") as stream:
            fcntl.flock(alone, fcntl.LOCK_EX)
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # a new user came in between
            if uid == -1:
                subprocess.run(command, check=False)
            else:
                subprocess.run(command, check=False, user=uid, group=gid, extra_groups=[])
            return


if __name__ == "__main__":
    # Missing files: the registry's home was removed, and nothing is left to stop.
    with suppress(FileNotFoundError):
        wait_and_stop(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
