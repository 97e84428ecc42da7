"""Adapters: lists, facts, covers and files."""

from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse

from registry.api.access import wants_tokens
from registry.api.conditional import NOT_MODIFIED, REVALIDATE, not_modified, revalidated
from registry.api.deps import AskingDep, FetchingDep, OpenRegistryDep, Places, RegistryDep
from registry.api.description import http_refusal, refusals
from registry.api.file_parts import NO_SUCH_PART, PartsResponse
from registry.api.schemas.adapters import AdapterDetailAnswer, AdapterListAnswer
from registry.api.schemas.asked import (
    FilterParams,
    FoundParams,
    ListParams,
    SimilarParams,
)
from registry.api.schemas.found import DuplicateListAnswer, FacetsAnswer, SimilarAnswer
from registry.api.schemas.shapes import EXAMPLE_SHA256, MOST_ID
from registry.errors import (
    CoverNotFoundError,
    FileNotKeptError,
    FileWithheldError,
    UnknownFileError,
)
from registry.service import Registry

router = APIRouter(prefix="/v1", tags=["adapters"])

Sha256Path = Annotated[str, Path(pattern="^[0-9a-f]{64}$", examples=[EXAMPLE_SHA256])]
IdPath = Annotated[int, Path(ge=1, le=MOST_ID, examples=[7])]

# Covers are stored as PNG or WebP, which their first bytes tell apart.
PNG_MAGIC = b"\x89PNG"
FILE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}},
    206: {"description": "The part that Range asks for."},
    304: NOT_MODIFIED,
    **refusals(
        FileNotKeptError(EXAMPLE_SHA256, "https://civitai.com/models/1234"),
        FileWithheldError("Paper Fox", "its weights are not finite"),
    ),
    **http_refusal(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "Range asks for what the file does not have.",
        NO_SUCH_PART,
    ),
}

CONFIG_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": '{"r": 16, "lora_alpha": 32}'}}}
}


@router.get("/adapters")
def list_adapters(
    params: Annotated[ListParams, Query()], registry: RegistryDep
) -> AdapterListAnswer:
    """List adapters. Pages neither overlap nor skip while adapters come and go.

    Only one whose own value of the sort changes meanwhile may be met again, or not at all.
    """
    page = registry.browse(
        params.filters(),
        params.sort,
        params.cursor,
        params.limit,
        seed=params.seed,
        state=params.state,
    )
    return AdapterListAnswer.from_page(page)


@router.get("/facets")
def list_facets(params: Annotated[FilterParams, Query()], registry: RegistryDep) -> FacetsAnswer:
    """Count ready adapters by every value that they can be filtered by."""
    return FacetsAnswer.from_facets(registry.facets(params.filters()))


@router.get(
    "/adapters/{adapter_id}", response_model=AdapterDetailAnswer, responses={304: NOT_MODIFIED}
)
def get_adapter(adapter_id: IdPath, request: Request, registry: RegistryDep) -> Response:
    """Return all that is known of an adapter, whatever its state; 304 for its ETag."""
    return revalidated(request, AdapterDetailAnswer.from_detail(registry.adapter(adapter_id)))


@router.get("/adapters/{adapter_id}/similar")
def list_similar(
    adapter_id: IdPath, params: Annotated[SimilarParams, Query()], registry: RegistryDep
) -> SimilarAnswer:
    """List adapters of the same family by the similarity of their weights.

    `compared_by` says how: by the active encoder, or by fingerprints where there is none.
    """
    similar = registry.similar(adapter_id, params.paging(), mature=params.mature)
    return SimilarAnswer.from_similar(similar)


@router.get("/adapters/{adapter_id}/duplicates")
def list_duplicates(
    adapter_id: IdPath, params: Annotated[FoundParams, Query()], registry: RegistryDep
) -> DuplicateListAnswer:
    """List adapters that are this one again, the most certain first.

    Listed elsewhere, re-saved, cast, written in other factors, truncated or trained on a little.
    """
    return DuplicateListAnswer.from_page(registry.duplicates(adapter_id, params.paging()))


