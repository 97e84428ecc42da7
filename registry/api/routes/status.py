"""How the registry is, and what its nights came to: for who runs it, not for the public."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from registry.api.deps import OpenRegistryDep, QueueDep, RegistryDep
from registry.api.limits import TAKES_STREAM
from registry.api.pages.render import render, render_html
from registry.api.routes.pages import frame
from registry.api.schemas.asked import PageParams
from registry.api.schemas.service import NightListAnswer, RunListAnswer, StatusAnswer
from registry.api.server_events import Part, check_database, tell_part
from registry.retrieval.cursors import read_number

router = APIRouter(prefix="/v1", tags=["service"])
read_router = APIRouter(prefix="/v1", tags=["service"])
page_router = APIRouter()
read_page_router = APIRouter()

# Nights on the page, and refreshes.
SHOWN = 14
# What the counts of a refresh have beside numbers.
WORDS = ("skipped", "problems")


@router.get("/status")
def get_status(registry: RegistryDep) -> StatusAnswer:
    """Say what is here, what was refused and why, what waits, who works, and of the nights."""
    return StatusAnswer.from_status(registry.status(), registry.next_night())


@router.get("/nights")
def list_nights(params: Annotated[PageParams, Query()], registry: RegistryDep) -> NightListAnswer:
    """List nightly refreshes with their reports, newest first."""
    nights = registry.nights(before_id=read_number("nights", params.cursor), limit=params.limit + 1)
    return NightListAnswer.from_nights(nights, params.limit)


@read_router.get("/runs")
def list_runs(params: Annotated[PageParams, Query()], registry: RegistryDep) -> RunListAnswer:
    """List refreshes, newest first."""
    runs = registry.runs(before_id=read_number("runs", params.cursor), limit=params.limit + 1)
    answer = RunListAnswer.from_runs(runs, params.limit)
    if registry.settings.public_read:
        # Some addresses are folders of this machine, and what failed names them and files there.
        hidden = [
            run.model_copy(
                update={
                    "endpoint": None,
                    "error": run.error and "failed",
                    "counts": {name: own for name, own in run.counts.items() if name not in WORDS},
                }
            )
            for run in answer.items
        ]
        return answer.model_copy(update={"items": hidden})
    return answer


@read_page_router.get(
    "/indexing/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(check_database), TAKES_STREAM],
)
async def watch_indexing(
    request: Request, registry: OpenRegistryDep, queue: QueueDep
) -> AsyncIterator[ServerSentEvent]:
    """Tell the part of every page that says how far a refresh is; nothing where none is."""

    def look() -> Part:
        run = next(iter(registry.runs(limit=1)), None)
        html = render_html(request, "indexing.html", run=run)
        return Part(html, run is None or run.step is None)

    async for event in tell_part(look, queue.closing):
        yield event


@page_router.get("/status")
def status_page(request: Request, registry: RegistryDep) -> HTMLResponse:
    return render(
        request,
        "status.html",
        active="status",
        here=registry.status(),
        next_night=registry.next_night(),
        nights=registry.nights(limit=SHOWN),
        runs=registry.runs(limit=SHOWN),
        **frame(registry),
    )
