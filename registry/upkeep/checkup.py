"""What an operator would look at first when something is wrong: each thing, and what to do.

Nothing is changed, but that the embedded PostgreSQL is started where it is down.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from alembic.runtime.migration import MigrationContext
from psycopg import Connection as PsycopgConnection
from sqlalchemy import Connection, func, select, text
from sqlalchemy.orm import Session

from crawler.counted import counted
from crawler.disk import nearest_folder
from crawler.errors import AccessDeniedError, GoneError, SourceError
from crawler.http import PoliteClient
from encoder.base_models.names import UNKNOWN_BASE_MODEL
from registry.config import Settings, misspelt_settings
from registry.db.blob_names import named_blobs
from registry.db.embedded import has_database
from registry.db.encoders import active_encoders, encoder_among, list_encoders
from registry.db.jobs import SILENT_SECONDS, count_stalled
from registry.db.migrate import (
    LEAST_PGVECTOR,
    MAKES_DATABASE,
    check_encoding,
    is_old_pgvector,
    newest_revision,
)
from registry.db.models import Listing
from registry.db.runs import list_interrupted
from registry.db.session import is_away, one_line_errors, open_engine, reached
from registry.errors import DatabaseAwayError, EncoderLostError, RegistryError

Level = Literal["fine", "warning", "wrong"]

# PostgreSQL's oldest that has what the schema needs.
LEAST_POSTGRES = 14
# Below so much free room PostgreSQL does not start after a crash.
LEAST_FREE_BYTES = 64 * 2**20
# Of a long list, so many are named.
MOST_NAMED = 3
# A standby does not, nor does what an administrator has set to be read only.
_TAKES_CHANGES = "current_setting('transaction_read_only') = 'off'"
# What no blob is called.
NO_BLOB = "0" * 64
# What has a blob again that is missing or cut, by what it is.
FETCHES = "`autolora refresh --full`, with the `--source` that they came from, fetches them again"
MENDS = {
    "encoder": "`autolora encoders add FILE` registers it again, of the file that it was made of",
    "sketch basis": (
        "`autolora train-encoder --new-basis --base-model NAME` learns another, or a backup has it"
    ),
}
# What making images needs, as packages are called.
FUSION = ("torch", "diffusers", "transformers", "peft", "accelerate")
# What settings need that are other than usual, and the extra that it comes with.
NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "base_models": (FUSION, "fusion"),
    "image_encoder": (("transformers",), "fusion"),
    "caption_folder": (("transformers",), "captions"),
    "text_encoder": (("sentence-transformers",), "gpu"),
}
HUB_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing; `said` ends in what to do, where anything is to be done."""

    what: str
    level: Level
    said: str


def check_up(settings: Settings, *, hubs: bool = False) -> Iterator[Finding]:
    """Yield what is found, thing by thing; with `hubs` what nights crawl is asked for an answer."""
    yield from check_settings(settings)
    yield from check_home(settings.home)
    yield from check_room(settings)
    yield from check_libraries(settings)
    yield from check_database(settings)
    if hubs:
        yield from check_hubs(settings)


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Names that nearly are settings, and folders and files that are named and not there."""
    wrong = False
    for name, meant in misspelt_settings().items():
        wrong = True
        yield Finding("settings", "warning", f"{name} counts for nothing; is {meant} meant?")
    named: dict[str, Path | None] = {
        "REGISTRY_ENCODER_CHECKPOINT": settings.encoder_checkpoint,
        "REGISTRY_IMAGE_ENCODER": settings.image_encoder,
        "REGISTRY_CAPTION_FOLDER": settings.caption_folder,
        **{f"REGISTRY_BASE_MODELS, {name}": path for name, path in settings.base_models.items()},
        **{f"REGISTRY_GATES, {name}": path for name, path in settings.gates.items()},
    }
    for name, path in named.items():
        if path is not None and (fault := _unseen(path)):
            wrong = True
            yield Finding("settings", "wrong", f"{name}: {fault}")
    if not wrong:
        yield Finding("settings", "fine", "all are known, and what they name is there")


def _unseen(path: Path) -> str:
    """Return why a path that a setting names cannot be looked at; "" where it can."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return f"there is no {path}; correct the path"
    except OSError as error:
        return (
            f"{path} cannot be looked at: {error.strerror}; run as its owner, or correct the path"
        )
    return ""


