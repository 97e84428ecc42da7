"""One's own folders: watched, refreshed, given files, and rid of copies."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from crawler.errors import FileTooLargeError, NoRoomError
from registry.api.deps import KeeperDep, OpenRegistryDep, RegistryDep
from registry.api.description import BYTES, refusals
from registry.api.folder_keeper import FolderKeeper
from registry.api.idempotency import KeyDep, KeyedRoute
from registry.api.schemas.folders import (
    CopiesAnswer,
    CopyAnswer,
    FolderAnswer,
    FolderListAnswer,
    FolderRequest,
    RefreshRequest,
    TrashRequest,
)
from registry.errors import (
    FileTakenError,
    FolderNotWatchedError,
    NoFolderError,
    NotTrashedError,
)
from registry.service import Registry

router = APIRouter(prefix="/v1/folders", tags=["folders"], route_class=KeyedRoute)

FILE_BODY = {
    "required": True,
    "content": {"application/octet-stream": {"schema": BYTES}},
}

# Examples of what is refused.
NO_FOLDER = NoFolderError("/home/ann/lora", "no such file or directory")
NOT_WATCHED = FolderNotWatchedError("/home/ann/lora")
NOT_TRASHED = NotTrashedError("adapter 7", "its file lies in none of your folders")
NOT_KEPT = (
    FileTakenError("fox.zip", "only files called something.safetensors are taken"),
    FileTooLargeError("fox.safetensors", 9_000_000_000, 8_589_934_592),
    NoRoomError("fox.safetensors", 9_000_000, 1_080_000_000, 1_073_741_824),
)


@router.get("")
def list_folders(registry: RegistryDep, keeper: KeeperDep) -> FolderListAnswer:
    """List the folders that are watched, with what their last refresh came to."""
    return listed(registry, keeper)


@router.post("", status_code=202, responses=refusals(NO_FOLDER))
def add_folder(asked: FolderRequest, registry: RegistryDep, keeper: KeeperDep) -> FolderListAnswer:
    """Watch a folder of this machine, and index what is in it; it is not written to."""
    keeper.ask(registry.folders.add(asked.path))
    return listed(registry, keeper)


@router.delete("", status_code=204, responses=refusals(NOT_WATCHED))
def remove_folder(
    path: Annotated[str, Query(min_length=1, max_length=4096, examples=["/home/ann/loras"])],
    registry: RegistryDep,
) -> None:
    """Watch a folder no more; its adapters stay."""
    registry.folders.remove(path)


@router.post("/refresh", status_code=202, responses=refusals(NOT_WATCHED))
def refresh_folder(
    asked: RefreshRequest, registry: RegistryDep, keeper: KeeperDep
) -> FolderListAnswer:
    """Look now at what has changed in a folder that is watched."""
    refresh(asked.path, registry, keeper, draw_covers=asked.draw_covers)
    return listed(registry, keeper)


@router.post(
    "/files",
    status_code=202,
    openapi_extra={"requestBody": FILE_BODY},
    responses=refusals(*NOT_KEPT),
)
async def drop_file(
    name: Annotated[str, Query(min_length=1, max_length=255, examples=["paper-fox.safetensors"])],
    request: Request,
    registry: OpenRegistryDep,
    keeper: KeeperDep,
) -> FolderListAnswer:
    """Keep a safetensors file that is sent as the body, and index it.

    It lies in a folder of the registry's home, which is watched like any other.
    """
    folders = registry.folders
    length = request.headers.get("content-length")
    size = int(length) if length else None
    partial = await run_in_threadpool(folders.begin_file, name, size)
    try:
        # Bounded while it comes, by `Admission`; an empty piece comes last.
        async for chunk in request.stream():
            await run_in_threadpool(folders.add_to_file, name, partial, chunk)
        keeper.ask(await run_in_threadpool(folders.keep_file, name, partial))
    finally:
        partial.unlink(missing_ok=True)
    return await run_in_threadpool(listed, registry, keeper)


@router.get("/copies")
def list_copies(registry: RegistryDep) -> CopiesAnswer:
    """List files of one's own folders that are the same adapter by their weights, in groups."""
    groups = registry.folders.copies()
    return CopiesAnswer(groups=[[CopyAnswer.from_copy(c) for c in group] for group in groups])


@router.post("/trash", status_code=202, responses=refusals(NOT_TRASHED))
def trash_files(
    asked: TrashRequest, _: KeyDep, registry: RegistryDep, keeper: KeeperDep
) -> FolderListAnswer:
    """Move files of one's own folders to this machine's trash, from where they can come back."""
    for folder in registry.folders.trash(asked.adapters):
        keeper.ask(folder)
    return listed(registry, keeper)


def listed(registry: Registry, keeper: FolderKeeper) -> FolderListAnswer:
    folders = registry.folders.all()
    return FolderListAnswer(
        items=[FolderAnswer.from_facts(facts, keeper.before(Path(facts.path))) for facts in folders]
    )


def refresh(
    path: str, registry: Registry, keeper: FolderKeeper, *, draw_covers: bool = False
) -> None:
    """Have a folder refreshed that is watched; or raise FolderNotWatchedError."""
    keeper.ask(registry.folders.watched(path), draw_covers=draw_covers)
