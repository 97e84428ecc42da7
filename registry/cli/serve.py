"""The command that serves the API and the page."""

import os
import socket
from contextlib import ExitStack
from datetime import datetime
from typing import Annotated

import typer

from registry.cli.night import nights_done

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Default: REGISTRY_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: REGISTRY_PORT.")
    ] = None,
    public_read: Annotated[
        bool | None,
        typer.Option("--public-read", help="Let other machines read; no images are made."),
    ] = None,
    nightly: Annotated[
        datetime | None,
        typer.Option(
            formats=["%H:%M"], help="Have nights done at this hour of UTC: REGISTRY_NIGHTLY_AT."
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(min=1, max=64, help="Answer in so many processes, up to one for each core."),
    ] = 1,
    inherited: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the API and the page."""
    # A search multiplies small matrices. Threads that share one wait longer than they compute, and
    # keep a processor busy meanwhile, which another search needs. Read when numpy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from registry.cli.processes import end_with_the_first, served_by_others
    from registry.cli.server import listen, serve_until_stopped
    from registry.config import Settings
    from registry.running import Identity
    from registry.service import Registry

    settings = Settings()
    given = {
        "host": host,
        "port": port,
        "public_read": public_read,
        "nightly_at": nightly and nightly.time(),
    }
    settings = settings.model_copy(update={key: v for key, v in given.items() if v is not None})
    if inherited is not None:
        # One of several: the first looks after nights, and said where it serves.
        identity = end_with_the_first()
        with socket.socket(fileno=inherited) as listener, Registry(settings) as registry:
            serve_until_stopped(listener, registry, identity, first=False)
        return
    identity = Identity.make()
    # Before the database starts: a taken port is known at once.
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port))
        registry = stack.enter_context(Registry(settings))
        if settings.nightly_at is not None:
            stack.enter_context(nights_done(registry, settings.nightly_at))
        if processes > 1:
            registry.warm_up()
            options = ["--host", settings.host]
            options += ["--public-read"] if settings.public_read else []
            stack.enter_context(served_by_others(listener, processes - 1, identity, options))
        serve_until_stopped(listener, registry, identity)
