"""Recipes taken elsewhere: written for other programs, packed with their files, sent to ComfyUI."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from registry.api.deps import OpenRegistryDep, RegistryDep
from registry.api.description import refusals
from registry.api.idempotency import KeyDep, KeyedRoute
from registry.api.limits import ImageDep
from registry.api.recipes import NO_RECIPE, RECIPE_BODY, read_recipe, recipe_of
from registry.api.routes.images import ImageId
from registry.api.schemas.exports import ExportParams, SentAnswer
from registry.api.schemas.shapes import EXAMPLE_SHA256
from registry.api.uploads import PictureDep
from registry.errors import BlobNotFoundError, FileNotKeptError
from registry.fusion.errors import ComfyUIError, ComfyUINotSetError, ExportError
from registry.fusion.exports.export import export
from registry.fusion.options import Target
from registry.fusion.recipe import Recipe
from registry.service import Registry

router = APIRouter(prefix="/v1", tags=["recipes"])
# Of the images that were made here.
image_router = APIRouter(prefix="/v1", tags=["recipes"])
# For who may make images.
send_router = APIRouter(prefix="/v1", tags=["recipes"], route_class=KeyedRoute)

# Each program's text: its type and the name it is saved under.
FILES: dict[Target, tuple[str, str]] = {
    "diffusers": ("text/x-python", "autolora.py"),
    "a1111": ("text/plain", "autolora.txt"),
    "comfyui": ("application/json", "autolora-workflow.json"),
    "comfyui-api": ("application/json", "autolora-prompt.json"),
}
ZIP = "application/zip"
EXPORT_ANSWERS: dict[int | str, dict[str, Any]] = {
    **refusals(
        NO_RECIPE,
        ExportError(
            "demo-flux-tiny has no text encoders of its own: no other program draws with it"
        ),
    ),
    200: {
        "description": "The text, under a name to save it by.",
        "content": {kind: {} for kind in dict.fromkeys(kind for kind, _ in FILES.values())},
    },
}
FILES_ANSWERS: dict[int | str, dict[str, Any]] = {
    **refusals(
        NO_RECIPE,
        BlobNotFoundError(EXAMPLE_SHA256),
        FileNotKeptError(EXAMPLE_SHA256, "https://civitai.com/models/1234"),
    ),
    200: {"content": {ZIP: {}}},
}


def _recipe(sent: PictureDep) -> Recipe:
    return read_recipe(sent)


def _image_recipe(image_id: ImageId, registry: RegistryDep) -> Recipe:
    return recipe_of(registry.images.get(image_id))


RecipeDep = Annotated[Recipe, Depends(_recipe, scope="function")]
ImageRecipeDep = Annotated[Recipe, Depends(_image_recipe, scope="function")]


@router.post(
    "/recipes/export",
    response_class=Response,
    responses=EXPORT_ANSWERS,
    openapi_extra={"requestBody": RECIPE_BODY},
)
def export_recipe(recipe: RecipeDep, params: Annotated[ExportParams, Query()]) -> Response:
    """Write a recipe for another program: the same adapters at plain strengths, without gates."""
    return _written(recipe, params.to)


@image_router.get("/images/{image_id}/export", response_class=Response, responses=EXPORT_ANSWERS)
def export_image(recipe: ImageRecipeDep, params: Annotated[ExportParams, Query()]) -> Response:
    """Write the recipe of an image that was made here for another program."""
    return _written(recipe, params.to)


def _written(recipe: Recipe, to: Target) -> Response:
    kind, name = FILES[to]
    return Response(
        export(recipe, to),
        media_type=f"{kind}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.post(
    "/recipes/files",
    response_class=StreamingResponse,
    responses=FILES_ANSWERS,
    openapi_extra={"requestBody": RECIPE_BODY},
)
def pack_files(recipe: RecipeDep, registry: RegistryDep) -> StreamingResponse:
    """Download the files of a recipe's adapters as a zip, named as exports name them.

    With a README of where they are from and under which licences.
    """
    return _packed(recipe, registry)


@image_router.get(
    "/images/{image_id}/files", response_class=StreamingResponse, responses=FILES_ANSWERS
)
def pack_image_files(recipe: ImageRecipeDep, registry: RegistryDep) -> StreamingResponse:
    """Download the files of the adapters of an image that was made here, as a zip."""
    return _packed(recipe, registry)


def _packed(recipe: Recipe, registry: Registry) -> StreamingResponse:
    bundle = registry.bundle(recipe)
    return StreamingResponse(
        iter(bundle),
        media_type=ZIP,
        headers={
            "Content-Length": str(len(bundle)),
            "Content-Disposition": 'attachment; filename="autolora-files.zip"',
        },
    )


@send_router.post(
    "/recipes/send",
    openapi_extra={"requestBody": RECIPE_BODY},
    responses=refusals(
        NO_RECIPE, ComfyUINotSetError(), ComfyUIError("ComfyUI refuses the workflow")
    ),
)
def send_recipe(
    # First, for a key is of what is sent, which is read once there is a place for it.
    recipe: RecipeDep,
    _: KeyDep,
    __: ImageDep,
    registry: OpenRegistryDep,
) -> SentAnswer:
    """Have the ComfyUI of REGISTRY_COMFYUI_URL draw a recipe, at plain strengths."""
    return SentAnswer.model_validate(registry.send_to_comfyui(recipe))
