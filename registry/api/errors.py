"""Our errors -> HTTP. The only place that knows status codes, and only as a table."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from crawler.errors import AutoLoraError, FileTooLargeError, NoRoomError
from crawler.foreign_text import one_line
from encoder.errors import UnknownClaimError
from registry import errors as ours
from registry.advice import for_http, for_page
from registry.api import request_ids
from registry.api.pages.faults import (
    PageFaults,
    address_without_faults,
    cursor_faults,
    page_faults,
)
from registry.api.pages.render import error_page
from registry.api.pages.sentences import fault_in_chinese, in_chinese
from registry.api.pages.texts import language_of
from registry.api.schemas.shapes import UNKNOWN_NAME
from registry.faults import fault_words
from registry.fusion.errors import (
    AdapterRefusedError,
    BaseModelError,
    ComfyUIError,
    ComfyUINotSetError,
    FusionError,
    GatesFileError,
    GenerationCancelledError,
    RecipeError,
    SamplingError,
)
from registry.retrieval.errors import (
    CursorError,
    EmptyQueryError,
    NothingFoundError,
    NothingIndexedError,
    SearchError,
    UnknownBaseModelError,
)
from registry.retrieval.given_values import MOST_CHARACTERS

logger = logging.getLogger(__name__)

# Seconds; an image takes a few on a small base and a minute on a large one.
RETRY_AFTER = 10
# nginx's word for who hung up before he had sent all; HTTP has none.
CLIENT_CLOSED = 499
PROBLEM_JSON = "application/problem+json"
# FastAPI's words for a body whose bytes are no letters.
UNREADABLE = "There was an error parsing the body"
# Of a request's faults; what is sent back must not grow with what was sent.
MOST_FAULTS = 5
MOST_FAULT_LETTERS = 200
# What takes a longer text than an address does.
LONGER = {
    ("/v1/search", "query", name): f"send it by POST for up to {MOST_CHARACTERS:,}"
    for name in ("q", "unlike_text")
}
METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT")


class BusyError(ours.RegistryError):
    """The queue of images to make is full."""

    def __init__(self) -> None:
        super().__init__("too many images are waiting to be made; try again in a moment.")


class UploadsBusyError(ours.RegistryError):
    """Too many send pictures."""

    def __init__(self) -> None:
        super().__init__("too many pictures are sent at once; try again in a moment.")


class FilesBusyError(ours.RegistryError):
    """Too many want something of the blob store."""

    def __init__(self) -> None:
        super().__init__("too many files and covers are sent at once; try again in a moment.")


class StreamsBusyError(ours.RegistryError):
    """Too many watch what is under way."""

    def __init__(self) -> None:
        super().__init__("too many watch what is under way at once; try again in a moment.")


# The nearest class in an error's ancestry counts.
STATUS: dict[type[Exception], HTTPStatus] = {
    AutoLoraError: HTTPStatus.INTERNAL_SERVER_ERROR,
    ours.AdapterNotFoundError: HTTPStatus.NOT_FOUND,
    ours.CoverNotFoundError: HTTPStatus.NOT_FOUND,
    ours.TokenNotFoundError: HTTPStatus.NOT_FOUND,
    ours.ImageNotFoundError: HTTPStatus.NOT_FOUND,
    ours.ImageNotDoneError: HTTPStatus.CONFLICT,
    ours.HasCoverError: HTTPStatus.CONFLICT,
    ours.NoPreviewError: HTTPStatus.CONFLICT,
    ours.NoFolderError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ours.FolderNotWatchedError: HTTPStatus.NOT_FOUND,
    ours.FileTakenError: HTTPStatus.UNPROCESSABLE_ENTITY,
    FileTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NoRoomError: HTTPStatus.INSUFFICIENT_STORAGE,
    ours.NotTrashedError: HTTPStatus.CONFLICT,
    ours.NotRemovedError: HTTPStatus.CONFLICT,
    ours.ImageRequestError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ours.RequestKeyError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ours.RequestUnderWayError: HTTPStatus.CONFLICT,
    ours.BlobNotFoundError: HTTPStatus.NOT_FOUND,
    ours.UnknownFileError: HTTPStatus.NOT_FOUND,
    ours.FileNotKeptError: HTTPStatus.NOT_FOUND,
    ours.FileWithheldError: HTTPStatus.FORBIDDEN,
    ours.StrengthsError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ours.AdapterNotReadyError: HTTPStatus.CONFLICT,
    ours.NoBaseModelError: HTTPStatus.CONFLICT,
    ours.NoGatesError: HTTPStatus.CONFLICT,
    ours.MissingExtraError: HTTPStatus.NOT_IMPLEMENTED,
    ours.DatabaseError: HTTPStatus.SERVICE_UNAVAILABLE,
    ours.NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    ours.DiskFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    ours.DiskClosedError: HTTPStatus.INSUFFICIENT_STORAGE,
    ours.NumberTooLargeError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownClaimError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UploadsBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    FilesBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    StreamsBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    SearchError: HTTPStatus.UNPROCESSABLE_ENTITY,
    EmptyQueryError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownBaseModelError: HTTPStatus.NOT_FOUND,
    NothingFoundError: HTTPStatus.NOT_FOUND,
    NothingIndexedError: HTTPStatus.SERVICE_UNAVAILABLE,
    FusionError: HTTPStatus.CONFLICT,
    AdapterRefusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    RecipeError: HTTPStatus.UNPROCESSABLE_ENTITY,
    SamplingError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ComfyUIError: HTTPStatus.BAD_GATEWAY,
    ComfyUINotSetError: HTTPStatus.CONFLICT,
    BaseModelError: HTTPStatus.CONFLICT,
    GatesFileError: HTTPStatus.CONFLICT,
    # Only a server that is stopping cancels what somebody still waits for.
    GenerationCancelledError: HTTPStatus.SERVICE_UNAVAILABLE,
    BusyError: HTTPStatus.TOO_MANY_REQUESTS,
    ours.DatabaseBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    CursorError: HTTPStatus.BAD_REQUEST,
}

# Said instead of an error's own text, which names folders of this machine or quotes its logs:
# that is for who runs the registry, and goes to the log.
SAID: dict[type[Exception], str] = {
    ours.DatabaseError: (
        "The database cannot be reached; send the request again in a moment. "
        "The registry's log has the reason."
    ),
    ours.DiskFullError: "The registry's disk is full.",
    ours.DiskClosedError: "The registry may not write to its disk; its log has the reason.",
    AutoLoraError: "The registry could not do this; its log has the reason.",
    BaseModelError: "The base model cannot be loaded; the registry's log has the reason.",
    GatesFileError: "The base model's gates cannot be loaded; the registry's log has the reason.",
}


def status_of(error: Exception) -> HTTPStatus:
    return STATUS[_kind_of(error)]


def problem_of(error: Exception) -> dict[str, object]:
    """Return the problem document (RFC 9457) of one of our errors."""
    name = type(error).__name__.removesuffix("Error")
    words = re.sub(r"(?<=[A-Za-z])(?=[A-Z][a-z])", " ", name).lower()
    detail = SAID.get(_kind_of(error)) or for_http(str(error))
    return _problem(status_of(error), words, detail)


def bug_problem() -> dict[str, object]:
    """Return the problem document of what is no error of ours."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _problem(
        status, "internal error", "This is a bug in the registry; its log has the details."
    )


