"""How the registry is, and what its nights came to: for who runs it, not for the public."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from registry.api.deps import RegistryDep
from registry.api.pages.render import render
from registry.api.routes.pages import frame
from registry.api.schemas.asked import PageParams
from registry.api.schemas.service import NightListAnswer, StatusAnswer
from registry.retrieval.cursors import read_number

router = APIRouter(prefix="/v1", tags=["service"])
page_router = APIRouter()
read_page_router = APIRouter()

# Nights on the page, and refreshes.
SHOWN = 14


@router.get("/status")
def get_status(registry: RegistryDep) -> StatusAnswer:
    """Say what is here, what was refused and why, what waits, who works, and of the nights."""
    return StatusAnswer.from_status(registry.status(), registry.next_night())


@router.get("/nights")
def list_nights(params: Annotated[PageParams, Query()], registry: RegistryDep) -> NightListAnswer:
    """List nightly refreshes with their reports, newest first."""
    nights = registry.nights(before_id=read_number("nights", params.cursor), limit=params.limit + 1)
    return NightListAnswer.from_nights(nights, params.limit)


@read_page_router.get("/indexing")
def indexing_part(request: Request, registry: RegistryDep) -> HTMLResponse:
    """Return the part of every page that says how far a refresh is; nothing where none is."""
    runs = registry.runs(limit=1)
    return render(request, "indexing.html", run=runs[0] if runs else None)


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
