"""What people say that an adapter is for: the only writing that the API does."""

from http import HTTPStatus
from typing import Annotated, NamedTuple
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from registry.api.deps import RegistryDep
from registry.api.routes.adapters import IdPath
from registry.api.schemas.adapters import AdapterDetailAnswer, ClaimRequest

router = APIRouter(prefix="/v1", tags=["adapters"])
# The form of an adapter's page, which works without JavaScript.
page_router = APIRouter()

SOMEBODY = "somebody"
MOST_FORM_BYTES = 4096


@router.put("/adapters/{adapter_id}/claim")
def put_claim(
    adapter_id: IdPath, asked: ClaimRequest, registry: RegistryDep
) -> AdapterDetailAnswer:
    """Say which base model an adapter is for, where its layers allow several.

    It counts before the words of hubs and files, stays through refreshes, and the file is read
    again with it. What layers rule out is noted in the verdict and not believed.
    """
    detail = registry.claim(adapter_id, asked.base_model, asked.who or SOMEBODY)
    return AdapterDetailAnswer.from_detail(detail)


@router.delete("/adapters/{adapter_id}/claim")
def delete_claim(adapter_id: IdPath, registry: RegistryDep) -> AdapterDetailAnswer:
    """Take back what a person said that an adapter is for."""
    return AdapterDetailAnswer.from_detail(registry.claim(adapter_id, None))


class ClaimForm(NamedTuple):
    """The fields of the page's form; without a base model, it takes a claim back."""

    base_model: str
    who: str


async def _claim_form(request: Request) -> ClaimForm:
    """Read the form; one that another site sends is refused, as browsers would send it too."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(HTTPStatus.FORBIDDEN, "Pages of other sites may not ask here.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        fields = parse_qs(body.decode(), max_num_fields=10)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error
    base_model, who = (fields.get(name, [""])[0].strip() for name in ("base_model", "who"))
    return ClaimForm(base_model[:200], who[:100])


@page_router.post("/adapters/{adapter_id}/claim")
def claim_from_page(
    adapter_id: IdPath, form: Annotated[ClaimForm, Depends(_claim_form)], registry: RegistryDep
) -> RedirectResponse:
    registry.claim(adapter_id, form.base_model or None, form.who or SOMEBODY)
    return RedirectResponse(f"/adapters/{adapter_id}#verdict", HTTPStatus.SEE_OTHER)
