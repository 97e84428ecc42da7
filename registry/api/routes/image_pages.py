"""Pages of images: the history, one image, two compared; and the forms that make and remove them.

All of it works without JavaScript, which spares going to an image's page while it is drawn.
"""

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from registry.api.deps import DeskDep, OpenRegistryDep, RegistryDep
from registry.api.drawing import Desk
from registry.api.forms import FormDep, read_fields
from registry.api.limits import TAKES_IMAGE
from registry.api.pages.render import render
from registry.api.recipes import recipe_of
from registry.api.routes.images import ImageId
from registry.api.routes.pages import frame
from registry.api.routes.studio import to_image, valid_request
from registry.api.schemas.images import MOST_IN_GRID, ImageAnswer, ImageRequest
from registry.api.schemas.shapes import MOST_ID
from registry.errors import ImageNotFoundError
from registry.fusion.exports.export import exportable
from registry.fusion.recipe import Recipe
from registry.retrieval.cursors import read_number, write_cursor
from registry.service import Registry

router = APIRouter()
drawing_router = APIRouter()

PAGE_SIZE = 24
# What is told apart where two images are compared, and its name in texts.py.
COMPARED = {
    "prompt": "fuse.prompt",
    "negative_prompt": "fuse.negative",
    "adapters": "fuse.adapters",
    "mode": "fuse.mode",
    "seed": "fuse.seed",
    "steps": "fuse.steps",
    "guidance": "fuse.guidance",
    "size": "fuse.size",
    "base": "base_model",
}


# What the page that fuses is filled in with, beside adapters.
FIELDS = (
    "prompt", "negative_prompt", "kind", "mode", "seed", "steps", "guidance", "width", "height",
    "k", "base_model",
)  # fmt: skip


@router.get("/images")
def images_page(
    request: Request,
    registry: RegistryDep,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    picked: Annotated[int | None, Query(ge=1, le=MOST_ID)] = None,
) -> HTMLResponse:
    """List images; with one `picked`, another can be chosen to compare it with."""
    before = read_number("images", cursor)
    images = registry.images.list(before_id=before, limit=PAGE_SIZE + 1)
    more, images = len(images) > PAGE_SIZE, images[:PAGE_SIZE]
    return render(
        request,
        "images.html",
        active="images",
        images=[ImageAnswer.from_facts(facts) for facts in images],
        next=write_cursor("images", [images[-1].id]) if more else None,
        picked=picked,
        prompt_of=prompt_of,
        **frame(registry),
    )


@router.get("/images/compare")
def compare_page(
    request: Request,
    registry: RegistryDep,
    image: Annotated[list[ImageId], Query(max_length=PAGE_SIZE)] = [],  # noqa: B006
) -> HTMLResponse:
    found = [registry.images.get(one) for one in dict.fromkeys(image)]
    images = [ImageAnswer.from_facts(facts) for facts in found if facts.state == "done"]
    return render(
        request,
        "images_compare.html",
        active="images",
        images=images,
        differences=_differences(registry, *images) if len(images) == 2 else [],
        prompt_of=prompt_of,
        **frame(registry),
    )


@router.get("/images/{image_id}")
def image_page(
    image_id: ImageId, request: Request, registry: RegistryDep, desk: DeskDep, sent: bool = False
) -> HTMLResponse:
    told = _of_image(registry, desk, image_id) | frame(registry)
    return render(request, "image.html", active="images", sent=sent, is_part=False, **told)


@router.get("/images/{image_id}/result")
def image_result(
    image_id: ImageId, request: Request, registry: RegistryDep, desk: DeskDep
) -> HTMLResponse:
    """Return the part of an image's page that the studio shows."""
    told = _of_image(registry, desk, image_id)
    return render(request, "image_result.html", is_part=True, **told)


@drawing_router.post("/images/{image_id}/again", dependencies=[TAKES_IMAGE])
def draw_again(
    image_id: ImageId,
    form: FormDep,
    registry: RegistryDep,
    desk: DeskDep,
) -> RedirectResponse:
    """Draw an image again, or a sheet of its adapters."""
    image = registry.images.get(image_id)
    if image.recipe is None:
        asked = ImageRequest.model_validate(image.asked)
    elif form.get("kind", "image") == "image":
        asked = ImageRequest(recipe=Recipe.model_validate(image.recipe))
    else:
        asked = _sheet(image.recipe, form["kind"])
    return to_image(desk.ask(asked)[0])


@drawing_router.post("/images/{image_id}/send", dependencies=[TAKES_IMAGE])
def send_from_page(image_id: ImageId, registry: OpenRegistryDep) -> RedirectResponse:
    """Have ComfyUI draw an image's recipe."""
    registry.send_to_comfyui(recipe_of(registry.images.get(image_id)))
    return RedirectResponse(f"/images/{image_id}?sent=true", HTTPStatus.SEE_OTHER)


@drawing_router.post("/images/{image_id}/cancel")
def cancel_from_page(image_id: ImageId, registry: RegistryDep, desk: DeskDep) -> RedirectResponse:
    facts = registry.images.cancel(image_id)
    desk.give_up(image_id)
    return to_image(facts)


