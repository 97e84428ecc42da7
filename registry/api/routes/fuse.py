"""Making images."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from crawler.errors import AutoLoraError
from registry.api import drawing
from registry.api.accepted import liked_best
from registry.api.deps import OpenRegistryDep, QueueDep
from registry.api.description import refusals
from registry.api.errors import BusyError, UploadsBusyError, log_hidden, problem_for
from registry.api.idempotency import TAKES_KEY, KeyDep, KeyedRoute
from registry.api.limits import TAKES_IMAGE, ImageDep
from registry.api.queue import GenerationQueue, Job, result_for
from registry.api.recipes import NO_RECIPE, RECIPE_BODY, read_recipe
from registry.api.schemas.fuse import FUSE_EXAMPLES, LINES, FuseAnswer, FuseRequest
from registry.api.schemas.images import ImageRequest
from registry.api.schemas.service import ActivityAnswer
from registry.api.uploads import PictureDep
from registry.errors import (
    AdapterNotFoundError,
    AdapterNotReadyError,
    MissingExtraError,
    NoBaseModelError,
    NoGatesError,
)
from registry.fusion.errors import AdapterRefusedError, SamplingError
from registry.fusion.options import StepCallback
from registry.retrieval.errors import NothingFoundError

if TYPE_CHECKING:
    from registry.fusion.fused_image import FusedImage

router = APIRouter(prefix="/v1", tags=["fuse"], route_class=KeyedRoute)

JSON, PNG = "application/json", "image/png"
# nginx would keep lines until they fill a buffer.
AS_IT_COMES = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
# After so long without a word another line says that the server is still at it: an image waits for
# its turn and a base is loaded for minutes, and readers give up on what is silent for one.
SILENCE_SECONDS = 10.0

Event = dict[str, Any]
# Draws an image, and tells of every step.
Draw = Callable[[StepCallback], "FusedImage"]


# What keeps a server from drawing.
UNABLE = (
    NoBaseModelError("flux.1-dev"),
    NoGatesError("flux.1-dev"),
    MissingExtraError(["diffusers"]),
    AdapterNotReadyError("Paper Fox", 7),
    BusyError(),
)
TOO_LARGE = SamplingError("4096x4096 pixels: use up to 2048 a side")
REFUSED = AdapterRefusedError("Paper Fox", "its weights are not finite; fetch it again")
REFUSALS = refusals(
    AdapterNotFoundError(7), NothingFoundError("a fox", "flux.1-dev"), TOO_LARGE, REFUSED, *UNABLE
)
EXAMPLE_LINES = """\
{"event": "started"}
{"event": "step", "done": 1, "total": 2}
{"event": "step", "done": 2, "total": 2}
{"event": "done", "result": {"image": "data:image/png;base64,iVBORw0…", "recipe": {}}}
"""
ANSWERS: dict[int | str, dict[str, Any]] = {
    **REFUSALS,
    200: {
        "description": "By `Accept`: JSON; the PNG alone, its recipe inside; or lines of "
        "JSON, one for every step of the progress, one (`waiting`) for every 10 seconds without "
        "any other, and one for the result.",
        "content": {PNG: {}, LINES: {"example": EXAMPLE_LINES}},
    },
}


@router.post(
    "/fuse", response_model=FuseAnswer, responses=ANSWERS, dependencies=[TAKES_KEY, TAKES_IMAGE]
)
async def fuse(
    asked: Annotated[FuseRequest, Body(openapi_examples=FUSE_EXAMPLES)],
    request: Request,
    registry: OpenRegistryDep,
    queue: QueueDep,
    _: KeyDep,
) -> Response | FuseAnswer:
    """Draw an image with adapters: those named, or those that suit the prompt.

    Who leaves before it is done gives it up.
    """
    asked.check_sense()
    await run_in_threadpool(drawing.check_early, registry, asked)
    return await _drawn(lambda progress: drawing.fuse(registry, asked, progress), request, queue)


@router.post(
    "/recipes/draw",
    response_model=FuseAnswer,
    responses={**ANSWERS, **refusals(NO_RECIPE, TOO_LARGE, REFUSED, UploadsBusyError(), *UNABLE)},
    openapi_extra={"requestBody": RECIPE_BODY},
)
async def draw_recipe(
    # First, for a key is of what is sent, which is read once there is a place for it.
    sent: PictureDep,
    _: KeyDep,
    __: ImageDep,
    request: Request,
    registry: OpenRegistryDep,
    queue: QueueDep,
) -> Response | FuseAnswer:
    """Draw the image of a recipe again: on the same machine with the same files, to the bit.

    Adapters are found by their hashes. Answers as `/v1/fuse` does.
    """
    recipe = await run_in_threadpool(read_recipe, sent)
    asked = ImageRequest(recipe=recipe)
    asked.check_sense()
    await run_in_threadpool(drawing.check_early, registry, asked)
    return await _drawn(lambda progress: registry.maker.reproduce(recipe, progress), request, queue)


async def _drawn(draw: Draw, request: Request, queue: GenerationQueue) -> Response | FuseAnswer:
    """Queue the work, and answer as it is asked for."""
    # Not in a thread of the server's: it waits for minutes, and has to notice who leaves.
    # Several lines of a header are one list.
    accept = ",".join(request.headers.getlist("accept"))
    kind = liked_best(accept, (JSON, PNG, LINES))
    events = _Events()
    job = _start(draw, queue, events)
    if kind == LINES:
        return StreamingResponse(
            _lines(events, job, request), media_type=LINES, headers=AS_IT_COMES
        )
    fused = await result_for(job, request)
    if kind == PNG:
        return Response(await run_in_threadpool(fused.png_bytes), media_type=PNG)
    return await run_in_threadpool(_answer, fused)


class _Events:
    """What the thread that draws says, for the event loop to read; None is the end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(self, event: Event | None) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody reads any more
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    async def get(self) -> Event | None:
        """Return what is said next, or that nothing was said for a while."""
        try:
            return await asyncio.wait_for(self._queue.get(), SILENCE_SECONDS)
        except TimeoutError:
            return {"event": "waiting"}


