"""The studio: the page that fuses, and its form, which works without JavaScript."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, Field, ValidationError

from encoder.base_models.facts import bases_for, common_bases
from registry.api.deps import DeskDep, RegistryDep
from registry.api.forms import read_fields
from registry.api.limits import take_images
from registry.api.pages.render import render
from registry.api.pages.tray import tray_of
from registry.api.routes.pages import frame
from registry.api.schemas.fuse import Strength
from registry.api.schemas.images import MOST_IMAGES, ImageRequest
from registry.api.schemas.shapes import AdapterId, Text
from registry.db.images import ImageFacts
from registry.fusion.options import MOST_ADAPTERS, Mode

router = APIRouter()


class FuseFields(BaseModel):
    """What the page that fuses is filled in with; what is empty is left to the base model."""

    adapter: list[AdapterId] = Field(default=[], max_length=MOST_ADAPTERS)
    strength: list[Strength] = Field(default=[], max_length=MOST_ADAPTERS)
    prompt: str = Field(default="", max_length=2000)
    negative_prompt: str = Field(default="", max_length=2000)
    mode: Mode | Literal[""] = ""
    kind: Literal["image", "compare", "grid"] = "image"
    count: int = Field(default=1, ge=1, le=MOST_IMAGES)
    seed: int = Field(default=0, ge=0, lt=2**32)
    steps: int | Literal[""] = ""
    guidance: float | Literal[""] = ""
    width: int | Literal[""] = ""
    height: int | Literal[""] = ""
    # How many adapters are chosen for the prompt where none is named, and of which base model.
    k: int = Field(default=3, ge=1, le=MOST_ADAPTERS)
    base_model: Text = ""


@router.get("/fuse")
def fuse_page(
    request: Request,
    registry: RegistryDep,
    fields: Annotated[FuseFields, Query()],
) -> HTMLResponse:
    adapter = fields.adapter
    chosen = tray_of(adapter, fields.strength, registry.cards(adapter))
    names, here = registry.base_model_names(), list(registry.settings.base_models)
    bases = common_bases([one.card.base_model for one in chosen], here)
    drawn_by = bases[:1] or [common_bases([name], here)[0] for name in names]
    return render(
        request,
        "fuse.html",
        active="fuse",
        chosen=chosen,
        missing=sorted({*adapter} - {one.card.id for one in chosen}),
        bases=bases,
        prompt=fields.prompt,
        filled=fields,
        most_images=MOST_IMAGES,
        runnable=any(base in here for base in drawn_by),
        base_model=bases[0] if bases else None,
        base_models=bases_for(names, here),
        here=here,
        lacking=next(iter((*bases, *names)), "flux.1-dev"),
        **frame(registry),
    )


@router.post("/fuse")
def fuse_from_page(
    fields: Annotated[dict[str, list[str]], Depends(read_fields)], request: Request, desk: DeskDep
) -> RedirectResponse:
    """Have images drawn as the form of the page that fuses says."""
    asked = _request(fields)
    take_images(request, asked.count)
    return to_image(desk.ask(asked)[0])


def to_image(image: ImageFacts) -> RedirectResponse:
    """Lead to an image's page."""
    return RedirectResponse(f"/images/{image.id}", HTTPStatus.SEE_OTHER)


def _request(fields: Mapping[str, list[str]]) -> ImageRequest:
    """Read what a form asks for; what it leaves empty is left to the base model."""
    lists = ("adapter", "strength")
    asked: dict[str, Any] = {
        name: values[0] for name, values in fields.items() if name not in lists
    }
    ids, strengths = fields.get("adapter", []), fields.get("strength", [])
    if ids:
        given = [*strengths, *[None] * len(ids)]
        asked["adapters"] = [
            {"id": one, "strength": strength} for one, strength in zip(ids, given, strict=False)
        ]
        asked.pop("base_model", None)
    return valid_request(asked)


def valid_request(asked: Mapping[str, Any]) -> ImageRequest:
    """Return what a form asks for; or raise as for what the API is sent."""
    try:
        return ImageRequest.model_validate(asked)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        in_form = [{**fault, "loc": ("body", *fault["loc"])} for fault in faults]
        raise RequestValidationError(in_form) from error
