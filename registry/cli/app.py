"""`autolora`: the registry's verbs. Results go to stdout, progress to stderr."""

import typer

from registry.cli import (
    caption,
    encoders,
    fuse,
    inspect,
    night,
    refresh,
    search,
    serve,
    status,
    token,
    train_encoder,
    train_gates,
    worker,
)
from registry.cli.errors import OneLineErrors

app = typer.Typer(
    cls=OneLineErrors,
    help="Find LoRA adapters by what they do, and make images with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(search.app)
app.add_typer(inspect.app)
app.add_typer(fuse.app)
app.add_typer(refresh.app)
app.add_typer(caption.app)
app.add_typer(encoders.app, name="encoders")
app.add_typer(train_encoder.app)
app.add_typer(train_gates.app)
app.add_typer(serve.app)
app.add_typer(worker.app)
app.add_typer(night.app)
app.add_typer(status.app)
app.add_typer(token.app, name="token")
