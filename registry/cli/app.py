"""`autolora`: the registry's verbs. Results go to stdout, progress to stderr."""

from typing import Annotated

import typer

from registry.cli.commands import CommandsByFile
from registry.cli.errors import report

app = typer.Typer(
    cls=CommandsByFile,
    help="Find LoRA adapters by what they do, and make images with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Subcommands take it over.
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

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
    from registry.config import misspelt_settings

    for name, meant in misspelt_settings().items():
        report(f"{name} is no setting and counts for nothing; is {meant} meant?")
