"""`autolora`: the registry's verbs. Results go to stdout, progress to stderr."""

from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli import encoders, fusing, inspect, similar, training
from registry.cli import refresh as commands
from registry.cli.errors import OneLineErrors
from registry.cli.output import (
    print_detail,
    print_json,
    print_search,
)

if TYPE_CHECKING:
    from registry.service import Registry

app = typer.Typer(
    cls=OneLineErrors,
    help="Find LoRA adapters by what they do, and make images with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.command()(commands.refresh)
app.command()(commands.crawl)
app.command()(commands.encode)
app.command()(fusing.fuse)
app.command()(fusing.grid)
app.command()(fusing.compare)
app.command()(fusing.export)
app.command()(similar.similar)
app.command()(similar.duplicates)
app.command()(training.train_encoder)
app.command()(training.train_gates)
app.command()(inspect.inspect)
app.add_typer(encoders.app, name="encoders")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
BaseModelOption = Annotated[str | None, typer.Option(help="Only adapters of this base model.")]


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What the images look like; English or Chinese.")],
    base_model: BaseModelOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 10,
    author: Annotated[str | None, typer.Option()] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Repeat for several.")] = None,
    licence: Annotated[str | None, typer.Option()] = None,
    hub: Annotated[str | None, typer.Option()] = None,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Show the nearest also when nothing fits.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find adapters by their weights, by their covers and by words."""
    from registry.api.schemas import SearchAnswer

    with _open_registry() as registry:
        page = registry.search(
            text,
            base_model,
            limit,
            author=author,
            tags=tag or [],
            licence=licence,
            hub=hub,
            nearest=nearest,
        )
    if as_json:
        print_json(SearchAnswer.from_page(page).model_dump(mode="json"))
    else:
        print_search(page)


@app.command()
def show(
    adapter_id: Annotated[int, typer.Argument(metavar="ID", min=1)], as_json: Json = False
) -> None:
    """Show all that is known of an adapter."""
    from registry.api.schemas import AdapterDetailAnswer

    with _open_registry() as registry:
        detail = registry.adapter(adapter_id)
    if as_json:
        print_json(AdapterDetailAnswer.from_detail(detail).model_dump(mode="json"))
    else:
        print_detail(detail)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Default: REGISTRY_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
) -> None:
    """Serve the API and the page."""
    from registry.cli.serving import listen, serve_until_stopped
    from registry.config import Settings
    from registry.service import Registry

    settings = Settings()
    given = {"host": host, "port": port}
    settings = settings.model_copy(update={key: v for key, v in given.items() if v is not None})
    # Before the database starts: a taken port is known at once.
    with listen(settings.host, settings.port) as listener, Registry(settings) as registry:
        serve_until_stopped(listener, registry)


def _open_registry() -> "Registry":
    from registry.service import Registry

    return Registry()
