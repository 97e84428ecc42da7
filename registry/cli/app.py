"""`autolora`: the registry's verbs. Results go to stdout, progress to stderr."""

from importlib.metadata import version
from typing import Annotated

import typer

from registry.cli import (
    backup,
    caption,
    doctor,
    download,
    draw_covers,
    encoders,
    export,
    fuse,
    inspect,
    mcp,
    night,
    refresh,
    remove,
    search,
    serve,
    settings,
    status,
    token,
    train_encoder,
    train_gates,
    worker,
)
from registry.cli.errors import OneLineErrors, report
from registry.config import misspelt_settings

app = typer.Typer(
    cls=OneLineErrors,
    help="Find LoRA adapters by what they do, and make images with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Subcommands take it over.
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autolora {version('autolora-registry')}")
        raise typer.Exit


@app.callback()
def prepare(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
    local: Annotated[
        bool,
        typer.Option("--local", help="Answer here, even where a server runs: REGISTRY_LOCAL."),
    ] = False,
) -> None:
    for name, meant in misspelt_settings().items():
        report(f"{name} is no setting and counts for nothing; is {meant} meant?")


app.add_typer(search.app)
app.add_typer(download.app)
app.add_typer(remove.app)
app.add_typer(inspect.app)
app.add_typer(fuse.app)
app.add_typer(export.app)
app.add_typer(refresh.app)
app.add_typer(caption.app)
app.add_typer(draw_covers.app)
app.add_typer(encoders.app, name="encoders")
app.add_typer(train_encoder.app)
app.add_typer(train_gates.app)
app.add_typer(serve.app)
app.add_typer(mcp.app)
app.add_typer(worker.app)
app.add_typer(night.app)
app.add_typer(status.app)
app.add_typer(settings.app)
app.add_typer(doctor.app)
app.add_typer(backup.app)
app.add_typer(token.app, name="token")