@router.get(
    "/adapters/{adapter_id}/covers/{position}",
    response_class=Response,
    responses={
        200: {"content": {"image/webp": {}, "image/png": {}}},
        304: NOT_MODIFIED,
        **refusals(CoverNotFoundError(7, 3)),
    },
)
async def get_cover(
    adapter_id: IdPath,
    position: Annotated[int, Path(ge=0, lt=2**31, examples=[0])],
    request: Request,
    registry: OpenRegistryDep,
    asking: AskingDep,
    fetching: FetchingDep,
    thumbnail: bool = False,
    v: Annotated[
        str | None, Query(description="Its hash begins so.", examples=["9f2b4c1d0a3e"])
    ] = None,
) -> Response:
    """Return a cover's image, at most 256 pixels wide with `thumbnail`."""
    cover = await asking.run(partial(registry.cover, adapter_id, position))
    sha256 = cover.thumbnail_sha256 if thumbnail else cover.sha256
    pinned = v is not None and len(v) >= 12 and cover.sha256.startswith(v)
    # Without the hash in it an address may change its image.
    headers = {
        "ETag": f'"{sha256}"',
        "Cache-Control": _kept_for_good(registry) if pinned else REVALIDATE,
    }
    if answered := not_modified(request, headers):
        return answered
    image = await fetching.run(partial(_read, registry, sha256))
    kind = "image/png" if image.startswith(PNG_MAGIC) else "image/webp"
    return Response(image, media_type=kind, headers=headers)


@router.get(
    "/adapters/{adapter_id}/file",
    response_class=FileResponse,
    responses=FILE_ANSWERS,
)
async def get_file(
    adapter_id: IdPath,
    request: Request,
    registry: OpenRegistryDep,
    asking: AskingDep,
    fetching: FetchingDep,
) -> Response:
    """Download an adapter's safetensors file. Ranges work; the ETag is its sha256."""
    detail = await asking.run(partial(registry.adapter, adapter_id))
    sha256 = detail.handed_out_sha256()
    name = detail.card.file_name.rpartition("/")[2] or f"{sha256}.safetensors"
    return await _send_file(request, registry, fetching, sha256, name, REVALIDATE)


@router.get(
    "/files/{sha256}",
    response_class=FileResponse,
    responses=FILE_ANSWERS,
)
async def get_file_by_hash(
    sha256: Sha256Path,
    request: Request,
    registry: OpenRegistryDep,
    asking: AskingDep,
    fetching: FetchingDep,
) -> Response:
    """Download the file of an adapter by its sha256, as recipes name it."""
    # The store holds other things too, and files that were refused.
    if not await asking.run(partial(registry.may_hand_out, sha256)):
        raise UnknownFileError(sha256)
    name, cache = f"{sha256}.safetensors", _kept_for_good(registry)
    return await _send_file(request, registry, fetching, sha256, name, cache)


def _kept_for_good(registry: Registry) -> str:
    """Say how what a hash names is kept: by caches that people share only if all of them may."""
    shared = "private" if wants_tokens(registry.settings) else "public"
    return f"{shared}, max-age=31536000, immutable"


def _read(registry: Registry, sha256: str) -> bytes:
    with registry.blobs.open(sha256) as stream:
        return stream.read()


async def _send_file(
    request: Request, registry: Registry, fetching: Places, sha256: str, name: str, cache: str
) -> Response:
    """Send a blob under a name, or what is asked for of it; its hash is its ETag."""
    headers = {"ETag": f'"{sha256}"', "Cache-Control": cache}
    path = await fetching.run(partial(registry.file, sha256))
    return not_modified(request, headers) or PartsResponse(
        path, media_type="application/octet-stream", filename=name, headers=headers
    )


@router.get("/files/{sha256}/peft-config", responses=CONFIG_ANSWERS)
def get_peft_config(sha256: Sha256Path, registry: RegistryDep) -> str:
    """Return the adapter_config.json that lay beside a file, as written; "" if there was none.

    Only it says how strong a file of PEFT's is.
    """
    return registry.peft_config(sha256)
