"""The page of one's own folders, and of copies in them; it works without JavaScript."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from registry.api.deps import KeeperDep, RegistryDep
from registry.api.forms import read_fields, read_form
from registry.api.pages.render import render
from registry.api.routes.folders import listed, refresh
from registry.api.routes.pages import frame
from registry.errors import NotTrashedError

router = APIRouter(prefix="/folders")

Form = Annotated[dict[str, str], Depends(read_form)]


@router.get("")
def folders_page(request: Request, registry: RegistryDep, keeper: KeeperDep) -> HTMLResponse:
    return render(
        request,
        "folders.html",
        active="folders",
        folders=listed(registry, keeper).items,
        draws=bool(registry.settings.base_models),
        **frame(registry),
    )


@router.get("/list")
def folders_list(request: Request, registry: RegistryDep, keeper: KeeperDep) -> HTMLResponse:
    """Return the part of the page that changes while a folder is refreshed."""
    return render(
        request,
        "folders_list.html",
        folders=listed(registry, keeper).items,
        draws=bool(registry.settings.base_models),
    )


@router.post("")
def add_from_page(form: Form, registry: RegistryDep, keeper: KeeperDep) -> RedirectResponse:
    keeper.ask(registry.folders.add(form.get("path", "")))
    return _back()


@router.post("/refresh")
def refresh_from_page(form: Form, registry: RegistryDep, keeper: KeeperDep) -> RedirectResponse:
    refresh(form.get("path", ""), registry, keeper, draw_covers=bool(form.get("draw")))
    return _back()


@router.post("/remove")
def remove_from_page(form: Form, registry: RegistryDep) -> RedirectResponse:
    registry.folders.remove(form.get("path", ""))
    return _back()


@router.get("/copies")
def copies_page(request: Request, registry: RegistryDep) -> HTMLResponse:
    groups = registry.folders.copies()
    ids = [copy.adapter_id for group in groups for copy in group]
    return render(
        request,
        "copies.html",
        active="folders",
        groups=groups,
        cards={card.id: card for card in registry.cards(ids)},
        **frame(registry),
    )


@router.post("/trash")
def trash_from_page(
    fields: Annotated[dict[str, list[str]], Depends(read_fields)],
    registry: RegistryDep,
    keeper: KeeperDep,
) -> RedirectResponse:
    given = fields.get("adapter", [])
    if not all(one.isdecimal() and len(one) < 17 for one in given):
        raise NotTrashedError("what was ticked", "that is no adapter's number")
    for folder in registry.folders.trash([int(one) for one in given]):
        keeper.ask(folder)
    return _back()


def _back() -> RedirectResponse:
    return RedirectResponse("/folders", HTTPStatus.SEE_OTHER)
