"""Our errors -> HTTP. The only place that knows status codes, and only as a table."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from crawler.errors import AutoLoraError
from encoder.errors import UnknownClaimError
from registry import errors as ours
from registry.api.pages.render import error_page
from registry.fusion.errors import AdapterRefusedError, FusionError, GenerationCancelledError
from registry.retrieval.errors import (
    EmptyQueryError,
    NothingFoundError,
    NothingIndexedError,
    SearchError,
    UnknownBaseModelError,
)

logger = logging.getLogger(__name__)

# Seconds; an image takes a few on a small base and a minute on a large one.
RETRY_AFTER = 10


class BusyError(ours.RegistryError):
    """The queue of images to make is full."""

    def __init__(self) -> None:
        super().__init__("too many images are waiting to be made; try again in a moment.")


class CursorError(ours.RegistryError):
    """A cursor was not made by this API."""

    def __init__(self) -> None:
        super().__init__("this cursor is none of ours; use the `next` of a page, or none.")


# The nearest class in an error's ancestry counts.
STATUS: dict[type[Exception], HTTPStatus] = {
    AutoLoraError: HTTPStatus.INTERNAL_SERVER_ERROR,
    ours.AdapterNotFoundError: HTTPStatus.NOT_FOUND,
    ours.CoverNotFoundError: HTTPStatus.NOT_FOUND,
    ours.BlobNotFoundError: HTTPStatus.NOT_FOUND,
    ours.StrengthsError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ours.AdapterNotReadyError: HTTPStatus.CONFLICT,
    ours.NoBaseModelError: HTTPStatus.CONFLICT,
    ours.NoGatesError: HTTPStatus.CONFLICT,
    ours.MissingExtraError: HTTPStatus.NOT_IMPLEMENTED,
    ours.DatabaseError: HTTPStatus.SERVICE_UNAVAILABLE,
    ours.DiskFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    UnknownClaimError: HTTPStatus.UNPROCESSABLE_ENTITY,
    SearchError: HTTPStatus.UNPROCESSABLE_ENTITY,
    EmptyQueryError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownBaseModelError: HTTPStatus.NOT_FOUND,
    NothingFoundError: HTTPStatus.NOT_FOUND,
    NothingIndexedError: HTTPStatus.SERVICE_UNAVAILABLE,
    FusionError: HTTPStatus.CONFLICT,
    AdapterRefusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    # Only a server that is stopping cancels what somebody still waits for.
    GenerationCancelledError: HTTPStatus.SERVICE_UNAVAILABLE,
    BusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    CursorError: HTTPStatus.BAD_REQUEST,
}


def status_of(error: Exception) -> HTTPStatus:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_of(error: Exception) -> dict[str, object]:
    """Return the problem document (RFC 9457) of one of our errors."""
    name = type(error).__name__.removesuffix("Error")
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return _problem(status_of(error), words.strip(), str(error))


def add_error_handlers(app: FastAPI) -> None:
    # Starlette wants handlers typed for any exception.
    app.add_exception_handler(AutoLoraError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


def _on_ours(request: Request, error: Exception) -> Response:
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("%s: %s", request.url.path, error)
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER)
    return _answer(request, problem_of(error), headers)


def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        f"{'.'.join(str(part) for part in fault['loc'][1:]) or fault['loc'][0]}: {fault['msg']}"
        for fault in error.errors()
    ]
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return _answer(request, _problem(status, "invalid request", "; ".join(faults)))


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    problem = _problem(status, status.phrase.lower(), error.detail or status.description)
    return _answer(request, problem, dict(error.headers or {}))


def _on_bug(request: Request, error: Exception) -> Response:
    # Starlette logs the traceback by raising again after the answer.
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = "This is a bug in the registry; its log has the details."
    return _answer(request, _problem(status, "internal error", detail))


def _problem(status: HTTPStatus, title: str, detail: str) -> dict[str, object]:
    return {
        "type": f"urn:autolora:problem:{title.replace(' ', '-')}",
        "title": title[:1].upper() + title[1:],
        "status": int(status),
        "detail": detail,
    }


def _answer(
    request: Request, problem: dict[str, object], headers: dict[str, str] | None = None
) -> Response:
    status = int(str(problem["status"]))
    if not request.url.path.startswith("/v1/") and "text/html" in request.headers.get("accept", ""):
        return error_page(request, status, str(problem["title"]), str(problem["detail"]), headers)
    return JSONResponse(problem, status, headers=headers, media_type="application/problem+json")