def check_home(home: Path) -> Iterator[Finding]:
    """Whether it can be written to, and nobody else reads it."""
    try:
        status = home.stat()
    except FileNotFoundError:
        yield Finding("home", "fine", f"{home} is made when it is first needed")
        return
    except OSError as error:
        said = f"{home} cannot be looked at: {error.strerror}; set REGISTRY_HOME to a folder of "
        yield Finding("home", "wrong", f"{said}your own, or run as its owner")
        return
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        said = f"{home} cannot be written to; run as its owner, or `chown` it"
        yield Finding("home", "wrong", said)
    elif status.st_mode & 0o077:
        yield Finding("home", "warning", f"{home} is open to others; `chmod 700 {home}` closes it")
    elif status.st_uid != os.geteuid():
        yield Finding("home", "warning", f"{home} belongs to another user (number {status.st_uid})")
    else:
        yield Finding("home", "fine", f"{home} is ours alone")


def check_room(settings: Settings) -> Iterator[Finding]:
    """Whether disks have room left, and more than the reserve: that of blobs may be another."""
    home, blobs = nearest_folder(settings.home), nearest_folder(settings.blobs)
    if shutil.disk_usage(home).free < LEAST_FREE_BYTES:
        yield Finding("disk", "wrong", f"{_room(home)}; PostgreSQL cannot start. Free some")
    else:
        yield _check_reserve(settings, "disk", home)
    if blobs.stat().st_dev != home.stat().st_dev:
        yield _check_reserve(settings, "disk of blobs", blobs)


def _check_reserve(settings: Settings, what: str, folder: Path) -> Finding:
    total, _, free = shutil.disk_usage(folder)
    reserved = settings.disk_limits.reserve(total)
    if free >= reserved:
        return Finding(what, "fine", _room(folder))
    reserve = f"the reserve is {reserved / 1e9:.1f} GB (REGISTRY_RESERVED_BYTES)"
    said = f"{_room(folder)} and {reserve}: nothing is fetched. Free some"
    return Finding(what, "warning", said)


def _room(folder: Path) -> str:
    total, _, free = shutil.disk_usage(folder)
    return f"{free / 1e9:.1f} of {total / 1e9:.1f} GB are free"


def check_libraries(settings: Settings) -> Iterator[Finding]:
    """Whether what the settings need, and what makes images, is installed. None of it is loaded."""
    wrong = False
    for name, (packages, extra) in NEEDS.items():
        usual = Settings.model_fields[name].get_default(call_default_factory=True)
        if getattr(settings, name) != usual and (missing := _missing(packages)):
            wrong = True
            said = f"REGISTRY_{name.upper()} needs {', '.join(missing)}; "
            said += f"`pip install 'autolora-registry[{extra}]'`"
            yield Finding("libraries", "wrong", said)
    if wrong:
        return
    if missing := _missing(FUSION):
        said = f"without {', '.join(missing)} no images are made here; "
        said += "`pip install 'autolora-registry[fusion]'` would do"
    else:
        said = ", ".join(f"{package} {version(package)}" for package in FUSION)
    yield Finding("libraries", "fine", said)


def _missing(packages: Iterable[str]) -> list[str]:
    missing = []
    for package in packages:
        try:
            version(package)
        except PackageNotFoundError:
            missing.append(package)
    return missing


def check_database(settings: Settings) -> Iterator[Finding]:
    """Whether it answers and is what this version needs; then, what is in it."""
    try:
        if settings.database_url is None and not has_database(settings.postgres):
            yield _absent(settings)
            return
        with one_line_errors(), open_engine(settings) as engine, reached(engine) as connection:
            yield from _check_server(connection)
            yield from check_pooler(*_server_processes(connection))
            revision = MigrationContext.configure(connection).get_current_revision()
            newest = newest_revision()
            if revision is None:
                yield from _check_creating(connection)
            elif revision != newest:
                said = f"it is at {revision}, this version at {newest}; "
                said += "any command brings an older one up to date, a newer one needs an update"
                yield Finding("schema", "wrong", said)
            else:
                yield _check_changing(connection, revision)
                yield from _check_contents(settings, Session(connection))
    except RegistryError as error:
        yield Finding("database", "wrong", str(error))