def http_problem(status: HTTPStatus, detail: str, title: str = "") -> dict[str, object]:
    """Return the problem document of what HTTP itself has a status for."""
    return _problem(status, title or status.phrase.lower(), detail)


def log_hidden(where: str, error: Exception) -> None:
    """Write to the log what `problem_of` does not say, and what the server could not help."""
    if _kind_of(error) in SAID or status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("%s: %s", one_line(where), one_line(str(error)))


def _kind_of(error: Exception) -> type[Exception]:
    return next(kind for kind in type(error).__mro__ if kind in STATUS)


def add_error_handlers(app: FastAPI) -> None:
    # Starlette wants handlers typed for any exception.
    app.add_exception_handler(AutoLoraError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_bug)


def _on_ours(request: Request, error: Exception) -> Response:
    status = status_of(error)
    log_hidden(request.url.path, error)
    headers = {}
    # An index with nothing in it does not fill in a moment.
    lasts = isinstance(error, NothingIndexedError)
    if not lasts and status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers["Retry-After"] = str(RETRY_AFTER)
    is_place = isinstance(error, CursorError) and _wants_page(request)
    faults = cursor_faults(request) if is_place else None
    mended = None
    if isinstance(error, SearchError) and _wants_page(request):
        mended = address_without_faults(request, error)
    return _answer(request, problem_of(error), headers, faults, mended)


def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    of_page = page_faults(request, faults[:MOST_FAULTS]) if _wants_page(request) else None
    said = [_fault_words(fault, request) for fault in faults[:MOST_FAULTS]]
    more, seam = f"and {len(faults) - MOST_FAULTS} more", "; "
    if language_of(request) == "zh":
        said = [in_chinese(words) or words for words in said]
        more, seam = f"另有 {len(faults) - MOST_FAULTS} 处", "；"
    if len(faults) > MOST_FAULTS:
        said.append(more)
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    problem = http_problem(status, seam.join(said), "invalid request")
    return _answer(request, problem, faults=of_page)


