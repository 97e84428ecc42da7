"""`make demo` leaves behind what the README's commands pick up."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from demo.run import demo_settings, write_environment
from registry.config import Settings

READ = "from registry.config import Settings; print(Settings().model_dump_json())"


def test_a_shell_finds_the_demos_registry(tmp_path: Path, settings: Settings) -> None:
    """Also in a folder whose name a shell would split."""
    written = demo_settings(tmp_path / "it's home", Settings.model_fields["port"].default)
    write_environment(written, tmp_path / "env")

    assert settings_below(tmp_path / "env") == written


def test_the_demo_fills_no_registry_of_an_operators(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose database and tokens the environment and a `.env` may name."""
    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://operator@db.example/registry")
    monkeypatch.setenv("registry_blobs_url", "s3://operators/blobs")
    Path(".env").write_text("REGISTRY_NIGHTLY_AT=03:00\nREGISTRY_URL=http://gpu-box:8000\n")

    demo = demo_settings(tmp_path / "demo", 8123)

    assert demo.database_url is None
    assert demo.blobs_url is None
    assert demo.nightly_at is None
    assert demo.url is None
    assert demo.port == 8123


def test_nor_does_what_is_typed_below_its_environment(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://operator@db.example/registry")
    monkeypatch.setenv("REGISTRY_URL", "http://gpu-box:8000")
    monkeypatch.setenv("registry_blobs_url", "s3://operators/blobs")
    monkeypatch.setenv("registry_home", "/srv/operators")
    written = demo_settings(tmp_path / "demo", Settings.model_fields["port"].default)
    write_environment(written, tmp_path / "env")

    assert settings_below(tmp_path / "env") == written


def test_a_file_that_counts_beside_the_demos_settings_is_told_of(
    tmp_path: Path, settings: Settings
) -> None:
    write_environment(settings, tmp_path / "env")
    words = ["/bin/sh", "-e", "-c", '. "$1"; echo went on', "sh", str(tmp_path / "env")]

    def said() -> str:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert done.stdout == "went on\n"
        return done.stderr

    assert said() == ""
    Path(".env").write_text("# REGISTRY_HOME is for others\nOTHER_REGISTRY_HOME=here\n")
    assert said() == ""
    Path(".env").write_text("A=b\n export registry_database_url=postgresql://db.example/registry\n")
    assert "work in another folder" in said()


def settings_below(environment: Path) -> Settings:
    """Return what a program reads that is started in a shell with an environment of the demo's."""
    script = f'. "$1" && exec "$2" -c "{READ}"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(environment), sys.executable],
        capture_output=True,
        text=True,
        check=True,
    )
    return Settings.model_validate_json(done.stdout)


def test_a_shell_finds_the_command(tmp_path: Path, settings: Settings) -> None:
    write_environment(settings, tmp_path / "env")

    done = subprocess.run(
        ["/bin/sh", "-c", '. "$1" && command -v autolora && command -v ls', "sh", tmp_path / "env"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.defpath},
    )

    autolora, ls = done.stdout.splitlines()
    assert Path(autolora) == Path(sysconfig.get_path("scripts"), "autolora")
    assert Path(ls).name == "ls"
