"""`make demo` leaves behind what the README's commands pick up."""

import subprocess
import sys
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
