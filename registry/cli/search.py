"""Commands that find adapters and say what is known of them."""

from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from registry.cli.context import open_registry
from registry.cli.errors import UsageError
from registry.cli.options import (
    AdapterId,
    FilterOptions,
    FoundOptions,
    Json,
    LikeOptions,
    PagingOptions,
    choice,
    grouped,
)
from registry.cli.output import (
    print_claim,
    print_detail,
    print_facet_counts,
    print_json,
    print_search,
    print_table,
    stderr,
)
from registry.cli.picture import search_by_picture

if TYPE_CHECKING:
    from registry.retrieval.cards import AdapterCard

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
    text: Annotated[
        str, typer.Argument(help="What the images look like; English or Chinese.")
    ] = "",
    picture: Annotated[
        Path | None, typer.Option(help="Find the adapters of this picture instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find adapters by their weights, by their covers and by words."""
    from registry.api.schemas.found import SearchAnswer

    likes = wishes.likes()
    if picture is not None:
        if text or likes:
            raise UsageError("--picture is searched by alone; leave the text out.")
        registry = open_registry(context)
        search_by_picture(registry, picture, filters.filters(), going.limit, as_json=as_json)
        return
    paging = going.paging()
    page = open_registry(context).search(
        text,
        limit=paging.limit,
        filters=filters.filters(),
        cursor=paging.cursor,
        likes=likes,
        sort=paging.sort,
        seed=paging.seed,
    )
    if as_json:
        print_json(SearchAnswer.from_page(page).model_dump(mode="json"))
    else:
        print_search(page)


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
    from registry.api.schemas.adapters import AdapterListAnswer
    from registry.retrieval.terms import SORTS, State

    page = open_registry(context).browse(
        filters.filters(),
        choice("--sort", going.sort, SORTS),
        going.cursor,
        going.limit,
        seed=going.seed,
        state=choice("--state", state, get_args(State)),
    )
    if as_json:
        print_json(AdapterListAnswer.from_page(page).model_dump(mode="json"))
        return
    print_table([_row(card) for card in page.cards], f"No adapter here is {state}.")
    number = f"{page.total.count:,}"
    found = f"{number} adapters" if page.total.exact else f"more than {number} adapters"
    stderr().print(found, style="dim")
    _print_next(page.next)


def _print_next(cursor: str | None) -> None:
    if cursor is not None:
        stderr().print(f"More: the same with --cursor {cursor}", style="dim", soft_wrap=True)


@app.command()
@grouped
def facets(context: typer.Context, filters: FilterOptions, as_json: Json = False) -> None:
    """Count what is here by every value that it can be filtered by."""
    from registry.api.schemas.found import FacetsAnswer

    counted = open_registry(context).facets(filters.filters())
    if as_json:
        print_json(FacetsAnswer.from_facets(counted).model_dump(mode="json"))
    else:
        print_facet_counts(counted)


def _row(card: "AdapterCard") -> dict[str, str]:
    row = {
        "id": str(card.id),
        "name": card.name,
        "base model": card.base_model,
        "file": card.file_name,
    }
    if card.state == "ready":
        return row | {"trigger words": ", ".join(card.trigger_words[:2])}
    # The first cause; `show` has all.
    why = (card.refusal or "").split("; ")[0]
    return row if card.state == "gone" else row | {"why": why}


@app.command()
def show(context: typer.Context, adapter_id: AdapterId, as_json: Json = False) -> None:
    """Show all that is known of an adapter."""
    from registry.api.schemas.adapters import AdapterDetailAnswer

    detail = open_registry(context).adapter(adapter_id)
    if as_json:
        print_json(AdapterDetailAnswer.from_detail(detail).model_dump(mode="json"))
    else:
        print_detail(detail)


@app.command()
@grouped
def similar(
    context: typer.Context, adapter_id: AdapterId, going: FoundOptions, as_json: Json = False
) -> None:
    """List adapters of the same family by the similarity of their weights."""
    from registry.api.schemas.found import SimilarAnswer

    found = open_registry(context).similar(adapter_id, going.paging())
    if as_json:
        print_json(SimilarAnswer.from_similar(found).model_dump(mode="json"))
        return
    if found.compared_by == "fingerprints":
        stderr().print(BY_FINGERPRINTS, style="yellow")
    rows = [
        {
            "id": str(result.card.id),
            "name": result.card.name,
            "author": result.card.author,
            "similarity": f"{result.hit.score:.2f}",
        }
        for result in found.results
    ]
    print_table(rows, f"Nothing is there to compare adapter {adapter_id} with.")
    _print_next(found.next)


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
    detail = open_registry(context).claim(adapter_id, base_model, who or getuser())
    if as_json:
        print_json(AdapterDetailAnswer.from_detail(detail).model_dump(mode="json"))
    else:
        print_claim(detail)


@app.command()
@grouped
def duplicates(
    context: typer.Context, adapter_id: AdapterId, going: FoundOptions, as_json: Json = False
) -> None:
    """List adapters that are this one again: re-uploaded, re-saved, cast or little changed."""
    from registry.api.schemas.found import DuplicateListAnswer

    page = open_registry(context).duplicates(adapter_id, going.paging())
    if as_json:
        print_json(DuplicateListAnswer.from_page(page).model_dump(mode="json"))
        return
    rows = [
        {
            "id": str(result.card.id),
            "name": result.card.name,
            "author": result.card.author,
            "hub": result.card.hub,
            "same": result.duplicate.kind,
            "similarity": f"{result.duplicate.similarity:.3f}",
            "strength": f"{result.duplicate.strength:.2f}",
        }
        for result in page.results
    ]
    print_table(rows, f"Adapter {adapter_id} is here only once.")
    _print_next(page.next)
