"""A registry over the tests' database and a folder of its own."""

import errno
import fcntl
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from sqlalchemy.orm import Session, sessionmaker

import registry as package
from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.text_encoder import TextEncoder
from encoder.weight_encoders.checkpoint import save_encoder
from encoder.weight_encoders.ridge import RidgeEncoder
from encoder.weight_encoders.text_space import TextSpace
from registry.config import Settings
from registry.service import Registry
from registry.text.cached_encoder import load_cached_text_encoder
from tests.builders import TEXT_ENCODER, add_encoder


@pytest.fixture
def registry(
    settings: Settings, database_url: str, sessions: sessionmaker[Session]
) -> Iterator[Registry]:
    with Registry(settings.model_copy(update={"database_url": database_url})) as registry:
        yield registry


@pytest.fixture
def python(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The functions of `import registry` find the tests' registry as they find anyone's."""
    monkeypatch.setenv("REGISTRY_HOME", str(registry.settings.home))
    monkeypatch.setenv("REGISTRY_DATABASE_URL", str(registry.settings.database_url))
    close_python()
    yield
    close_python()


def close_python() -> None:
    """Close what functions of `import registry` opened in this process, and forget it."""
    package._opened().close()
    for each in vars(package).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of a random base, tiny, which draws noise."""
    # Loads diffusers, which few of those tests need that ask for a registry.
    from tests.registry.fusion.builders import save_tiny_base

    folder = tmp_path_factory.mktemp("base")
    save_tiny_base(folder)
    return folder


@pytest.fixture(scope="session")
def text_encoder() -> TextEncoder:
    """The one that a process shares: each that is loaded is 100 MB, and a second of work."""
    return load_cached_text_encoder(TEXT_ENCODER)


@pytest.fixture
def locks_of_nfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock files as Linux does on NFS: alone only what is open to be written [1].

    - [1] https://man7.org/linux/man-pages/man2/flock.2.html
    """
    flock = fcntl.flock

    def lock(file: IO[bytes] | int, operation: int) -> None:
        descriptor = file if isinstance(file, int) else file.fileno()
        access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        refused = {fcntl.LOCK_EX: os.O_RDONLY, fcntl.LOCK_SH: os.O_WRONLY}
        if refused.get(operation & ~fcntl.LOCK_NB) == access:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock)


@contextmanager
def another_user() -> Iterator[None]:
    """Be somebody whom closed folders stop; root is nobody meanwhile, and others stay who they are.

    What is imported here may be out of reach, so all that is needed has to be loaded before.
    """
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whose number has no name, as a container's may have none, and no HOME."""

    def name(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", name)
    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def closed_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that `another_user` may not look into."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    yield folder
    folder.chmod(0o700)


@pytest.fixture
def foreign_folder(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder at hand, with modules that are called as ours and the standard library's are."""
    folder = tmp_path / "foreign"
    for name in ("queue.py", "registry/__init__.py", "registry/__main__.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('raise SystemExit("a module of the folder at hand was imported")')
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def draws_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preview every step, as if each took long."""
    monkeypatch.setattr("registry.fusion.previews.EVERY_SECONDS", 0.0)
    monkeypatch.setattr("registry.fusion.previews.MOST_SHARE", float("inf"))


GOOD = {"validation": {"mrr": 0.7}, "adapters": {"validation": 120}}


def add_real_encoder(registry: Registry, base_model: str = "demo-flux-tiny") -> str:
    """Register and activate an encoder whose index space is the text encoder's own.

    So an adapter with a sentence's embedding is what that sentence finds by weights.
    """
    path = save_checkpoint(registry, f"ridge-{base_model}", base_model)
    checkpoint = registry.blobs.put_file(path)
    with registry.sessions.begin() as session:
        add_encoder(session, name=path.stem, base_model=base_model, checkpoint_sha256=checkpoint)
    return path.stem


def save_checkpoint(
    registry: Registry,
    name: str,
    base_model: str = "demo-flux-tiny",
    *,
    family: str = "",
    negated: bool = False,
) -> Path:
    """Write an encoder's checkpoint; `negated` turns its space round, to differ from others."""
    nothing = np.zeros((1, 1), np.float32)
    encoder = RidgeEncoder(
        name=name,
        base_model=base_model,
        text_encoder=TEXT_ENCODER,
        sketch_version="1",
        family=family or base_model,
        layer_scales=nothing[0],
        means=nothing[0],
        down=QuarterMatrix.of(nothing),
        up=np.zeros((1, 512), np.float32),
        text=TextSpace(
            np.zeros(512, np.float32), -np.eye(512, dtype=np.float32) if negated else None
        ),
        metrics=GOOD,
    )
    registry.settings.home.mkdir(exist_ok=True)
    path = registry.settings.home / f"{name}.safetensors"
    save_encoder(encoder, path)
    return path


def embed(registry: Registry, text: str) -> list[float]:
    return [float(value) for value in registry.text_encoder.encode([text])[0]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root mounts")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)