def _absent(settings: Settings) -> Finding:
    """What is said of a home without a database. None is made: that would hide a lost one."""
    if is_away(settings):
        return Finding(
            "database", "wrong", str(DatabaseAwayError(settings.postgres, settings.blobs))
        )
    said = f"there is none in {settings.postgres} yet; it is made when it is first needed"
    return Finding("database", "fine", said)


def _check_creating(connection: Connection) -> Iterator[Finding]:
    """Whether the role may make what is not there yet: tables and extensions."""
    query = text(
        """
        SELECT available.name FROM pg_available_extensions AS available
        JOIN pg_available_extension_versions AS offered
            ON offered.name = available.name AND offered.version = available.default_version
        JOIN pg_roles ON rolname = current_user
        WHERE available.name IN ('vector', 'pg_trgm') AND installed_version IS NULL
            AND offered.superuser AND NOT rolsuper AND NOT (
                offered.trusted AND has_database_privilege(current_database(), 'CREATE')
            )
        """
    )
    forbidden = sorted(connection.scalars(query))
    for name in forbidden:
        said = "this role may not create the extension; a superuser has to, once, in this database:"
        yield Finding(name, "wrong", f"{said} `CREATE EXTENSION {name}`")
    query = text(f"SELECT {_TAKES_CHANGES} AND has_schema_privilege(current_schema(), 'CREATE')")
    if not connection.scalar(query):
        said = "there is none yet, and this role may not create tables; make it the owner of the "
        yield Finding(
            "schema", "wrong", said + "database, or name another in REGISTRY_DATABASE_URL"
        )
    elif not forbidden:
        said = "there is no schema yet; it is made when the registry is first used"
        yield Finding("schema", "fine", said)


def _check_changing(connection: Connection, revision: str) -> Finding:
    """Whether the role may change what is there."""
    query = text(f"SELECT {_TAKES_CHANGES} AND has_table_privilege('adapters', 'INSERT, UPDATE')")
    if connection.scalar(query):
        return Finding("schema", "fine", f"it is at {revision}, the newest")
    said = "this server or this role takes no changes; name in REGISTRY_DATABASE_URL the primary "
    return Finding("schema", "wrong", said + "server, and the role that owns the tables")


def _check_server(connection: Connection) -> Iterator[Finding]:
    check_encoding(connection)
    # Debian's says more: "16.4 (Debian 16.4-1)".
    number: str = connection.execute(text("SHOW server_version")).scalar_one()
    if int(number.split(".")[0]) < LEAST_POSTGRES:
        said = f"PostgreSQL {number} is too old; {LEAST_POSTGRES} or later is needed"
        yield Finding("database", "wrong", said)
    else:
        yield Finding("database", "fine", f"PostgreSQL {number} answers")
    query = text(
        """
        SELECT name, coalesce(installed_version, default_version)
        FROM pg_available_extensions WHERE name IN ('vector', 'pg_trgm')
        """
    )
    extensions: dict[str, str] = dict(connection.execute(query).all())
    least = ".".join(map(str, LEAST_PGVECTOR))
    for name in ("vector", "pg_trgm"):
        if name not in extensions:
            yield Finding(name, "wrong", f"PostgreSQL has no extension {name}; install it")
    vector = extensions.get("vector")
    if vector is not None and is_old_pgvector(vector):
        said = f"pgvector {vector} is below {least}; install it, and ALTER EXTENSION vector UPDATE"
        yield Finding("vector", "wrong", said)
    elif vector is not None:
        yield Finding("vector", "fine", f"pgvector {vector}")
    yield from _check_letters(connection)


