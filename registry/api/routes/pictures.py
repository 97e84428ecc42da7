"""Search by a picture that is sent."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse

from registry.api.deps import OpenRegistryDep, RegistryDep
from registry.api.description import BYTES, refusals
from registry.api.draw_again import draw_again
from registry.api.errors import UploadsBusyError
from registry.api.limits import take_images
from registry.api.pages.render import render
from registry.api.recipes import NO_RECIPE
from registry.api.routes.pages import PAGE_SIZE, frame
from registry.api.schemas.asked import PictureParams
from registry.api.schemas.fuse import RECIPE
from registry.api.schemas.picture import PictureAnswer
from registry.api.uploads import FORM, PictureDep
from registry.retrieval.errors import PictureError

router = APIRouter(prefix="/v1", tags=["search"])
# The form of the page, which works without JavaScript.
page_router = APIRouter()

BODY = {
    "required": True,
    "description": "The picture itself or a recipe, or a form with one file.",
    "content": {
        "application/json": {"schema": {"type": "object"}, "example": RECIPE},
        **{f"image/{kind}": {"schema": BYTES} for kind in ("png", "jpeg", "webp", "gif")},
        "multipart/form-data": {"schema": FORM},
    },
}


async def _describe(request: Request, registry: OpenRegistryDep) -> bool:
    """Whether a vision model is to look, which costs its owner as much as an image does."""
    settings = registry.settings
    if settings.public_read or settings.caption_endpoint is None:
        return False
    take_images(request, 1)
    return True


DescribeDep = Annotated[bool, Depends(_describe)]


@router.post(
    "/search/picture",
    openapi_extra={"requestBody": BODY},
    responses=refusals(PictureError("it is no picture"), NO_RECIPE, UploadsBusyError()),
)
def search_by_picture(
    describe: DescribeDep,
    picture: PictureDep,
    params: Annotated[PictureParams, Query()],
    registry: RegistryDep,
) -> PictureAnswer:
    """Find the adapters that a picture was made with, or that have made one like it.

    By what its metadata says, and by covers that look like it. The picture is not kept. A recipe
    that is sent in its place leads to the adapters that it names.
    """
    page = registry.search_picture(picture, params.filters(), params.limit, describe=describe)
    return PictureAnswer.from_page(page)


@page_router.get("/picture")
def picture_form_page(request: Request, registry: RegistryDep) -> HTMLResponse:
    return render(request, "picture.html", active="search", page=None, **frame(registry))


@page_router.post("/picture")
def picture_page(
    request: Request, describe: DescribeDep, picture: PictureDep, registry: RegistryDep
) -> HTMLResponse:
    page = registry.search_picture(picture, limit=PAGE_SIZE, describe=describe)
    return render(
        request,
        "picture.html",
        active="search",
        page=page,
        again=draw_again(page),
        **frame(registry),
    )
