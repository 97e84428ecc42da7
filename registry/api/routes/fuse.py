"""Making images."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from crawler.errors import AutoLoraError
from registry.api.deps import QueueDep, RegistryDep
from registry.api.errors import problem_of
from registry.api.schemas import (
    ActivityAnswer,
    AdapterAnswer,
    ChoiceAnswer,
    ChooseParams,
    FuseAnswer,
    FuseRequest,
)
from registry.fusion.errors import GenerationCancelledError
from registry.fusion.options import StepCallback
from registry.service import Registry

if TYPE_CHECKING:
    from registry.fusion.generate import FusedImage

router = APIRouter(prefix="/v1", tags=["fuse"])

PNG = "image/png"
LINES = "application/x-ndjson"


@router.post(
    "/fuse",
    response_model=FuseAnswer,
    responses={
        200: {
            "description": "By `Accept`: JSON; the PNG alone, its recipe inside; or lines of "
            "JSON, one for every step of the progress and one for the result.",
            "content": {PNG: {}, LINES: {}},
        }
    },
)
def fuse(
    asked: FuseRequest, request: Request, registry: RegistryDep, queue: QueueDep
) -> Response | FuseAnswer:
    """Draw an image with adapters: those named, or those that suit the prompt."""
    accept = request.headers.get("accept", "")
    if LINES in accept:
        return StreamingResponse(_stream(asked, registry, queue), media_type=LINES)

    def stop_with_the_server(done: int, total: int) -> None:
        if queue.closing.is_set():
            raise GenerationCancelledError

    fused = queue.submit(partial(_fuse, asked, registry, stop_with_the_server)).result()
    if PNG in accept:
        return Response(fused.png_bytes(), media_type=PNG)
    return _answer(fused)


@router.get("/choose")
def choose(params: Annotated[ChooseParams, Query()], registry: RegistryDep) -> list[ChoiceAnswer]:
    """Return adapters to draw a prompt with: those that suit it, or those named that exist."""
    if params.adapters is not None:
        chosen = registry.named_adapters(params.prompt, params.adapters)
    else:
        chosen = registry.choose(params.prompt, params.k, base_model=params.base_model)
    return [
        ChoiceAnswer(
            adapter=AdapterAnswer.from_card(choice.card),
            similarities=None if choice.similarities is None else list(choice.similarities),
            embedding=None if choice.embedding is None else list(choice.embedding),
        )
        for choice in chosen
    ]


def _fuse(asked: FuseRequest, registry: Registry, progress: StepCallback | None) -> "FusedImage":
    chosen = asked.adapters
    return registry.fuse(
        asked.prompt,
        k=asked.k,
        adapters=None if chosen is None else [adapter.id for adapter in chosen],
        strengths=None if chosen is None else [adapter.strength for adapter in chosen],
        base_model=asked.base_model,
        seed=asked.seed,
        steps=asked.steps,
        size=None if asked.width is None else (asked.width, asked.height or asked.width),
        mode=asked.mode,
        progress=progress,
    )


def _stream(asked: FuseRequest, registry: Registry, queue: QueueDep) -> Iterator[str]:
    """Queue the work now, so that a full queue is a 503, and return its lines."""
    events: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    gone = Event()

    def progress(done: int, total: int) -> None:
        if gone.is_set() or queue.closing.is_set():
            raise GenerationCancelledError
        events.put({"event": "step", "done": done, "total": total})

    def work() -> "FusedImage":
        if gone.is_set():
            raise GenerationCancelledError
        events.put({"event": "started"})
        return _fuse(asked, registry, progress)

    future = queue.submit(work)
    future.add_done_callback(lambda _: events.put(None))
    return _lines(events, future, gone)


def _lines(
    events: "SimpleQueue[dict[str, Any] | None]", future: "Future[FusedImage]", gone: Event
) -> Iterator[str]:
    try:
        while (event := events.get()) is not None:
            yield _line(event)
        try:
            answer = _answer(future.result())
        except AutoLoraError as error:
            yield _line({"event": "error", "problem": problem_of(error)})
        else:
            yield _line({"event": "done", "result": answer.model_dump(mode="json")})
    finally:
        # The reader may have left: what nobody waits for need not be finished.
        gone.set()


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event) + "\n"


def _answer(fused: "FusedImage") -> FuseAnswer:
    image = base64.b64encode(fused.png_bytes()).decode()
    activity = [
        ActivityAnswer(
            id=used.id,
            name=used.name,
            sha256=used.sha256,
            mean=sum(layers.values()) / len(layers) if layers else None,
            layers=layers,
        )
        for used in fused.recipe.adapters
        for layers in [fused.activity.get(used.sha256, {})]
    ]
    recipe = json.loads(fused.recipe.to_json())
    return FuseAnswer(image=f"data:{PNG};base64,{image}", recipe=recipe, activity=activity)
