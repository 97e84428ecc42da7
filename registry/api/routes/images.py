"""Images that are drawn behind the answer: asked for, watched, looked at, given up, removed."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from registry.api.conditional import NOT_MODIFIED, REVALIDATE, not_modified, revalidated
from registry.api.deps import DeskDep, OpenRegistryDep, QueueDep, RegistryDep
from registry.api.description import refusals
from registry.api.errors import BusyError, StreamsBusyError, in_language
from registry.api.idempotency import KeyDep, KeyedRoute
from registry.api.limits import TAKES_STREAM, take_images
from registry.api.schemas.asked import PageParams
from registry.api.schemas.images import (
    IMAGE_EXAMPLES,
    ImageAnswer,
    ImageListAnswer,
    ImageRequest,
    ImagesAnswer,
)
from registry.api.schemas.shapes import MOST_ID
from registry.api.server_events import changes
from registry.db.images import ImageFacts
from registry.errors import ImageRequestError, NoPreviewError
from registry.fusion.errors import SamplingError
from registry.retrieval.cursors import read_number, write_cursor

router = APIRouter(prefix="/v1", tags=["images"])
drawing_router = APIRouter(prefix="/v1", tags=["images"], route_class=KeyedRoute)

ImageId = Annotated[int, Path(ge=1, le=MOST_ID, examples=[7])]
# Nobody but who asked keeps it, and asks each time whether it is still there.
KEPT = f"private, {REVALIDATE}"

REFUSALS = refusals(
    BusyError(),
    ImageRequestError("a prompt or a recipe is needed"),
    SamplingError("1000x1000 pixels: use multiples of 16"),
)

# Of what `data` holds, some.
EXAMPLE_EVENTS = """\
event: drawing
data: {"id": 7, "state": "drawing", "done": 14, "total": 28, "preview": "/v1/images/7/preview?n=3"}

event: done
data: {"id": 7, "state": "done", "done": 28, "total": 28, "png": "/v1/images/7/png"}

"""


def _picture(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {}}}, 304: NOT_MODIFIED}


@drawing_router.post("/images", status_code=202, responses=REFUSALS)
def ask_for_images(
    asked: Annotated[ImageRequest, Body(openapi_examples=IMAGE_EXAMPLES)],
    desk: DeskDep,
    request: Request,
    response: Response,
    _: KeyDep,
) -> ImagesAnswer:
    """Have images drawn, and answer at once; `/v1/images/{id}/events` tells how far they are.

    A queue that is full answers 429.
    """
    take_images(request, asked.count)
    answers = [ImageAnswer.from_facts(facts) for facts in desk.ask(asked)]
    response.headers["Location"] = f"/v1/images/{answers[0].id}"
    return ImagesAnswer(items=answers)


@router.get("/images")
def list_images(
    params: Annotated[PageParams, Query()], request: Request, registry: RegistryDep
) -> ImageListAnswer:
    """List images that were asked for, the last one first."""
    before = read_number("images", params.cursor)
    images = registry.images.list(before_id=before, limit=params.limit + 1)
    more, images = len(images) > params.limit, images[: params.limit]
    return ImageListAnswer(
        items=[_answer(request, facts) for facts in images],
        next=write_cursor("images", [images[-1].id]) if more else None,
    )


@router.get("/images/{image_id}", response_model=ImageAnswer, responses={304: NOT_MODIFIED})
def get_image(
    image_id: ImageId, request: Request, registry: RegistryDep, desk: DeskDep
) -> Response:
    """Tell how far an image is, or how it was made; 304 for its ETag."""
    facts = desk.corrected(registry.images.get(image_id))
    return revalidated(request, _answer(request, facts, desk.previews.path(image_id)), KEPT)


def _answer(request: Request, facts: ImageFacts, preview: str | None = None) -> ImageAnswer:
    problem = facts.problem and in_language(request, facts.problem)
    return ImageAnswer.from_facts(replace(facts, problem=problem), preview)


def _is_there(image_id: ImageId, registry: RegistryDep) -> None:
    """Raise ImageNotFoundError while an answer can still say so."""
    registry.images.get(image_id)


@router.get(
    "/images/{image_id}/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(_is_there), TAKES_STREAM],
    responses={
        200: {"content": {"text/event-stream": {"example": EXAMPLE_EVENTS}}},
        **refusals(StreamsBusyError()),
    },
)
async def watch_image(
    image_id: ImageId, request: Request, registry: OpenRegistryDep, desk: DeskDep, queue: QueueDep
) -> AsyncIterator[ServerSentEvent]:
    """Tell whatever changes of an image, by server-sent events, until it is finished.

    Events are named after states, and have what `/v1/images/{id}` answers.
    """

    def look() -> tuple[ImageFacts, str | None]:
        facts = desk.corrected(registry.images.get(image_id))
        return facts, desk.previews.path(image_id)

    async for facts, preview in changes(look, lambda seen: seen[0].is_finished, queue.closing):
        answer = _answer(request, facts, preview)
        yield ServerSentEvent(data=answer, event=answer.state)


@router.get("/images/{image_id}/png", response_class=Response, responses=_picture("image/png"))
def get_png(image_id: ImageId, request: Request, registry: RegistryDep) -> Response:
    """Return an image with its recipe inside."""
    name = f'inline; filename="autolora-{image_id}.png"'
    png = registry.images.file(image_id)
    return _sent(request, png, "image/png", {"Content-Disposition": name})


@router.get(
    "/images/{image_id}/thumbnail", response_class=Response, responses=_picture("image/webp")
)
def get_thumbnail(image_id: ImageId, request: Request, registry: RegistryDep) -> Response:
    """Return a small image, for lists."""
    return _sent(request, registry.images.file(image_id, thumbnail=True), "image/webp")


@router.get("/images/{image_id}/preview", response_class=Response, responses=_picture("image/webp"))
def get_preview(
    image_id: ImageId, request: Request, registry: RegistryDep, desk: DeskDep
) -> Response:
    """Return how an image looks by now, while this server draws it: some KB, once a second."""
    try:
        look = desk.previews.get(image_id)
    except NoPreviewError:
        # Of an image that is not there, none is to be waited for.
        registry.images.get(image_id)
        raise
    return _sent(request, look.webp, "image/webp")


def _sent(
    request: Request, picture: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Send a picture, or 304 to who has this very one."""
    # By what it is: another registry at the same address has images of the same numbers.
    tag = hashlib.sha256(picture).hexdigest()
    told = {"ETag": f'"{tag}"', "Cache-Control": KEPT, **(headers or {})}
    return not_modified(request, told) or Response(picture, media_type=media_type, headers=told)


@drawing_router.post("/images/{image_id}/cancel")
def cancel_image(
    image_id: ImageId, request: Request, registry: RegistryDep, desk: DeskDep
) -> ImageAnswer:
    """Give an image up: what is drawn stops at its next step. A finished one stays as it is."""
    facts = registry.images.cancel(image_id)
    desk.give_up(image_id)
    return _answer(request, facts)


@drawing_router.delete("/images/{image_id}", status_code=204)
def remove_image(image_id: ImageId, registry: RegistryDep, desk: DeskDep) -> None:
    """Remove an image for good; one that is not finished is given up."""
    registry.images.remove(image_id)
    desk.give_up(image_id)
