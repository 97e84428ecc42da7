"""Is it alive, and can it answer?"""

from fastapi import APIRouter, Request

from registry.api.deps import AskingDep, FetchingDep, OpenRegistryDep
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
async def readyz(
    request: Request, registry: OpenRegistryDep, asking: AskingDep, fetching: FetchingDep
) -> Readiness:
    """Say that the database answers, at this version's schema, and encoders are here; else 503."""
    checked: Fresh[None] = request.app.state.checked
    # Encoders are looked for in the blob store: searches need none of it, and do not wait for that.
    await fetching.run(checked.get)
    base_models = await asking.run(registry.base_models)
    return Readiness(adapters=sum(base_models.values()), base_models=base_models)
