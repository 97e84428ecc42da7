"""The file by which a server that runs on a home is found by this machine's other programs."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from registry.blobs import make_private

FILE = "server.json"


class Identity(BaseModel):
    """What tells one running server from all others, and lets its owner in without a token.

    All its processes have the same.
    """

    model_config = ConfigDict(frozen=True)

    instance: str
    credential: str

    @classmethod
    def make(cls) -> Self:
        return cls(instance=secrets.token_hex(16), credential=secrets.token_urlsafe(32))


class RunningServer(BaseModel):
    """A server as its file tells of it; `token` where it lets nobody in without one."""

    model_config = ConfigDict(frozen=True)

    url: str
    pid: int
    instance: str
    token: str | None = None


@contextmanager
def announced(home: Path, server: RunningServer) -> Iterator[OSError | None]:
    """Leave the file in a home while the block runs; of several servers the last one counts.

    Gives why it could not be left, as on a full disk: a server without it serves all the same.
    """
    path = home / FILE
    try:
        make_private(home)
        _leave(path, server)
    except OSError as error:
        yield error
        return
    try:
        yield None
    finally:
        if _read(path) == server:
            path.unlink(missing_ok=True)


def _leave(path: Path, server: RunningServer) -> None:
    partial = path.with_name(f"{FILE}.{server.instance}")
    try:
        # For its owner alone from its first moment on: who reads it may ask the server.
        partial.touch(mode=0o600, exist_ok=False)
        partial.write_text(server.model_dump_json(), encoding="utf-8")
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def tells_of_server(name: str) -> bool:
    """Whether an entry of a home is such a file: of no use, and a secret, anywhere else."""
    return name == FILE or name.startswith(f"{FILE}.")


def find_server(home: Path) -> RunningServer | None:
    """Return the server that says it runs on a home; whether it still does it has to tell itself.

    None where its process is gone, or is not ours: then another program may have its address.
    """
    server = _read(home / FILE)
    if server is None:
        return None
    try:
        os.kill(server.pid, 0)
    except OSError:
        return None
    return server


def _read(path: Path) -> RunningServer | None:
    try:
        return RunningServer.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
