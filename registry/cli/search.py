"""Commands that find adapters and say what is known of them."""

from typing import Annotated

import typer

from registry.cli.context import open_registry
from registry.cli.options import AdapterId, FilterOptions, Json, Limit, grouped
from registry.cli.output import print_detail, print_json, print_search, print_table

app = typer.Typer()


@app.command()
@grouped
def search(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What the images look like; English or Chinese.")],
    filters: FilterOptions,
    limit: Limit = 10,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Show the nearest also when nothing fits.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find adapters by their weights, by their covers and by words."""
    from registry.api.schemas import SearchAnswer

    page = open_registry(context).search(
        text,
        filters.base_model,
        limit,
        author=filters.author,
        tags=filters.tag or [],
        licence=filters.licence,
        hub=filters.hub,
        nearest=nearest,
    )
    if as_json:
        print_json(SearchAnswer.from_page(page).model_dump(mode="json"))
    else:
        print_search(page)


@app.command()
def show(context: typer.Context, adapter_id: AdapterId, as_json: Json = False) -> None:
    """Show all that is known of an adapter."""
    from registry.api.schemas import AdapterDetailAnswer

    detail = open_registry(context).adapter(adapter_id)
    if as_json:
        print_json(AdapterDetailAnswer.from_detail(detail).model_dump(mode="json"))
    else:
        print_detail(detail)


@app.command()
def similar(
    context: typer.Context, adapter_id: AdapterId, limit: Limit = 10, as_json: Json = False
) -> None:
    """List adapters of the same base model by the similarity of their weights."""
    from registry.api.schemas import ResultAnswer

    results = open_registry(context).similar(adapter_id, limit)
    if as_json:
        answers = [ResultAnswer.from_result(result) for result in results]
        print_json([answer.model_dump(mode="json") for answer in answers])
        return
    rows = [
        {
            "id": str(result.card.id),
            "name": result.card.name,
            "author": result.card.author,
            "similarity": f"{result.hit.score:.2f}",
        }
        for result in results
    ]
    print_table(rows, f"Adapter {adapter_id} has no weight embedding to compare.")


@app.command()
def duplicates(context: typer.Context, adapter_id: AdapterId, as_json: Json = False) -> None:
    """List adapters that are this one again: re-uploaded, re-saved, cast or little changed."""
    from registry.api.schemas import DuplicateAnswer

    results = open_registry(context).duplicates(adapter_id)
    if as_json:
        print_json(
            [DuplicateAnswer.from_result(result).model_dump(mode="json") for result in results]
        )
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
        for result in results
    ]
    print_table(rows, f"Adapter {adapter_id} is here only once.")
