"""`make demo` leaves behind what the README's commands pick up."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from demo.run import demo_settings, write_environment
from registry.config import Settings

READ = "from registry.config import Settings; print(Settings().model_dump_json())"


def test_a_shell_finds_the_demos_registry(tmp_path: Path, settings: Settings) -> None:
    """Also in a folder whose name a shell would split."""
    written = demo_settings(tmp_path / "it's home", Settings.model_fields["port"].default)
    write_environment(written, tmp_path / "env")

    script = f'. "$1" && exec "$2" -c "{READ}"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(tmp_path / "env"), sys.executable],
        capture_output=True,
        text=True,
        check=True,
    )

    assert Settings.model_validate_json(done.stdout) == written


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
