"""A real PostgreSQL, and what else of a machine more than one package's tests ask for."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker
from xdist.scheduler import LoadFileScheduling

from registry.config import Settings
from registry.db.embedded import EmbeddedPostgres
from registry.db.migrate import migrate
from registry.db.session import connect
from registry.db.work_models import ALL_TABLES
from tests.encoder.captions.vlm_server import VlmServer

BROWSER = "tests/browser/"
# What takes longest, mostly by starting processes, begins first: else one process is at it at the
# end, and the others are done.
FIRST = (
    BROWSER,
    "tests/registry/refresh/",
    "tests/registry/cli/",
    "tests/registry/db/test_embedded.py",
    "tests/registry/fusion/",
    "tests/registry/test_client.py",
    "tests/test_",
)
# Tables with an index of HNSW, which nothing refers to.
GRAPHS = {"caption_embeddings", "description_embeddings", "weight_embeddings"}
# It has such an index too.
FINGERPRINTS = "SELECT EXISTS (SELECT FROM files WHERE fingerprint IS NOT NULL)"
# Of tables that a test filled and emptied again, too.
RESTART = """
    SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
    FROM pg_sequences WHERE last_value IS NOT NULL AND sequencename = ANY(:sequences)
"""


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded PostgreSQL, started and migrated once a run."""
    data = tmp_path_factory.mktemp("database") / "postgres"
    # Nothing here has to outlive a power cut.
    options = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    with EmbeddedPostgres(data, options) as server:
        engine = connect(server.url())
        migrate(engine)
        engine.dispose()
        yield server.url().render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session whose work, commits included, is rolled back after the test."""
    with engine.connect() as connection:
        transaction = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        transaction.rollback()


@pytest.fixture
def sessions(engine: Engine) -> Iterator[sessionmaker[Session]]:
    """Sessions for code that opens and commits its own; every table is emptied after."""
    yield sessionmaker(engine, expire_on_commit=False)
    names = [table.name for table in ALL_TABLES.sorted_tables]
    names += [f"procrastinate_{name}" for name in ("events", "jobs", "periodic_defers", "workers")]
    looks = " UNION ALL ".join(
        f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})" for name in names
    )
    with engine.begin() as connection:
        filled = connection.scalars(text(looks)).all()
        # To truncate takes five times as long and more, but graphs keep rows that are deleted.
        if connection.scalar(text(FINGERPRINTS)):
            connection.execute(text("TRUNCATE files CASCADE"))
        # No trigger and no foreign key is to look after what else each row concerns.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for name in filled:
            connection.execute(text(f"{'TRUNCATE' if name in GRAPHS else 'DELETE FROM'} {name}"))
        connection.execute(text(RESTART), {"sequences": [f"{name}_id_seq" for name in names]})


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a registry in a folder of its own, whatever this machine's environment says."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"REGISTRY_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)  # away from any .env
    return Settings(home=tmp_path / "home")


@pytest.fixture
def vlm() -> Iterator[VlmServer]:
    """A vision model's endpoint on loopback."""
    with VlmServer().running() as server:
        yield server


@pytest.fixture
def trash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trash of this machine, as freedesktop.org has it, in a folder of the test's own."""
    monkeypatch.setattr("send2trash.plat_other.HOMETRASH_B", bytes(tmp_path / "data" / "Trash"))
    monkeypatch.setattr("send2trash.plat_other.XDG_DATA_HOME", bytes(tmp_path / "data"))
    return tmp_path / "data" / "Trash" / "files"


def pytest_configure() -> None:
    """Let programs that tests start hear Ctrl-C, though a shell's background job ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class FilesAndBrowser(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives each process whole files, and one of them all of tests/browser: what those share is
    made once."""

    def _split_scope(self, nodeid: str) -> str:
        return BROWSER if nodeid.startswith(BROWSER) else super()._split_scope(nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndBrowser:
    return FilesAndBrowser(config, log)