@drawing_router.post("/images/delete")
def remove_several(
    fields: Annotated[dict[str, list[str]], Depends(read_fields)],
    registry: RegistryDep,
    desk: DeskDep,
) -> RedirectResponse:
    """Remove the images that were ticked; one that another page removed meanwhile is no fault."""
    for image_id in map(_number, fields.get("image", [])):
        with suppress(ImageNotFoundError):
            registry.images.remove(image_id)
            desk.give_up(image_id)
    return RedirectResponse("/images", HTTPStatus.SEE_OTHER)


@drawing_router.post("/images/{image_id}/delete")
def remove_from_page(image_id: ImageId, registry: RegistryDep, desk: DeskDep) -> RedirectResponse:
    registry.images.remove(image_id)
    desk.give_up(image_id)
    return RedirectResponse("/images", HTTPStatus.SEE_OTHER)


def _number(written: str) -> int:
    # Python reads no number of thousands of digits.
    is_short = len(written) <= len(str(MOST_ID))
    if not is_short or not written.isdecimal() or not 0 < int(written) <= MOST_ID:
        said = f"{written[:100]!r} is no image's number"
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, said)
    return int(written)


def _sheet(recipe: Mapping[str, Any], kind: str) -> ImageRequest:
    adapters = [
        {"id": used["id"], "strength": used["strength"]}
        for used in recipe["adapters"]
        if used["id"] is not None
    ]
    asked = {name: recipe[name] for name in ("prompt", "negative_prompt", "seed", "steps")}
    asked |= {"guidance": recipe["guidance"], "width": recipe["width"], "height": recipe["height"]}
    asked["base_model"] = recipe["base"]["name"]
    if kind == "grid":
        asked["mode"] = recipe["mode"]
    return valid_request(asked | {"kind": kind, "adapters": adapters[:MOST_IN_GRID]})


def _of_image(registry: Registry, desk: Desk, image_id: int) -> dict[str, Any]:
    image = desk.corrected(registry.images.get(image_id))
    answer = ImageAnswer.from_facts(image, desk.previews.path(image_id))
    told = _told(registry, answer) if image.recipe is None else {}
    return {
        "image": answer,
        "told": {COMPARED[name]: value for name, value in told.items()},
        "exports": {} if image.recipe is None else exportable(recipe_of(image)),
        "can_send": registry.settings.comfyui_url is not None,
        "prompt_of": prompt_of,
        "vary_url": vary_url,
        "added_words": added_words,
    }


def prompt_of(image: ImageAnswer) -> str:
    """Return what an image was asked for with."""
    return str((image.recipe or image.asked.get("recipe") or image.asked).get("prompt", ""))


def added_words(recipe: Mapping[str, Any]) -> str:
    """Return what the base was given beyond the prompt: trigger words."""
    full: str = recipe["full_prompt"]
    return full.removeprefix(recipe["prompt"]) if full.startswith(recipe["prompt"]) else full


def _told(registry: Registry, image: ImageAnswer) -> dict[str, str]:
    """Return what made an image, by names of COMPARED; of a sheet, what was asked for."""
    told = _asked(registry, image.asked) if image.recipe is None else _used(image.recipe)
    if told.get("guidance") is not None:
        told["guidance"] = f"{told['guidance']:g}"
    return {name: str(told[name]) for name in COMPARED if told.get(name) not in (None, "")}


def _used(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return dict(recipe) | {
        "adapters": ", ".join(f"{a['name']} × {a['strength']:g}" for a in recipe["adapters"]),
        "size": f"{recipe['width']} × {recipe['height']}",
        "base": recipe["base"]["name"],
    }


def _asked(registry: Registry, asked: Mapping[str, Any]) -> dict[str, Any]:
    named = asked.get("adapters") or ()
    cards = {card.id: card.name for card in registry.cards([used["id"] for used in named])}
    adapters = [f"{cards.get(used['id'], used['id'])} × {_strength(used):g}" for used in named]
    sides = [str(asked[side]) for side in ("width", "height") if asked.get(side)]
    return dict(asked) | {
        "adapters": ", ".join(adapters),
        "size": " × ".join(sides),
        "base": asked.get("base_model"),
    }


def _strength(used: Mapping[str, Any]) -> float:
    strength = used.get("strength")
    return 1.0 if strength is None else float(strength)


def vary_url(image: ImageAnswer) -> str:
    """Return the address of the page that fuses, filled in as for this image."""
    said = dict(image.asked)
    if recipe := image.recipe or image.asked.get("recipe"):
        # It tells all but how many adapters there may be.
        said |= {**recipe, "base_model": recipe["base"]["name"]}
    fields = [(name, said[name]) for name in FIELDS if said.get(name) not in (None, "")]
    for used in said.get("adapters") or ():
        if used.get("id") is not None:
            fields += [("adapter", used["id"]), ("strength", _strength(used))]
    return f"/fuse?{urlencode(fields)}"


def _differences(
    registry: Registry, one: ImageAnswer, other: ImageAnswer
) -> list[tuple[str, str, str]]:
    """Return what differs between what made two images, by its name in texts.py."""
    said, also = _told(registry, one), _told(registry, other)
    return [
        (text, said.get(name, ""), also.get(name, ""))
        for name, text in COMPARED.items()
        if said.get(name) != also.get(name)
    ]
