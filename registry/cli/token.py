"""Tokens, by which other machines are let in."""

from dataclasses import asdict
from typing import Annotated

import typer

from registry.cli.context import open_registry
from registry.cli.options import Json
from registry.cli.output import print_json, stderr, stdout
from registry.token_scopes import TokenScope

app = typer.Typer(name="token", help="Let other machines in, and no more.", no_args_is_help=True)


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    scope: Annotated[
        list[TokenScope] | None,
        typer.Option(help="read, fuse (draw images), admin (change and watch); may be repeated."),
    ] = None,
) -> None:
    """Make a token and print it, which is the only time. By default it reads."""
    token = open_registry(context).create_token(name, scope or [TokenScope.READ])
    stderr().print("Keep it: it is not shown again.", markup=False)
    typer.echo(token)


@app.command("list")
def list_all(context: typer.Context, as_json: Json = False) -> None:
    """List tokens, and what each may do."""
    tokens = open_registry(context).tokens()
    if as_json:
        print_json([asdict(token) for token in tokens])
        return
    if not tokens:
        stdout().print("There is no token: `autolora token create` makes one.")
    for token in tokens:
        state = f"revoked {token.revoked_at:%Y-%m-%d}" if token.revoked_at else "valid"
        line = f"{token.id} {token.name}: {', '.join(token.scopes)}; {state}"
        stdout().print(line, markup=False, soft_wrap=True)


@app.command("revoke")
def revoke(
    context: typer.Context, token_id: Annotated[int, typer.Argument(help="From the list.")]
) -> None:
    """Let a token open nothing from now on."""
    open_registry(context).revoke_token(token_id)
    stderr().print(f"Token {token_id} opens nothing any more.", markup=False)