def _fault_words(fault: Mapping[str, Any], request: Request) -> str:
    kind, message = fault["type"], fault["msg"][:MOST_FAULT_LETTERS]
    if kind == "json_invalid":
        return f"the body is no JSON: {fault['ctx']['error']}, at letter {fault['loc'][-1]}"
    sent_as = request.headers.get("content-type", "")[:MOST_FAULT_LETTERS]
    if fault["loc"] == ("body",) and sent_as and "json" not in sent_as:
        return f"the body was sent as {sent_as}; send it with Content-Type: application/json"
    parts = list(fault["loc"][1:])
    # Of several values of a parameter each is named as it is written.
    if fault["loc"][0] == "query" and parts and isinstance(parts[-1], int):
        parts = parts[:-1]
    where = ".".join(map(str, parts))[:MOST_FAULT_LETTERS]
    if kind == UNKNOWN_NAME:
        # It names all that there are, whatever was sent.
        return f"{where}: {fault['msg']}" if where else str(fault["msg"])
    where = where or str(fault["loc"][0])
    chinese = fault_in_chinese(kind, fault.get("ctx", {})) if language_of(request) == "zh" else None
    if chinese:
        return f"{where}：{chinese}"
    said = fault_words(where, dict(fault) | {"msg": message})
    longer = LONGER.get((request.url.path, *fault["loc"])) if kind == "string_too_long" else None
    return f"{said}; {longer}" if longer else said


def on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    headers, detail = dict(error.headers or {}), error.detail or status.description
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods_here(request))
        detail = f"{request.method} is not for this address; {headers['Allow']} may be."
    elif detail == UNREADABLE:
        detail = "the body cannot be read as JSON: it has to be in UTF-8."
    elif status == HTTPStatus.NOT_FOUND and detail == status.phrase and _for_programs(request):
        detail = "nothing is at this address; /docs lists all that there are."
    return _answer(request, http_problem(status, detail), headers)


def _for_programs(request: Request) -> bool:
    return request.url.path.startswith("/v1/")


def _wants_page(request: Request) -> bool:
    return not _for_programs(request) and "text/html" in request.headers.get("accept", "")


def _methods_here(request: Request) -> list[str]:
    """Return what may be done at an address; Starlette names what its first route there does."""
    return [
        method
        for method in METHODS
        for scope in [{**request.scope, "method": method}]
        if any(route.matches(scope)[0] == Match.FULL for route in request.app.routes)
    ]


def _on_gone(request: Request, error: Exception) -> Response:
    """Answer whoever hung up while he was sending: nobody reads it, and it is counted."""
    return Response(status_code=CLIENT_CLOSED)


def _on_bug(request: Request, error: Exception) -> Response:
    # Starlette logs the traceback by raising again after the answer.
    return _answer(request, bug_problem())


def _problem(status: HTTPStatus, title: str, detail: str) -> dict[str, object]:
    return {
        "type": f"urn:autolora:problem:{title.replace(' ', '-')}",
        "title": title[:1].upper() + title[1:],
        "status": int(status),
        "detail": one_line(detail),
    }


def in_language(request: Request, problem: dict[str, object]) -> dict[str, object]:
    """Return a problem in the language of who asks: pages show it as it is."""
    if language_of(request) != "zh":
        return problem
    return problem | {"detail": in_chinese(str(problem["detail"])) or problem["detail"]}


def problem_for(request: Request, error: Exception) -> dict[str, object]:
    """Return the problem document of an error, within an answer, as who asks is told it."""
    return in_language(request, problem_of(error)) | _request_id(request)


def _request_id(request: Request) -> dict[str, object]:
    request_id = request.scope.get(request_ids.KEY)
    return {"request_id": request_id} if request_id else {}


def _answer(
    request: Request,
    problem: dict[str, object],
    headers: dict[str, str] | None = None,
    faults: PageFaults | None = None,
    mended: str | None = None,
) -> Response:
    """Answer with a problem; a page says what is wrong in its address in words of its own.

    `mended` is the page's address without what was wrong.
    """
    status = int(str(problem["status"]))
    headers = dict(headers or {})
    known = _request_id(request)
    problem = problem | known
    # What is answered outside of all middleware has it, too.
    if known:
        headers[request_ids.HEADER] = str(known["request_id"])
    if _wants_page(request):
        title, detail = str(problem["title"]), for_page(str(problem["detail"]))
        return error_page(request, status, title, detail, headers, faults, mended)
    problem = in_language(request, problem)
    return JSONResponse(problem, status, headers=headers, media_type=PROBLEM_JSON)
