"""`autolora doctor`: what is wrong is named with what to do, and the exit code tells."""

import json
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, select, text
from sqlalchemy.orm import Session

from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.drawn_covers import DrawnCover
from registry.db.encoder_models import SketchBasis
from registry.db.migrate import newest_revision
from registry.db.models import Adapter, Cover, File
from registry.errors import DatabaseRightsError
from registry.service import Registry
from registry.token_scopes import TokenScope
from registry.upkeep import checkup
from registry.upkeep.checkup import (
    Finding,
    check_database,
    check_home,
    check_hubs,
    check_libraries,
    check_pooler,
    check_room,
    check_settings,
    check_up,
)
from tests.builders import add_adapter
from tests.databases import database_beside
from tests.registry.api.conftest import add_cover, add_file
from tests.registry.cli.runner import run, run_well
from tests.registry.conftest import add_real_encoder, another_user


def found(registry: Registry) -> dict[str, Finding]:
    """What is not fine, by what it is about."""
    return {f.what: f for f in check_up(registry.settings) if f.level != "fine"}


@pytest.fixture
def whole(registry: Registry) -> Registry:
    """A registry that nothing is wrong with."""
    registry.settings.home.mkdir(mode=0o700)
    add_file(registry, 1, "Fox")
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        session.execute(text("UPDATE files SET size = :size"), {"size": size_of_blob(registry)})
    return registry


def size_of_blob(registry: Registry) -> int:
    with registry.sessions() as session:
        sha256 = session.execute(text("SELECT sha256 FROM files")).scalar_one()
    return registry.blobs.path(sha256).stat().st_size


@pytest.mark.usefixtures("environment")
def test_where_all_is_well_it_says_so(whole: Registry) -> None:
    said = run_well("doctor")
    facts = json.loads(run_well("doctor", "--json"))

    assert found(whole) == {}
    assert f"fine     schema: it is at {newest_revision()}" in said
    assert {fact["level"] for fact in facts} == {"fine"}
    assert {"database", "vector", "schema", "blobs", "jobs", "disk", "home"} <= {
        fact["what"] for fact in facts
    }


def test_blobs_that_are_missing_or_cut_are_counted_and_named(whole: Registry) -> None:
    gone = add_cover(whole).id
    with whole.sessions() as session:
        cover = session.execute(
            text("SELECT sha256 FROM covers WHERE adapter_id = :id"), {"id": gone}
        ).scalar_one()
        file = (
            session.execute(text("SELECT sha256 FROM files ORDER BY size DESC")).scalars().first()
        )
    whole.blobs.path(cover).unlink()
    cut = whole.blobs.path(str(file))
    cut.chmod(0o600)
    cut.write_bytes(b"cut")

    said = [f.said for f in check_up(whole.settings) if f.what == "blobs"]

    assert any(f"cover {cover[:12]}…" in line and "are missing" in line for line in said)
    assert any(f"adapter's file {str(file)[:12]}…" in line and "1 is cut" in line for line in said)


def test_a_blob_that_cannot_be_read_is_told_of_and_the_others_are_looked_at(
    whole: Registry,
) -> None:
    """As one of root's, or one on a disk that fails; fetched again it would be no better."""
    with whole.sessions() as session:
        sha256 = session.execute(text("SELECT sha256 FROM files")).scalar_one()
    blob = whole.blobs.path(sha256)
    blob.unlink()
    blob.symlink_to(blob)

    [finding] = found(whole).values()

    assert (finding.what, finding.level) == ("blobs", "wrong")
    assert f"1 is out of reach (adapter's file {sha256[:12]}…); Too many levels" in finding.said
    assert f"`chown -R` gives {whole.settings.blobs} back" in finding.said
    assert "refresh --full" not in finding.said


@pytest.mark.parametrize("state", ["gone", "refused"])
def test_a_lost_cover_of_what_is_not_found_is_not_missed(whole: Registry, state: str) -> None:
    """No refresh fetches it again, so nobody could mend it."""
    adapter = add_cover(whole)
    assert adapter.file_sha256 is not None
    with whole.sessions.begin() as session:
        session.get_one(File, adapter.file_sha256).state = "dropped"
        shown = session.scalars(select(Cover).where(Cover.adapter_id == adapter.id)).one()
        add_drawn(session, adapter, shown.sha256)
    whole.blobs.path(shown.sha256).unlink()
    assert "blobs" in found(whole)

    with whole.sessions.begin() as session:
        session.get_one(Adapter, adapter.id).state = state

    assert found(whole) == {}


def add_drawn(session: Session, adapter: Adapter, sha256: str) -> None:
    """Let a picture be the cover that was drawn for an adapter, too."""
    session.add(
        DrawnCover(
            adapter_id=adapter.id,
            file_sha256=adapter.file_sha256,
            sha256=sha256,
            thumbnail_sha256=sha256,
            width=8,
            height=8,
            recipe={},
        )
    )


