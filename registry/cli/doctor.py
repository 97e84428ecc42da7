"""The command that says what is wrong, and what to do."""

from dataclasses import asdict
from typing import Annotated

import typer

from registry.cli.context import settings_of, tell_home
from registry.cli.options import Json
from registry.cli.output import print_json, stdout

app = typer.Typer()


@app.command()
def doctor(
    context: typer.Context,
    hubs: Annotated[
        bool, typer.Option("--hubs", help="Ask the hubs that nights crawl, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at settings, disk, database, encoders, blobs and jobs; say what to do, a line each."""
    from registry.upkeep.checkup import check_up

    settings = settings_of(context)
    tell_home(settings)
    findings = []
    for finding in check_up(settings, hubs=hubs):
        findings.append(finding)
        if not as_json:
            line = f"{finding.level:<8} {finding.what}: {finding.said}"
            stdout().print(line, markup=False, soft_wrap=True)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    raise typer.Exit(1 if any(finding.level == "wrong" for finding in findings) else 0)