def _check_letters(connection: Connection) -> Iterator[Finding]:
    """Whether pg_trgm, which asks the C library what a letter is, knows others than ASCII's."""
    query = text("SELECT datctype FROM pg_database WHERE datname = current_database()")
    locale = connection.scalar(query)
    if locale in ("C", "POSIX"):
        said = f"by LC_CTYPE {locale} no Chinese sign is a letter: misspelt words in Chinese are "
        said += "not found. `autolora restore` a backup into an empty home and a database made by "
        yield Finding("letters", "warning", said + MAKES_DATABASE)


def check_pooler(told: int, asked: int) -> Iterator[Finding]:
    """Whether a pooler stands before the server, by the process that was told of and the one there.

    PgBouncer tells each client a number of its own. Whether it keeps a session's locks, its mode
    says [1], which nobody here is told.

    - [1] https://www.pgbouncer.org/features.html
    """
    if told != asked:
        said = "a pooler such as PgBouncer answers for it. One that lends connections by the "
        said += "transaction lets two refreshes or nights run at once, and keeps locks that nobody "
        said += "holds: see that it pools by session, or name PostgreSQL itself in "
        said += "REGISTRY_DATABASE_URL"
        yield Finding("database", "warning", said)


def _server_processes(connection: Connection) -> tuple[int, int]:
    """Return the server's process as a connection was told of it, and as it says itself."""
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, PsycopgConnection)
    asked: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return driver.info.backend_pid, asked


def _check_contents(settings: Settings, session: Session) -> Iterator[Finding]:
    checks: list[Callable[[Settings, Session], Iterator[Finding]]]
    checks = [_check_encoders, _check_backfills, _check_blobs, _check_work]
    for check in checks:
        yield from check(settings, session)


def _check_encoders(settings: Settings, session: Session) -> Iterator[Finding]:
    """Each base model with adapters has an encoder that search uses, and can use."""
    active = active_encoders(session)
    query = select(Listing.base_model, func.count()).group_by(Listing.base_model)
    counts = session.execute(query.order_by(Listing.base_model)).all()
    for base_model, count in counts:
        if base_model == UNKNOWN_BASE_MODEL:
            number = counted(
                count, "adapter is not known: it is", "adapters is not known: they are"
            )
            said = f"that of {number} not compared or fused. "
            said += f"`autolora list --base-model {UNKNOWN_BASE_MODEL}` names what there is, "
            said += "and `autolora claim` says what one is for"
            yield Finding("base model", "warning", said)
            continue
        encoder = encoder_among(active, base_model)
        name = f"encoder of {base_model}"
        if encoder is None:
            said = f"none: {counted(count, 'adapter')} can be found by words and captions only. "
            said += (
                f"`autolora train-encoder --base-model {base_model}` trains one, from some 100; "
            )
            said += "`autolora encoders add` adds one that there is"
            yield Finding(name, "warning", said)
        elif encoder.text_encoder != settings.text_encoder:
            said = f"{encoder.name} reads {encoder.text_encoder}, not {settings.text_encoder}: "
            said += "weights are not compared. Set REGISTRY_TEXT_ENCODER to the former, or "
            said += f"`autolora train-encoder --base-model {base_model}` trains one for the latter"
            yield Finding(name, "wrong", said)
        else:
            yield Finding(name, "fine", f"{encoder.name}, for {counted(count, 'adapter')}")
    if not counts:
        said = "it is empty; `autolora refresh` crawls a hub, `autolora refresh --source FOLDER` "
        said += "reads files of your own"
        yield Finding("index", "warning", said)


def _check_backfills(_: Settings, session: Session) -> Iterator[Finding]:
    """Encoders that were added and never served, and have not embedded all files."""
    for encoder in list_encoders(session):
        if encoder.is_unfinished:
            left = counted(encoder.missing, "file is", "files are")
            said = f"it serves nobody, and {left} still to embed by it. To let it serve, "
            said += f"`autolora encoders backfill {encoder.name}` goes on there, and "
            said += f"`autolora encoders promote {encoder.name}` comes after; "
            said += f"`autolora encoders remove {encoder.name}` gives it up"
            yield Finding(f"encoder {encoder.name}", "warning", said)