def test_a_base_model_without_an_encoder_and_dead_workers_are_told_of(whole: Registry) -> None:
    with whole.sessions.begin() as session:
        add_adapter(session, base_model="sdxl-1.0")
        add_adapter(session, base_model="unknown")
        session.execute(
            text(
                "INSERT INTO procrastinate_jobs (task_name, queue_name, args, status) "
                "VALUES ('do_tasks', 'read', '{}', 'doing')"
            )
        )
        session.execute(
            text(
                "INSERT INTO crawl_runs (hub, endpoint, started_at) VALUES ('folder', '/a', now())"
            )
        )

    said = [f"{f.what}: {f.said}" for f in check_up(whole.settings) if f.level == "warning"]

    assert any(line.startswith("encoder of sdxl-1.0: none: 1 adapter") for line in said)
    assert any(line.startswith("base model: that of 1 adapter is not known") for line in said)
    assert not any(line.startswith("encoder of unknown") for line in said)
    assert any(line.startswith("jobs: 1 job is of workers silent") for line in said)
    assert any(line.startswith("jobs: refresh 1 was killed") for line in said)


def test_an_encoder_of_another_text_encoder_is_wrong(whole: Registry) -> None:
    """No search compares weights by it."""
    settings = whole.settings.model_copy(update={"text_encoder": "some/other"})

    [finding] = [f for f in check_database(settings) if f.level == "wrong"]

    assert finding.what == "encoder of demo-flux-tiny"
    assert "ridge-demo-flux-tiny reads use-multilingual-v3, not some/other" in finding.said
    assert "REGISTRY_TEXT_ENCODER" in finding.said


@pytest.mark.parametrize(
    ("setting", "value", "package", "extra"),
    [
        ("base_models", {"flux.1-dev": "/base"}, "diffusers", "fusion"),
        ("image_encoder", Path("/clip"), "transformers", "fusion"),
        ("caption_folder", Path("/qwen"), "transformers", "captions"),
        ("text_encoder", "some/other", "sentence-transformers", "gpu"),
    ],
)
def test_what_a_setting_needs_and_is_not_installed_is_wrong(
    setting: str,
    value: object,
    package: str,
    extra: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkup, "version", lambda name: version_unless(package, name))

    [unneeded] = check_libraries(settings)
    [needed] = check_libraries(settings.model_copy(update={setting: value}))

    assert (unneeded.level, needed.level) == ("fine", "wrong")
    assert f"REGISTRY_{setting.upper()} needs {package}" in needed.said
    assert f"autolora-registry[{extra}]" in needed.said


def version_unless(missing: str, name: str) -> str:
    """Answer as an installation does that has all but one package."""
    if name == missing:
        raise PackageNotFoundError(name)
    return "1.0"


def test_it_makes_no_database_and_says_where_one_was_lost(settings: Settings) -> None:
    settings.home.mkdir(mode=0o700)
    [unused] = check_database(settings)
    BlobStore(settings.blobs).put_bytes(b"a cover")
    [lost] = check_database(settings)

    assert (unused.level, lost.level) == ("fine", "wrong")
    assert "Bring it back" in lost.said
    assert not settings.postgres.exists()


@pytest.fixture
def poor(engine: Engine, database_url: str) -> Iterator[str]:
    """The tests' database by a role that may do nothing there."""
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE poor LOGIN"))
    yield make_url(database_url).set(username="poor").render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text("DROP OWNED BY poor"))
        connection.execute(text("DROP ROLE poor"))


def database_findings(registry: Registry, url: str) -> dict[str, Finding]:
    settings = registry.settings.model_copy(update={"database_url": url})
    return {f.what: f for f in check_database(settings) if f.level != "fine"}


