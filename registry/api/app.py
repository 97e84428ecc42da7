"""The HTTP API and the page."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from registry.api.errors import add_error_handlers
from registry.api.pages.render import STATIC
from registry.api.queue import GenerationQueue
from registry.api.routes import adapters, claims, fuse, health, pages, search
from registry.api.schemas import Problem
from registry.api.security import LOOPBACK_HOSTS, SecurityHeaders
from registry.service import Registry


def create_app(registry: Registry) -> FastAPI:
    """Make the app over an open registry; whoever opened it closes it."""
    queue = GenerationQueue()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        queue.close()

    app = FastAPI(
        title="AutoLoRA Registry",
        description="Find LoRA adapters by what they do, and make images with them.",
        version=_version(),
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        # FastAPI's own pages load scripts from a CDN.
        docs_url=None,
        redoc_url=None,
        responses={"default": {"model": Problem, "description": "What went wrong (RFC 9457)."}},
    )
    app.state.registry = registry
    app.state.queue = queue
    for module in (search, adapters, claims, fuse, health):
        app.include_router(module.router)
    app.include_router(pages.router, include_in_schema=False)
    app.include_router(claims.page_router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    add_error_handlers(app)
    if is_loopback(registry.settings.host):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_HOSTS)
    app.add_middleware(SecurityHeaders)
    return app


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _version() -> str:
    try:
        return version("autolora-registry")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
