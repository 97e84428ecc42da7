"""The HTTP API and the page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.routing import BaseRoute

from registry import measures
from registry.api.access import allowed_to, is_public, open_scopes, wants_tokens
from registry.api.admission import Admission
from registry.api.deps import MOST_FETCHING, Places
from registry.api.description import complete
from registry.api.drawing import Desk
from registry.api.errors import FilesBusyError, add_error_handlers
from registry.api.folder_keeper import FolderKeeper
from registry.api.fresh import Fresh
from registry.api.limits import LimitAddresses, Limits, Streams
from registry.api.metrics import FRESH_SECONDS, CountRequests, Metrics
from registry.api.pages.render import STATIC
from registry.api.queue import GenerationQueue
from registry.api.repeated import refuse_repeated
from registry.api.request_ids import RequestIds
from registry.api.routes import (
    adapters,
    claims,
    covers,
    docs,
    exports,
    favourites,
    folder_pages,
    folders,
    fuse,
    health,
    image_pages,
    images,
    log_in,
    metrics,
    pages,
    pictures,
    search,
    status,
    studio,
)
from registry.api.schemas.fuse import LINES
from registry.api.schemas.service import Problem
from registry.api.security import SecurityHeaders
from registry.api.uploads import Uploads
from registry.connection import own_version
from registry.running import Identity
from registry.service import Registry
from registry.token_scopes import TokenScope


def _answer_head(router: APIRouter) -> None:
    """Answer HEAD wherever GET is [1]: download programs ask that first.

    - [1] https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
    """
    for route in list(router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            router.add_api_route(
                route.path.removeprefix(router.prefix),
                route.endpoint,
                methods=["HEAD"],
                response_class=route.response_class,
                dependencies=route.dependencies,
                include_in_schema=False,
            )


# What each router's routes are of, for who comes with a token; None is open to all.
API: list[tuple[APIRouter, TokenScope | None]] = [
    (health.router, None),
    (search.router, TokenScope.READ),
    (pictures.router, TokenScope.READ),
    (adapters.router, TokenScope.READ),
    (status.read_router, TokenScope.READ),
    (exports.router, TokenScope.READ),
    (exports.image_router, TokenScope.READ),
    (images.router, TokenScope.READ),
    (images.drawing_router, TokenScope.FUSE),
    (fuse.router, TokenScope.FUSE),
    (covers.router, TokenScope.FUSE),
    (exports.send_router, TokenScope.FUSE),
    (claims.router, TokenScope.ADMIN),
    (favourites.router, TokenScope.ADMIN),
    (folders.router, TokenScope.ADMIN),
    (status.router, TokenScope.ADMIN),
]
# They are for people, and no part of the API.
PAGES: list[tuple[APIRouter, TokenScope | None]] = [
    (docs.router, None),
    (log_in.router, None),
    (pages.router, TokenScope.READ),
    (pictures.page_router, TokenScope.READ),
    (image_pages.router, TokenScope.READ),
    (image_pages.drawing_router, TokenScope.FUSE),
    (studio.router, TokenScope.FUSE),
    (covers.page_router, TokenScope.FUSE),
    (claims.page_router, TokenScope.ADMIN),
    (favourites.page_router, TokenScope.ADMIN),
    (folder_pages.router, TokenScope.ADMIN),
    (status.page_router, TokenScope.ADMIN),
    (status.read_page_router, TokenScope.READ),
    (metrics.router, TokenScope.ADMIN),
]
for _router, _ in (*API, *PAGES):
    _answer_head(_router)
# So often /readyz looks at the schema and at encoders; the database is asked every time.
READY_SECONDS = 5.0
# What is open to all where reading is, but for the images that were made here: what somebody drew
# is for who has a token.
READING = (None, TokenScope.READ)
OWN_IMAGES = (images.router, exports.image_router, image_pages.router)
# Weights do not get smaller, and lines of progress are for now: a compressor would keep them.
UNCOMPRESSED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/octet-stream", LINES)


def create_app(registry: Registry, identity: Identity | None = None) -> FastAPI:
    """Make the app over an open registry; whoever opened it closes it.

    `identity` is what this machine's own programs know a running server by.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        close(app)

    settings = registry.settings
    app = App(
        title="AutoLoRA Registry",
        description="Find LoRA adapters by what they do, and make images with them.",
        version=own_version(),
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        # FastAPI's own pages load scripts from a CDN.
        docs_url=None,
        redoc_url=None,
        routes=_routes(settings.public_read, settings.public_metrics),
    )
    _furnish(app, registry, identity)
    app.mount("/docs/swagger", docs.SWAGGER, name="swagger")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    add_error_handlers(app)
    app.add_middleware(GZipMiddleware, compresslevel=5, exclude_content_types=UNCOMPRESSED)
    app.add_middleware(Admission, settings=settings)
    app.add_middleware(LimitAddresses, limits=app.state.limits)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(CountRequests, metrics=app.state.metrics)
    app.add_middleware(RequestIds)
    return app


@cache
def _routes(public_read: bool, public_metrics: bool) -> list[BaseRoute]:
    """Return the routes of every app of such settings, guarded.

    FastAPI prepares a route when a request first passes it, .3 s for all, and keeps that beside it.
    """
    every = APIRouter(
        responses={"default": {"model": Problem, "description": "What went wrong (RFC 9457)."}}
    )
    for routers, described in ((API, True), (PAGES, False)):
        for router, wanted in routers:
            scope = None if router is metrics.router and public_metrics else wanted
            if not public_read or _is_public(router, scope):
                guards = [] if scope is None else [Depends(allowed_to(scope))]
                # A page makes the best of whatever its address says.
                guards += [Depends(refuse_repeated)] if described else []
                every.include_router(router, dependencies=guards, include_in_schema=described)
    return every.routes


def _is_public(router: APIRouter, scope: TokenScope | None) -> bool:
    return scope in READING and router not in OWN_IMAGES


def _furnish(app: FastAPI, registry: Registry, identity: Identity | None) -> None:
    """Give an app what its routes share."""
    app.state.registry = registry
    app.state.identity = identity
    app.state.open_scopes = open_scopes(registry.settings)
    app.state.metrics = Metrics()
    app.state.queue = GenerationQueue(count=app.state.metrics.queued)
    app.state.desk = Desk(registry, app.state.queue)
    app.state.keeper = FolderKeeper(registry)
    app.state.facts = Fresh(registry.index_facts, FRESH_SECONDS)
    app.state.checked = Fresh(registry.check_ready, READY_SECONDS)
    measures.tell(app.state.metrics)
    limited = is_public(registry.settings)
    app.state.limits = Limits(registry.settings, limited=limited)
    app.state.streams = Streams(limited=limited)
    app.state.places = Places()
    app.state.blob_places = Places(MOST_FETCHING, error=FilesBusyError)
    app.state.uploads = Uploads(limited=limited)


def close(app: FastAPI) -> None:
    """End what an app has begun beside its answers."""
    app.state.keeper.close()
    app.state.desk.close()
    app.state.queue.close()


class App(FastAPI):
    """Describes itself in full."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            settings = self.state.registry.settings
            scopes = {
                (method.lower(), route.path): scope
                for router, scope in API
                for route in router.routes
                if isinstance(route, APIRoute)
                for method in route.methods or ()
            }
            complete(super().openapi(), scopes, wants_tokens=wants_tokens(settings))
        return super().openapi()
