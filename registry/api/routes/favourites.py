"""Favourites and notes: what the people of this registry keep of its adapters."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse

from registry.api.deps import RegistryDep
from registry.api.forms import FormDep
from registry.api.routes.adapters import IdPath
from registry.api.schemas.asked import PageParams
from registry.api.schemas.favourites import (
    MOST_NOTE_LETTERS,
    FavouriteAnswer,
    FavouriteListAnswer,
    FavouriteRequest,
)
from registry.retrieval.cursors import read_number, write_cursor

router = APIRouter(prefix="/v1", tags=["favourites"])
# The star and the note of the pages.
page_router = APIRouter()


@router.get("/favourites")
def list_favourites(
    params: Annotated[PageParams, Query()], registry: RegistryDep
) -> FavouriteListAnswer:
    """List favourites with their notes, the last marked first."""
    before = read_number("favourites", params.cursor)
    found = registry.favourites(before_id=before, limit=params.limit + 1)
    more, found = len(found) > params.limit, found[: params.limit]
    return FavouriteListAnswer(
        items=[FavouriteAnswer.from_favourite(*pair) for pair in found],
        next=write_cursor("favourites", [found[-1][0].id]) if more else None,
    )


@router.put("/favourites/{adapter_id}")
def put_favourite(
    adapter_id: IdPath, asked: FavouriteRequest, registry: RegistryDep
) -> FavouriteAnswer:
    """Mark an adapter as a favourite, or write another note on it."""
    return FavouriteAnswer.from_favourite(*registry.mark_favourite(adapter_id, asked.note))


@router.delete("/favourites/{adapter_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_favourite(adapter_id: IdPath, registry: RegistryDep) -> None:
    """Unmark an adapter, and forget its note; nothing happens where it is none."""
    registry.unmark_favourite(adapter_id)


@page_router.post("/adapters/{adapter_id}/favourite")
def mark_from_page(
    adapter_id: IdPath,
    form: FormDep,
    registry: RegistryDep,
) -> RedirectResponse:
    """Do what the form says: an empty `starred` unmarks, and one without a note keeps it."""
    if form.get("starred"):
        # A browser sends an empty field as one that is empty, and `read_form` leaves it out.
        note = form.get("note", "") if "with_note" in form else None
        registry.mark_favourite(adapter_id, note and note[:MOST_NOTE_LETTERS])
    else:
        registry.unmark_favourite(adapter_id)
    return RedirectResponse(f"/adapters/{adapter_id}#favourite", HTTPStatus.SEE_OTHER)
