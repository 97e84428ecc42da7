"""The page of one's own folders, and of copies in them; it works without JavaScript."""

import time
from collections.abc import AsyncIterator, Sequence, Set
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from registry.api.deps import KeeperDep, OpenRegistryDep, QueueDep, RegistryDep
from registry.api.folder_keeper import FolderKeeper
from registry.api.forms import MOST_FIELDS, FormDep, read_fields
from registry.api.limits import TAKES_STREAM
from registry.api.pages.render import render, render_html
from registry.api.pages.texts import Language, language_of, text_of
from registry.api.routes.folders import listed, refresh
from registry.api.routes.pages import frame
from registry.api.server_events import Part, check_database, tell_part
from registry.errors import NoFolderError, NotTrashedError
from registry.retrieval.copies import Copy
from registry.retrieval.terms import DuplicateKind
from registry.service import Registry

router = APIRouter(prefix="/folders")


# Copies that leave nothing behind when one of them goes.
EXACT: Sequence[DuplicateKind] = ("file", "tensors", "change")
# What was asked for on the page before may be begun by another serving process.
BEGIN_SECONDS = 3.0


@router.get("")
def folders_page(
    request: Request,
    registry: RegistryDep,
    keeper: KeeperDep,
    moved: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    return _page(request, registry, keeper, moved=moved)


def _page(
    request: Request,
    registry: Registry,
    keeper: FolderKeeper,
    path: str = "",
    problem: str = "",
    moved: int = 0,
) -> HTMLResponse:
    """Render the page; with the path that somebody wrote, and why it cannot be added, if so.

    `moved` files went to the trash.
    """
    return render(
        request,
        "folders.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        active="folders",
        is_busy=keeper.is_busy(),
        path=path,
        problem=problem,
        moved=moved,
        dropped=registry.folders.dropped.name,
        **_listed(registry, keeper),
        **frame(registry),
    )


@router.get(
    "/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(check_database), TAKES_STREAM],
)
async def watch_folders(
    request: Request, registry: OpenRegistryDep, keeper: KeeperDep, queue: QueueDep
) -> AsyncIterator[ServerSentEvent]:
    """Tell the list of folders until none is refreshed any more."""
    begun = time.monotonic() + BEGIN_SECONDS

    def look() -> Part:
        # Before the list is: what ends in between is told as the last.
        is_busy = keeper.is_busy() or time.monotonic() < begun
        values = _listed(registry, keeper)
        is_busy = is_busy or any(folder.step for folder in values["folders"])
        return Part(render_html(request, "folders_list.html", **values), not is_busy)

    async for event in tell_part(look, queue.closing):
        yield event


@router.post("")
def add_from_page(
    request: Request, form: FormDep, registry: RegistryDep, keeper: KeeperDep
) -> Response:
    path = form.get("path", "")
    try:
        keeper.ask(registry.folders.add(path))
    except NoFolderError as error:
        # On the page itself: what was written there is wrong in a sign or two, mostly.
        return _page(request, registry, keeper, path, str(error))
    return _back()


@router.post("/refresh")
def refresh_from_page(form: FormDep, registry: RegistryDep, keeper: KeeperDep) -> RedirectResponse:
    refresh(form.get("path", ""), registry, keeper, draw_covers=bool(form.get("draw")))
    return _back()


@router.post("/remove")
def remove_from_page(form: FormDep, registry: RegistryDep) -> RedirectResponse:
    registry.folders.remove(form.get("path", ""))
    return _back()


@router.get("/copies")
def copies_page(request: Request, registry: RegistryDep, ticked: bool = False) -> HTMLResponse:
    """List copies; with all but the first of those that change nothing ticked, if so asked for."""
    groups = registry.folders.copies()
    exact = (copy for group in _on_one_page(groups) for copy in group[1:] if copy.kind in EXACT)
    return _copies(request, registry, groups, {copy.adapter_id for copy in exact if ticked})


def _copies(
    request: Request,
    registry: Registry,
    groups: Sequence[Sequence[Copy]],
    ticked: Set[int],
    problem: str = "",
) -> HTMLResponse:
    shown = _on_one_page(groups)
    ids = [copy.adapter_id for group in shown for copy in group]
    return render(
        request,
        "copies.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        ticked=ticked,
        problem=problem,
        active="folders",
        groups=shown,
        left=sum(map(len, groups)) - len(ids),
        cards={card.id: card for card in registry.cards(ids)},
        **frame(registry),
    )


def _on_one_page(groups: Sequence[Sequence[Copy]]) -> list[Sequence[Copy]]:
    """Return as many copies as can all be ticked, for more than a form may have are refused."""
    shown: list[Sequence[Copy]] = []
    room = MOST_FIELDS
    for group in groups:
        # One alone would not tell what it is a copy of.
        if room < 2:
            break
        shown.append(group[:room])
        room -= len(shown[-1])
    return shown


@router.post("/trash")
def trash_from_page(
    request: Request,
    fields: Annotated[dict[str, list[str]], Depends(read_fields)],
    registry: RegistryDep,
    keeper: KeeperDep,
) -> Response:
    """Move what was ticked to the trash, but not the last of an adapter's copies."""
    given = fields.get("adapter", [])
    if not all(one.isdecimal() and len(one) < 17 for one in given):
        raise NotTrashedError("what was ticked", "that is no adapter's number")
    ticked = {int(one) for one in given}
    groups = registry.folders.copies()
    if problem := _why_not(language_of(request), groups, ticked):
        return _copies(request, registry, groups, ticked, problem)
    for folder in registry.folders.trash(sorted(ticked)):
        keeper.ask(folder)
    return RedirectResponse(f"/folders?moved={len(ticked)}", HTTPStatus.SEE_OTHER)


def _why_not(language: Language, groups: Sequence[Sequence[Copy]], ticked: Set[int]) -> str | None:
    if not ticked:
        return text_of(language, "copies.unticked")
    if not ticked <= {copy.adapter_id for group in groups for copy in group}:
        # The page that was ticked is of a while ago.
        return text_of(language, "copies.alone")
    for group in groups:
        if ticked >= {copy.adapter_id for copy in group}:
            return text_of(language, "copies.all", name=group[0].name)
    return None


def _listed(registry: Registry, keeper: FolderKeeper) -> dict[str, Any]:
    """Return what the list of folders is rendered with."""
    return {
        "folders": listed(registry, keeper).items,
        "unwatched": registry.folders.unwatched(),
        "draws": bool(registry.settings.base_models),
    }


def _back() -> RedirectResponse:
    return RedirectResponse("/folders", HTTPStatus.SEE_OTHER)