def test_a_role_that_may_only_read_is_wrong(whole: Registry, engine: Engine, poor: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO poor"))

    found = database_findings(whole, poor)

    assert "this role takes no changes" in found["schema"].said
    with (
        Registry(whole.settings.model_copy(update={"database_url": poor})) as reading,
        pytest.raises(DatabaseRightsError, match="permission denied for table tokens"),
    ):
        reading.create_token("ann", [TokenScope.READ])


def test_a_pooler_before_the_database_is_told_of(whole: Registry) -> None:
    """Locks of a session are not kept by one that lends its connections by the transaction."""
    [pooled] = check_pooler(told=1_804_289_383, asked=4711)

    assert pooled.level == "warning"
    assert "see that it pools by session" in pooled.said
    assert not list(check_pooler(told=4711, asked=4711))
    assert not any("pooler" in finding.said for finding in check_database(whole.settings))


def test_a_role_that_cannot_make_the_schema_is_wrong(
    registry: Registry, database_url: str, poor: str
) -> None:
    with database_beside(database_url, "bare", "TEMPLATE template0"):
        url = make_url(poor).set(database="bare").render_as_string(hide_password=False)
        found = database_findings(registry, url)

    assert "`CREATE EXTENSION vector`" in found["vector"].said
    assert "may not create tables" in found["schema"].said
    assert {finding.level for finding in found.values()} == {"wrong"}


@pytest.mark.parametrize(
    ("encoding", "what", "level", "said"),
    [
        ("SQL_ASCII", "database", "wrong", "has the encoding SQL_ASCII"),
        ("UTF8", "letters", "warning", "misspelt words in Chinese"),
    ],
)
def test_a_database_without_letters_is_told_of(
    encoding: str, what: str, level: str, said: str, registry: Registry, database_url: str
) -> None:
    """As `initdb` under LANG=C makes it, and as it is made of a template of such a server."""
    options = f"TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'"
    with database_beside(database_url, "letters", options) as url:
        found = database_findings(registry, url)

    assert [(name, finding.level) for name, finding in found.items()] == [(what, level)]
    assert said in found[what].said
    assert "LC_CTYPE 'C.UTF-8'" in found[what].said


def test_blobs_are_told_of_with_what_has_them_again(whole: Registry) -> None:
    for blob in whole.settings.blobs.glob("??/*"):
        blob.unlink()

    said = [f.said for f in check_up(whole.settings) if f.what == "blobs"]

    assert any("encoder" in line and "`autolora encoders add FILE`" in line for line in said)
    assert any("file" in line and "`autolora refresh --full`" in line for line in said)


def test_a_lost_basis_of_sketches_is_missed_until_another_is_learned(whole: Registry) -> None:
    add_basis(whole, "a" * 64)

    assert "sketch basis aaaaaaaaaaaa…" in found(whole)["blobs"].said
    assert "`autolora train-encoder --new-basis" in found(whole)["blobs"].said

    add_basis(whole, whole.blobs.put_bytes(b"a basis"))
    assert found(whole) == {}


def add_basis(registry: Registry, sha256: str) -> None:
    """Let a blob be the latest basis of a family."""
    with registry.sessions.begin() as session:
        session.add(SketchBasis(family="flux.1", version=sha256, basis_sha256=sha256, files=100))


@pytest.mark.usefixtures("environment")
def test_what_is_set_wrongly_and_a_database_that_is_down_end_in_1(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.settings.home.mkdir(mode=0o755)
    monkeypatch.setenv("REGISTRY_BASE_MODELS", '{"flux.1-dev": "/nowhere"}')
    monkeypatch.setenv("REGISTRY_BASE_MODEL", "flux.1-dev")
    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")

    done = run("doctor")

    assert done.exit_code == 1
    assert (
        "wrong    settings: REGISTRY_BASE_MODELS, flux.1-dev: there is no /nowhere" in done.stdout
    )
    assert "warning  settings: REGISTRY_BASE_MODEL counts for nothing" in done.stdout
    assert "warning  home: " in done.stdout
    assert "wrong    database: the database postgresql+psycopg://nobody@127.0.0.1" in done.stdout
    assert "correct REGISTRY_DATABASE_URL" in done.stdout
    assert "was lost" not in done.stdout


def test_sources_of_nights_that_do_not_answer_are_wrong(registry: Registry, tmp_path: Path) -> None:
    sources = [str(tmp_path), str(tmp_path / "gone"), "http://127.0.0.1:1"]
    settings = registry.settings.model_copy(update={"sources": sources})

    levels = [finding.level for finding in check_hubs(settings)]

    assert levels == ["fine", "wrong", "wrong"]


def test_a_home_of_another_user_keeps_nothing_else_from_being_looked_at(
    closed_folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    home = closed_folder / "home"
    closed = settings.model_copy(update={"home": home, "image_encoder": closed_folder / "clip"})

    with another_user():
        findings = [
            *check_settings(closed),
            *check_home(home),
            *check_room(closed),
            *check_database(closed),
        ]

    said = [
        (finding.what, "cannot be looked at: Permission" in finding.said) for finding in findings
    ]
    assert said == [("settings", True), ("home", True), ("disk", False), ("database", True)]


def test_the_disk_of_blobs_is_looked_at_where_it_is_another(
    small_disk: Path, registry: Registry
) -> None:
    """Docs say to link `blobs` to where it is shared; what is fetched goes there."""
    home = registry.settings.home
    home.mkdir(mode=0o700, exist_ok=True)
    settings = registry.settings.model_copy(update={"reserved_bytes": 2**21})
    assert [finding.what for finding in check_room(settings)] == ["disk"]
    settings.blobs.symlink_to(small_disk)

    own, other = check_room(settings)

    assert (own.what, own.level) == ("disk", "fine")
    assert (other.what, other.level) == ("disk of blobs", "warning")
    assert "nothing is fetched" in other.said
    assert registry.status().disk.total == shutil.disk_usage(small_disk).total
