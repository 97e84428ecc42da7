"""Is it alive, and can it answer?"""

from fastapi import APIRouter, Request

from registry.api.deps import RegistryDep
from registry.api.fresh import Fresh
from registry.api.schemas.service import Health, Readiness
from registry.connection import own_version
from registry.running import Identity

router = APIRouter(tags=["service"])


@router.get("/healthz")
async def healthz(request: Request) -> Health:
    """Say that the process runs."""
    # Not in a thread: they may all wait for a database that hangs.
    identity: Identity | None = request.app.state.identity
    return Health(version=own_version(), instance=identity.instance if identity else None)


@router.get("/readyz")
def readyz(request: Request, registry: RegistryDep) -> Readiness:
    """Say that the database answers, at this version's schema, and encoders are here; else 503."""
    checked: Fresh[None] = request.app.state.checked
    checked.get()
    base_models = registry.base_models()
    return Readiness(adapters=sum(base_models.values()), base_models=base_models)
