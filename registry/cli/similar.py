"""Commands that start from an adapter: similar ones, and the same ones again."""

from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.output import print_json, print_table

if TYPE_CHECKING:
    from registry.service import Registry

AdapterId = Annotated[int, typer.Argument(metavar="ID", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def similar(
    adapter_id: AdapterId,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 10,
    as_json: Json = False,
) -> None:
    """List adapters of the same base model by the similarity of their weights."""
    from registry.api.schemas import ResultAnswer

    with _open_registry() as registry:
        results = registry.similar(adapter_id, limit)
    if as_json:
        print_json([ResultAnswer.from_result(one).model_dump(mode="json") for one in results])
        return
    rows = [
        {
            "id": str(one.card.id),
            "name": one.card.name,
            "author": one.card.author,
            "similarity": f"{one.hit.score:.2f}",
        }
        for one in results
    ]
    print_table(rows, f"Adapter {adapter_id} has no weight embedding to compare.")


def duplicates(adapter_id: AdapterId, as_json: Json = False) -> None:
    """List adapters that are this one again: re-uploaded, re-saved, cast or little changed."""
    from registry.api.schemas import DuplicateAnswer

    with _open_registry() as registry:
        found = registry.duplicates(adapter_id)
    if as_json:
        print_json([DuplicateAnswer.from_result(one).model_dump(mode="json") for one in found])
        return
    rows = [
        {
            "id": str(one.card.id),
            "name": one.card.name,
            "author": one.card.author,
            "hub": one.card.hub,
            "same": one.duplicate.kind,
            "similarity": f"{one.duplicate.similarity:.3f}",
            "strength": f"{one.duplicate.strength:.2f}",
        }
        for one in found
    ]
    print_table(rows, f"Adapter {adapter_id} is here only once.")


def _open_registry() -> "Registry":
    from registry.service import Registry

    return Registry()
