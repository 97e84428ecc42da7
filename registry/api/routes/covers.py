"""Covers that are drawn here, for adapters that came without any."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from registry.api.deps import OpenRegistryDep, QueueDep
from registry.api.description import refusals
from registry.api.errors import BusyError
from registry.api.limits import TAKES_IMAGE
from registry.api.queue import GenerationQueue, Job, result_for
from registry.api.routes.adapters import IdPath
from registry.api.schemas.adapters import AdapterDetailAnswer
from registry.errors import HasCoverError, NoBaseModelError
from registry.service import Registry

router = APIRouter(prefix="/v1", tags=["adapters"])
# The button of an adapter's page.
page_router = APIRouter()


@router.post(
    "/adapters/{adapter_id}/cover",
    dependencies=[TAKES_IMAGE],
    responses=refusals(HasCoverError("Paper Fox", 7), NoBaseModelError("flux.1-dev"), BusyError()),
)
async def draw_cover(
    adapter_id: IdPath, request: Request, registry: OpenRegistryDep, queue: QueueDep
) -> AdapterDetailAnswer:
    """Draw a cover for an adapter that came without any, and answer when it is there.

    By its name and its first trigger word, with seed 0; the cover's recipe says how. It goes when
    the adapter is listed with a cover of its own. Who leaves gives it up.
    """
    await _draw(adapter_id, request, registry, queue)
    detail = await run_in_threadpool(registry.adapter, adapter_id)
    return AdapterDetailAnswer.from_detail(detail)


@page_router.post("/adapters/{adapter_id}/cover", dependencies=[TAKES_IMAGE])
async def draw_cover_from_page(
    adapter_id: IdPath, request: Request, registry: OpenRegistryDep, queue: QueueDep
) -> RedirectResponse:
    await _draw(adapter_id, request, registry, queue)
    return RedirectResponse(f"/adapters/{adapter_id}#covers", HTTPStatus.SEE_OTHER)


async def _draw(
    adapter_id: int, request: Request, registry: Registry, queue: GenerationQueue
) -> None:
    """Draw an adapter's cover in its turn among the images that are asked for."""

    def work(job: Job[None]) -> None:
        registry.cover_drawing.draw(adapter_id, lambda done, total: job.check())

    await result_for(queue.submit(work), request)