def _start(draw: Draw, queue: GenerationQueue, events: _Events) -> "Job[FusedImage]":
    """Queue the work; a full queue is a BusyError, before anything was answered."""

    def work(job: "Job[FusedImage]") -> "FusedImage":
        def progress(done: int, total: int) -> None:
            job.check()
            events.put({"event": "step", "done": done, "total": total})

        events.put({"event": "started"})
        return draw(progress)

    job = queue.submit(work)
    job.future.add_done_callback(lambda _: events.put(None))
    return job


async def _lines(events: _Events, job: "Job[FusedImage]", request: Request) -> AsyncIterator[str]:
    try:
        while (event := await events.get()) is not None:
            yield _line(event)
        yield _line(await run_in_threadpool(_last_event, job, request))
    finally:
        # The reader may have left: what nobody waits for need not be finished.
        job.abandon()


def _last_event(job: "Job[FusedImage]", request: Request) -> Event:
    try:
        answer = _answer(job.future.result())
    except AutoLoraError as error:
        log_hidden("drawing", error)
        return {"event": "error", "problem": problem_for(request, error)}
    return {"event": "done", "result": answer.model_dump(mode="json")}


def _line(event: Event) -> str:
    return json.dumps(event) + "\n"


def _answer(fused: "FusedImage") -> FuseAnswer:
    image = base64.b64encode(fused.png_bytes()).decode()
    recipe = json.loads(fused.recipe.to_json())
    activity = ActivityAnswer.of_recipe(recipe, fused.activity)
    return FuseAnswer(image=f"data:{PNG};base64,{image}", recipe=recipe, activity=activity)
