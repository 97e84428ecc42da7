"""The command that serves the API and the page."""

import os
import socket
from contextlib import ExitStack
from datetime import datetime
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.context import settings_of, tell_home
from registry.cli.loading import multiply_with_one_thread
from registry.cli.night import nights_done

if TYPE_CHECKING:
    from registry.config import Settings

app = typer.Typer()

# A folder where serving processes count together: prometheus_client's own variable.
SHARED_NUMBERS = "PROMETHEUS_MULTIPROC_DIR"


@app.command()
def serve(
    context: typer.Context,
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
    multiply_with_one_thread()
    from registry.logs import set_up_logs

    given = {
        "host": host,
        "port": port,
        "public_read": public_read,
        "nightly_at": nightly and nightly.time(),
    }
    said = {name: value for name, value in given.items() if value is not None}
    settings = settings_of(context).model_copy(update=said)
    set_up_logs(settings)
    if inherited is not None:
        _serve_as_one_of_several(settings, inherited)
        return
    with ExitStack() as stack:
        if processes > 1:
            # Their numbers are one server's, whichever of them is asked. Read when the library is
            # loaded.
            os.environ[SHARED_NUMBERS] = stack.enter_context(TemporaryDirectory())
        _serve(settings, processes, stack)


def _serve(settings: "Settings", processes: int, stack: ExitStack) -> None:
    from registry.cli.processes import served_by_others
    from registry.cli.server import listen, own_address, serve_until_stopped
    from registry.running import Identity
    from registry.service import Registry

    identity = Identity.make()
    # Before the database starts: a taken port is known at once.
    listener = stack.enter_context(listen(settings.host, settings.port))
    tell_home(settings, own_address(settings.host, listener.getsockname()[1]))
    registry = stack.enter_context(Registry(settings))
    if settings.nightly_at is not None:
        stack.enter_context(nights_done(registry, settings.nightly_at))
    if processes > 1:
        registry.warm_up()
        options = ["--host", settings.host]
        options += ["--public-read"] if settings.public_read else []
        stack.enter_context(served_by_others(listener, processes - 1, identity, options))
    serve_until_stopped(listener, registry, identity)


def _serve_as_one_of_several(settings: "Settings", inherited: int) -> None:
    """Serve on a socket that the first process opened; it looks after nights, and said where."""
    from registry.cli.processes import end_with_the_first
    from registry.cli.server import serve_until_stopped
    from registry.service import Registry

    identity = end_with_the_first()
    with socket.socket(fileno=inherited) as listener, Registry(settings) as registry:
        serve_until_stopped(listener, registry, identity, first=False)
