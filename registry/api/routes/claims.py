"""What people say of an adapter: what it is for, and that it is not wanted here."""

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from encoder.errors import UnknownClaimError
from registry.api.deps import RegistryDep
from registry.api.description import refusals
from registry.api.forms import FormDep
from registry.api.routes.adapters import IdPath
from registry.api.schemas.adapters import AdapterDetailAnswer, ClaimRequest
from registry.db.claims import SOMEBODY
from registry.errors import NotRemovedError

router = APIRouter(prefix="/v1", tags=["adapters"])
# The form of an adapter's page, which works without JavaScript.
page_router = APIRouter()


@router.put(
    "/adapters/{adapter_id}/claim", responses=refusals(UnknownClaimError("flux", ["flux.1-dev"]))
)
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


@router.put("/adapters/{adapter_id}/removal", status_code=204)
def remove_adapter(adapter_id: IdPath, registry: RegistryDep) -> None:
    """Take an adapter out of search for good: no refresh brings it back.

    Its file stays in the store, and what is known of it where it is asked for by its id.
    """
    registry.remove(adapter_id)


@router.delete(
    "/adapters/{adapter_id}/removal", status_code=204, responses=refusals(NotRemovedError(7))
)
def take_adapter_back(adapter_id: IdPath, registry: RegistryDep) -> None:
    """Let the next refresh publish an adapter again that was taken out."""
    registry.take_back(adapter_id)


@page_router.post("/adapters/{adapter_id}/removal")
def remove_from_page(
    adapter_id: IdPath,
    form: FormDep,
    registry: RegistryDep,
) -> RedirectResponse:
    """Do what the form says: take an adapter out, or back."""
    if form.get("back"):
        registry.take_back(adapter_id)
    else:
        registry.remove(adapter_id)
    return RedirectResponse(f"/adapters/{adapter_id}", HTTPStatus.SEE_OTHER)


@page_router.post("/adapters/{adapter_id}/claim")
def claim_from_page(
    adapter_id: IdPath,
    form: FormDep,
    registry: RegistryDep,
) -> RedirectResponse:
    """Do what the form says; without a base model, it takes a claim back."""
    base_model, who = form.get("base_model", "")[:200], form.get("who", "")[:100]
    registry.claim(adapter_id, base_model or None, who or SOMEBODY)
    return RedirectResponse(f"/adapters/{adapter_id}#verdict", HTTPStatus.SEE_OTHER)
