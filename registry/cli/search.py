"""Commands that find adapters and say what is known of them."""

from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crawler.counted import counted
from registry.cli.adapter_facts import print_claim, print_detail
from registry.cli.context import open_reader, open_registry
from registry.cli.errors import UsageError
from registry.cli.options import (
    AdapterId,
    BaseModel,
    FilterOptions,
    FoundOptions,
    Json,
    LikeOptions,
    Most,
    PagingOptions,
    grouped,
)
from registry.cli.output import (
    last_of,
    print_answer,
    print_facet_counts,
    print_json,
    print_more,
    print_table,
    stderr,
    stdout,
)
from registry.cli.picture import print_picture
from registry.cli.search_table import print_search
from registry.retrieval.given_values import check_choice
from registry.retrieval.terms import SORTS, STATES

if TYPE_CHECKING:
    from registry.api.schemas.adapters import AdapterAnswer, AdapterListAnswer
    from registry.api.schemas.found import DuplicateListAnswer, SearchAnswer, SimilarAnswer

app = typer.Typer()

BY_FINGERPRINTS = (
    "Compared by fingerprints, for no weight encoder knows this adapter: they tell copies and "
    "retrained kin, not what images look like; near 0 means nothing."
)


@app.command()
@grouped
def search(
    context: typer.Context,
    filters: FilterOptions,
    wishes: LikeOptions,
    going: FoundOptions,
    words: Annotated[
        list[str] | None, typer.Argument(help="What the images look like; English or Chinese.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Find the adapters of this picture instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find adapters by their weights, by their covers and by words. Without words, list all."""
    text = " ".join(words or ())
    if picture is not None:
        if text or wishes:
            raise UsageError("--picture is searched by alone; leave the text out.")
        if going != FoundOptions(limit=going.limit):
            raise UsageError(
                "--picture has one list, the surest first: leave the order, page and cursor out."
            )
        found = open_reader(context).search_picture(picture, going.limit, **filters.asked())
        print_answer(found, print_picture, as_json=as_json)
        return
    reader = open_reader(context)
    page = going.read(
        lambda cursor: reader.search(
            text,
            cursor=cursor,
            like=wishes.like or (),
            unlike=wishes.unlike or (),
            unlike_text=wishes.unlike_text,
            **going.order(),
            **filters.asked(),
        )
    )
    asked = text.strip() or wishes
    show = print_search if asked else _print_everything
    print_answer(page, lambda page: show(page, going), as_json=as_json)


def _print_everything(page: "SearchAnswer", going: FoundOptions) -> None:
    room = stdout().width // 3
    rows = [_row(result.adapter, room) for result in page.results]
    print_table(rows, "No adapter here has what the filters ask for.")
    # A server of an earlier version does not tell.
    if page.total is not None:
        _print_total(page.total, exact=page.total_exact is not False)
    print_more(going.going_on(page.next))


@app.command("list")
@grouped
def list_(
    context: typer.Context,
    filters: FilterOptions,
    going: PagingOptions,
    state: Annotated[
        str, typer.Option(help="ready, listed (not all of it is here yet), refused or gone.")
    ] = "ready",
    as_json: Json = False,
) -> None:
    """List what is here, in an order of choice."""
    reader = open_reader(context)
    page = going.read(
        lambda cursor: reader.list(
            check_choice("--sort", going.sort, SORTS),
            going.limit,
            cursor=cursor,
            seed=going.seed,
            state=check_choice("--state", state, STATES),
            **filters.asked(),
        )
    )
    nothing = f"No adapter here is {state}."
    if filters != FilterOptions():
        nothing = f"No adapter here that is {state} has what the filters ask for."
    print_answer(page, lambda page: _print_list(page, nothing, going), as_json=as_json)


def _print_list(page: "AdapterListAnswer", nothing: str, going: PagingOptions) -> None:
    room = stdout().width // 3
    print_table([_row(adapter, room) for adapter in page.items], nothing)
    _print_total(page.total, exact=page.total_exact)
    print_more(going.going_on(page.next))


def _print_total(total: int, *, exact: bool) -> None:
    number = counted(total, "adapter")
    stderr().print(number if exact else f"more than {number}", style="dim")


def _row(adapter: "AdapterAnswer", room: int) -> dict[str, str]:
    """Return what a list says of an adapter, its file in so many columns."""
    row = {
        "id": str(adapter.id),
        "name": adapter.name,
        "base model": adapter.base_model,
        "file": last_of(adapter.file_name, room),
    }
    if adapter.state == "ready":
        return row | {"trigger words": ", ".join(adapter.trigger_words[:2])}
    # The first cause; `show` has all.
    why = (adapter.refusal or "").split("; ")[0]
    return row if adapter.state == "gone" else row | {"why": why}


@app.command()
@grouped
def facets(context: typer.Context, filters: FilterOptions, as_json: Json = False) -> None:
    """Count what is here by every value that it can be filtered by."""
    counted = open_reader(context).facets(**filters.asked())
    print_answer(counted, print_facet_counts, as_json=as_json)


@app.command()
def show(context: typer.Context, adapter_id: AdapterId, as_json: Json = False) -> None:
    """Show all that is known of an adapter."""
    print_answer(open_reader(context).show(adapter_id), print_detail, as_json=as_json)


@app.command()
@grouped
def similar(
    context: typer.Context, adapter_id: AdapterId, going: FoundOptions, as_json: Json = False
) -> None:
    """List adapters of the same family by the similarity of their weights."""
    reader = open_reader(context)
    page = going.read(lambda cursor: reader.similar(adapter_id, cursor=cursor, **going.order()))
    print_answer(page, lambda page: _print_similar(page, adapter_id, going), as_json=as_json)


def _print_similar(page: "SimilarAnswer", adapter_id: int, going: FoundOptions) -> None:
    if page.compared_by == "fingerprints":
        stderr().print(BY_FINGERPRINTS, style="yellow")
    rows = [
        {
            "id": str(result.adapter.id),
            "name": result.adapter.name,
            "author": result.adapter.author,
            "similarity": f"{result.score:.2f}",
        }
        for result in page.results
    ]
    print_table(rows, f"Nothing is there to compare adapter {adapter_id} with.")
    print_more(going.going_on(page.next))


@app.command()
@grouped
def duplicates(
    context: typer.Context, adapter_id: AdapterId, going: FoundOptions, as_json: Json = False
) -> None:
    """List adapters that are this one again: re-uploaded, re-saved, cast or little changed."""
    reader = open_reader(context)
    page = going.read(lambda cursor: reader.duplicates(adapter_id, cursor=cursor, **going.order()))
    print_answer(page, lambda page: _print_duplicates(page, adapter_id, going), as_json=as_json)


def _print_duplicates(page: "DuplicateListAnswer", adapter_id: int, going: FoundOptions) -> None:
    rows = [
        {
            "id": str(duplicate.adapter.id),
            "name": duplicate.adapter.name,
            "author": duplicate.adapter.author,
            "hub": duplicate.adapter.hub,
            "same": duplicate.kind,
            "similarity": f"{duplicate.similarity:.3f}",
            "strength": f"{duplicate.strength:.2f}",
        }
        for duplicate in page.items
    ]
    print_table(rows, f"Adapter {adapter_id} is here only once.")
    print_more(going.going_on(page.next))


@app.command()
def choose(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(help="What is to be drawn.")],
    k: Most = 3,
    base_model: BaseModel = None,
    as_json: Json = False,
) -> None:
    """Say which adapters `fuse` would draw a prompt with: one for each thing that it names."""
    chosen = open_reader(context).choose(" ".join(words), k, base_model=base_model)
    if as_json:
        print_json([choice.model_dump(mode="json") for choice in chosen])
        return
    rows = [
        {
            "id": str(choice.adapter.id),
            "name": choice.adapter.name,
            "base model": choice.adapter.base_model,
            "trigger words": ", ".join(choice.adapter.trigger_words[:2]),
        }
        for choice in chosen
    ]
    print_table(rows, "None suits it.")


@app.command()
def claim(
    context: typer.Context,
    adapter_id: AdapterId,
    base_model: Annotated[
        str | None, typer.Argument(help="As it is called here, on hubs or by trainers.")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Whose word it is. Default: your user's.")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take it back.")] = False,
    as_json: Json = False,
) -> None:
    """Say which base model an adapter is for, where its layers allow several.

    It counts before what hubs and files say, and stays through refreshes.
    """
    from registry.api.schemas.adapters import AdapterDetailAnswer

    if (base_model is None) is not withdraw:
        raise UsageError("name a base model, or take back what was said with --withdraw.")
    detail = open_registry(context).claim(adapter_id, base_model, who or _own_name())
    print_answer(AdapterDetailAnswer.from_detail(detail), print_claim, as_json=as_json)


def _own_name() -> str:
    """Return who asks; in a container a user may have a number only."""
    from registry.db.claims import SOMEBODY

    try:
        return getuser()
    except (KeyError, OSError):
        return SOMEBODY
