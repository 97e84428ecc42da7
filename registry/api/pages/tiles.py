"""What a tile says of an adapter beside its names: licence, rating, and how others write it."""

from typing import Literal, get_args

from starlette.requests import Request

from registry.config import Blur
from registry.fusion.licences import Terms, terms_of
from registry.retrieval.cards import AdapterCard

BLUR_COOKIE = "blur"
BLURS: tuple[Blur, ...] = get_args(Blur)
# Covers that a tile shows when it is pointed at.
MOST_PREVIEWED = 5


def commercial_use(licence: str | None) -> Literal["yes", "no", "unknown"]:
    """Whether a licence lets pictures be sold; of one that is not known, nobody can say."""
    terms = terms_of(licence)
    if terms == Terms.NOT_STATED:
        return "unknown"
    return "yes" if terms < Terms.NON_COMMERCIAL else "no"


def lora_tag(card: AdapterCard) -> str:
    """Return what A1111 and its kin read in a prompt, with the name of the file downloaded here."""
    name = card.file_name.rpartition("/")[2].removesuffix(".safetensors") or card.name
    return f"<lora:{name}:{1 if card.strength is None else card.strength:g}>"


def blur_of(request: Request, default: Blur) -> Blur:
    """Return whose pictures are blurred: as `?blur=` says, else the cookie, else the operator."""
    said = (request.query_params.get(BLUR_COOKIE), request.cookies.get(BLUR_COOKIE))
    return next((blur for one in said for blur in BLURS if blur == one), default)


def is_blurred(mature: bool | None, blur: Blur) -> bool:
    if blur == "unrated":
        return mature is not False
    return blur == "mature" and mature is True
