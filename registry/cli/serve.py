"""The command that serves the API and the page."""

from typing import Annotated

import typer

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
) -> None:
    """Serve the API and the page."""
    from registry.cli.server import listen, serve_until_stopped
    from registry.config import Settings
    from registry.service import Registry

    settings = Settings()
    given = {"host": host, "port": port, "public_read": public_read}
    settings = settings.model_copy(update={key: v for key, v in given.items() if v is not None})
    # Before the database starts: a taken port is known at once.
    with listen(settings.host, settings.port) as listener, Registry(settings) as registry:
        serve_until_stopped(listener, registry)