def _check_blobs(settings: Settings, session: Session) -> Iterator[Finding]:
    """What the database counts on lies in the store, in full length, and can be read."""
    if settings.blobs_url is not None:
        yield _check_shared(settings, settings.blobs_url, session)
        return
    faulty: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    number = 0
    for number, blob in enumerate(named_blobs(session), 1):  # noqa: B007 (it is used after)
        mend = MENDS.get(blob.what, FETCHES)
        try:
            with (settings.blobs / blob.sha256[:2] / blob.sha256).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            faulty["missing", mend][blob.sha256] = blob.what
        except OSError as error:
            gives = f"`chown -R` gives {settings.blobs} back to who runs this"
            why = f"{error.strerror}; {gives}, or its disk or mount is to be mended"
            faulty["out of reach", why][blob.sha256] = blob.what
        else:
            if size == 0 or (blob.size is not None and size != blob.size):
                faulty["cut or too long", mend][blob.sha256] = blob.what
    for (fault, mend), blobs in faulty.items():
        lacking = counted(len(blobs), "is", "are")
        yield Finding("blobs", "wrong", f"{lacking} {fault} ({_named(blobs)}); {mend}")
    if not faulty:
        yield Finding("blobs", "fine", f"all {number} that are named are there, in full length")


def _check_shared(settings: Settings, url: str, session: Session) -> Finding:
    """Whether a blob store elsewhere answers, and has the encoders that search uses."""
    # With it comes all that searches.
    from registry.open_registry import open_blobs

    try:
        blobs = open_blobs(settings)
        blobs.exists(NO_BLOB)
        for encoder in active_encoders(session):
            if not blobs.exists(encoder.checkpoint_sha256):
                raise EncoderLostError(encoder.name, encoder.base_model)
    except RegistryError as error:
        return Finding("blobs", "wrong", str(error))
    said = f"{url} answers, and has the encoders in use; the others are not looked at"
    return Finding("blobs", "fine", said)


def _named(blobs: dict[str, str]) -> str:
    first = [f"{what} {sha256[:12]}…" for sha256, what in list(blobs.items())[:MOST_NAMED]]
    return ", ".join([*first, "…"] if len(blobs) > MOST_NAMED else first)


def _check_work(_: Settings, session: Session) -> Iterator[Finding]:
    """Jobs of dead workers, and refreshes that were killed and not begun again."""
    stalled = count_stalled(session)
    if stalled:
        number = counted(stalled, "job is", "jobs are")
        said = f"{number} of workers silent for {SILENT_SECONDS} s; the next refresh "
        yield Finding("jobs", "warning", said + "or any worker takes them back")
    killed = list_interrupted(session)
    if killed:
        names = ", ".join(map(str, killed[:MOST_NAMED]))
        said = (
            f"refresh {names} was killed; "
            if len(killed) == 1
            else f"refreshes {names} were killed; "
        )
        yield Finding("jobs", "warning", said + "the next one of the same hub goes on there")
    if not stalled and not killed:
        yield Finding("jobs", "fine", "none is stale")


def check_hubs(settings: Settings) -> Iterator[Finding]:
    """Whether the hubs that nights crawl answer; folders are looked for."""
    for address in settings.nightly_sources:
        if not address.startswith(("http://", "https://")):
            there = Path(address).is_dir()
            said = (
                "the folder is there" if there else "there is no such folder; mount or correct it"
            )
            yield Finding(address, "fine" if there else "wrong", said)
            continue
        with PoliteClient(
            allowed_origins=[address], attempts=1, timeout_seconds=HUB_SECONDS
        ) as client:
            try:
                client.get(f"{address.rstrip('/')}/robots.txt")
            except (GoneError, AccessDeniedError):
                yield Finding(address, "fine", "it answers")  # that there is no such page
            except SourceError as error:
                said = f"{error}; check the network, or try again later"
                yield Finding(address, "wrong", said)
            else:
                yield Finding(address, "fine", "it answers")
