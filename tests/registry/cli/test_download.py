"""`autolora download`: the file that the registry has, under its own name."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crawler.whole_file import new_temporary
from registry.db.models import File
from registry.saving import PREFIX
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.cli.runner import run_badly, run_well

pytestmark = pytest.mark.usefixtures("environment")
BYTES = b"an adapter"


def add_file(registry: Registry, file_name: str) -> int:
    sha256 = registry.blobs.put_bytes(BYTES)
    with registry.sessions.begin() as session:
        added = add_adapter(session, file_sha256=sha256, file_name=file_name)
        file = session.get_one(File, sha256)
        file.verdict = {"fusable": True}
        return added.id


def test_a_file_comes_under_its_own_name(registry: Registry, tmp_path: Path) -> None:
    """Asked for again it is there already; what else is called so stays."""
    fox = str(add_file(registry, "styles/fox.safetensors"))
    target = tmp_path / "fox.safetensors"

    for _ in range(2):
        run_well("download", fox, "-o", str(tmp_path))
        assert target.read_bytes() == BYTES
    target.write_bytes(b"another")

    assert "is another file" in run_badly("download", fox, "-o", str(tmp_path))
    assert target.read_bytes() == b"another"


@pytest.mark.parametrize("file_name", ["..", "a/..", "\x1b[2J.safetensors"])
def test_no_name_of_a_hub_leads_out_of_the_folder(
    file_name: str, registry: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()

    added = add_file(registry, file_name)
    run_well("download", str(added), "-o", str(folder))

    (written,) = folder.iterdir()
    assert written.name == f"adapter-{added}.safetensors"


@pytest.mark.parametrize(
    ("stem", "kept"), [("x" * 300, "x" * 243), ("狐狸" * 60, "狐狸" * 40 + "狐")]
)
def test_a_name_that_is_too_long_here_is_cut_before_its_ending(
    stem: str, kept: str, registry: Registry, tmp_path: Path
) -> None:
    """Hubs count letters, file systems bytes."""
    added = add_file(registry, f"{stem}.safetensors")
    for _ in range(2):
        run_well("download", str(added), "-o", str(tmp_path))
    assert (tmp_path / f"{kept}.safetensors").read_bytes() == BYTES


def test_bytes_that_are_not_those_read_are_not_kept(registry: Registry, tmp_path: Path) -> None:
    fox = add_file(registry, "fox.safetensors")
    blob = registry.blobs.path(hashlib.sha256(BYTES).hexdigest())
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    folder = tmp_path / "here"
    folder.mkdir()

    assert "as announced" in run_badly("download", str(fox), "-o", str(folder))
    assert list(folder.iterdir()) == []


def test_what_was_refused_is_not_handed_out(registry: Registry, tmp_path: Path) -> None:
    with registry.sessions.begin() as session:
        bad = add_adapter(session, state="refused", refusal="it holds no layers").id

    assert "it holds no layers" in run_badly("download", str(bad), "-o", str(tmp_path))


# Leaves half a file behind, whose writer is not told to remove it.
KILLED = """
import os, signal, sys
from pathlib import Path
from registry.saving import save_whole

def write(file):
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

save_whole(Path(sys.argv[1]), "0" * 64, write)
"""


def test_what_a_killed_download_left_is_no_adapter_and_goes_with_the_next(
    registry: Registry, tmp_path: Path
) -> None:
    """Other programs list all that ends as adapters do, in hidden folders too."""
    fox = str(add_file(registry, "fox.safetensors"))
    folder = tmp_path / "here"
    folder.mkdir()
    words = [sys.executable, "-c", KILLED, str(folder / "boat.safetensors")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run(words, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = list(folder.rglob("*"))
    assert [path.suffix for path in left] == [""]

    with new_temporary(folder, PREFIX) as (_, other):
        run_well("download", fox, "-o", str(folder))
        assert set(folder.iterdir()) == {folder / "fox.safetensors", other}, "who lives goes on"
