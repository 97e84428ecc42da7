"""The OpenAPI document: what FastAPI says of routes, made complete.

Every operation tells which token it needs and every error that it may answer, with examples. Those
of errors are what `registry.api.errors` makes of them; those of answers and bodies are put together
from what the fields of their schemas look like.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from registry.api.errors import PROBLEM_JSON, bug_problem, http_problem, problem_of
from registry.api.schemas.shapes import EXAMPLE_SHA256
from registry.errors import (
    AdapterNotFoundError,
    BlobNotFoundError,
    DatabaseBusyError,
    ImageNotDoneError,
    ImageNotFoundError,
    RequestKeyError,
    RequestUnderWayError,
    UnknownFileError,
)
from registry.retrieval.errors import (
    CursorError,
    OtherQuestionError,
    UnknownBaseModelError,
    UnknownFilterValueError,
)
from registry.token_scopes import TokenScope

Schema = Mapping[str, Any]
Responses = dict[int | str, dict[str, Any]]
# What is said of a problem, and the problem.
Told = tuple[str, Mapping[str, object]]

PROBLEM = {"$ref": "#/components/schemas/Problem"}
JSON = "application/json"
BYTES = {"type": "string", "format": "binary"}
TEXT = {"type": "string"}
BINARY_KINDS = ("image/", "application/octet-stream", "application/zip")
REQUEST_ID = "0f4c2a9be1d84c6fa3b5d7e8f9012345"
TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "`autolora token create` makes one; its scopes are read, fuse and admin.",
}


def refusals(*errors: Exception) -> Responses:
    """Return what a route answers that may raise such errors."""
    return _responses(map(_told, errors))


def http_refusal(status: HTTPStatus, summary: str, detail: str) -> Responses:
    """Return what a route answers with a status of HTTP's own."""
    return _responses([_http(status, summary, detail)])


def _told(error: Exception) -> Told:
    return str(type(error).__doc__).partition("\n")[0], problem_of(error)


def _responses(problems: Iterable[Told]) -> Responses:
    """Return responses by status, each with an example of every problem that it may be."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for summary, problem in problems:
        name = str(problem["type"]).rpartition(":")[2]
        value = {**problem, "request_id": REQUEST_ID}
        found.setdefault(int(str(problem["status"])), {})[name] = {
            "summary": summary,
            "value": value,
        }
    return {
        status: {
            "description": " ".join(one["summary"] for one in examples.values()),
            "content": {PROBLEM_JSON: {"schema": PROBLEM, "examples": examples}},
        }
        for status, examples in found.items()
    }


def _http(status: HTTPStatus, summary: str, detail: str) -> Told:
    return summary, http_problem(status, detail)


ANYWHERE: list[Told] = [
    _http(
        HTTPStatus.BAD_REQUEST,
        "The request was sent to a name that is none of this server's.",
        "This server is not known by that name; REGISTRY_ALLOWED_HOSTS lists its names.",
    ),
    _http(
        HTTPStatus.FORBIDDEN,
        "A page of another site asks, or the token has not the scope.",
        "Pages of other sites may not ask here.",
    ),
    _http(
        HTTPStatus.TOO_MANY_REQUESTS,
        "So much is not answered at once; Retry-After says when to come back.",
        "Too many requests from here; ask again in 3 s.",
    ),
    ("A bug in the registry.", bug_problem()),
    _told(DatabaseBusyError()),
]
WITH_TOKEN: list[Told] = [
    _http(
        HTTPStatus.UNAUTHORIZED,
        "No token was sent where one is wanted, or one that opens nothing.",
        "This token is not known here, or was revoked.",
    )
]
WITH_PARAMETERS: list[Told] = [
    _http(HTTPStatus.REQUEST_URI_TOO_LONG, "The address is far too long.", "URI is too long"),
    (
        "Something was sent that this address does not take.",
        http_problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "limit is 101; it is 100 at most",
            title="invalid request",
        ),
    ),
]
WITH_BODY: list[Told] = [
    _http(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body is too large.",
        "What was sent is too large: at most 32 KB are taken here.",
    )
]
# What parameters by their names may be refused for.
BY_PARAMETER: dict[str, list[Exception]] = {
    "Idempotency-Key": [RequestKeyError(), RequestUnderWayError()],
    "adapter_id": [AdapterNotFoundError(7)],
    "image_id": [ImageNotFoundError(7), ImageNotDoneError(7, "waiting")],
    "sha256": [UnknownFileError(EXAMPLE_SHA256), BlobNotFoundError(EXAMPLE_SHA256)],
    "cursor": [CursorError(), OtherQuestionError()],
    "base_model": [UnknownBaseModelError("flux.1-kontext", ["flux.1-dev"])],
    "author": [UnknownFilterValueError("author", "nobody", ["ann"], more=False)],
}


def complete(
    document: dict[str, Any],
    scopes: Mapping[tuple[str, str], TokenScope | None],
    *,
    wants_tokens: bool,
) -> None:
    """Add to a document what FastAPI does not know.

    `scopes` are what tokens are to be of, by method and path.
    """
    schemas = document["components"]["schemas"]
    if wants_tokens:
        document["components"]["securitySchemes"] = {"token": TOKEN}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            scope = scopes[method, path]
            _describe(operation, scope)
            if wants_tokens and scope is not None:
                operation["security"] = [{"token": [scope.value]}]
            _add_errors(operation, has_scope=scope is not None)
            _say_what_is_no_json(operation)
            _add_examples(operation, schemas)
    _share_errors(document)


def _describe(operation: dict[str, Any], scope: TokenScope | None) -> None:
    """Say in a line what an operation does, and in more what else is to be known."""
    said = operation["description"]
    operation["summary"] = said.partition("\n")[0].rstrip(".").replace("`", "")
    if scope is not None:
        needed = f"Where tokens are asked for, it needs the scope `{scope.value}`."
        operation["description"] = f"{said}\n\n{needed}"


def _add_errors(operation: dict[str, Any], *, has_scope: bool) -> None:
    responses = operation["responses"]
    names = [parameter["name"] for parameter in operation.get("parameters", [])]
    told = [*ANYWHERE]
    told += WITH_TOKEN if has_scope else []
    told += WITH_PARAMETERS if names or "requestBody" in operation else []
    told += WITH_BODY if "requestBody" in operation else []
    told += [_told(error) for name in names for error in BY_PARAMETER.get(name, ())]
    for status, response in _responses(told).items():
        own = responses.get(str(status))
        responses[str(status)] = response if own is None else _both(own, response)
    # FastAPI thinks them of the type of the answers.
    responses["default"]["content"] = {PROBLEM_JSON: {"schema": PROBLEM}}
    operation["responses"] = dict(sorted(responses.items()))


def _share_errors(document: dict[str, Any]) -> None:
    """Write once what many operations answer; it would be most of the document."""
    shared: dict[str, str] = {}
    told = document["components"].setdefault("responses", {})
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if PROBLEM_JSON not in response.get("content", {}):
                    continue
                name = shared.setdefault(json.dumps(response), f"{status}-{len(shared)}")
                told[name] = response
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}


def _both(own: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    if PROBLEM_JSON not in own.get("content", {}):
        return own
    examples = {
        **own["content"][PROBLEM_JSON]["examples"],
        **common["content"][PROBLEM_JSON]["examples"],
    }
    return {
        "description": " ".join(one["summary"] for one in examples.values()),
        "content": {PROBLEM_JSON: {"schema": PROBLEM, "examples": examples}},
    }


def _add_examples(operation: dict[str, Any], schemas: Mapping[str, Schema]) -> None:
    """Show what is to be sent and what comes, wherever that is JSON and nothing shows it yet."""
    for parameter in operation.get("parameters", []):
        if parameter["required"]:
            parameter["example"] = example_of(parameter["schema"], schemas)
    for content in _taken_and_answered(operation):
        shown = content.get(JSON, {})
        if shown.get("schema") and not {"example", "examples"} & shown.keys():
            shown["example"] = example_of(shown["schema"], schemas)


def _say_what_is_no_json(operation: dict[str, Any]) -> None:
    """Say of files that they are bytes and of lines that they are text, as generated clients want.

    FastAPI says it of neither, but of each event in a word that OpenAPI has from 3.2 on [1].

    - [1] https://spec.openapis.org/oas/v3.2.0.html#media-type-object
    """
    for content in _taken_and_answered(operation):
        for kind in content.keys() - {JSON}:
            content[kind].pop("itemSchema", None)
            is_file = kind.startswith(BINARY_KINDS)
            content[kind].setdefault("schema", BYTES if is_file else TEXT)


def _taken_and_answered(operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give what is sent and what comes where all is well, by its kind."""
    yield operation.get("requestBody", {}).get("content", {})
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            yield response.get("content", {})


def example_of(schema: Schema, schemas: Mapping[str, Schema]) -> Any:
    """Return what a schema says that it looks like, or what its parts look like together.

    Raises:
        LookupError: some part does not say so.
    """
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "properties" in schema:
        return {name: example_of(part, schemas) for name, part in schema["properties"].items()}
    for known in ("const", "default"):
        if known in schema:
            return schema[known]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "boolean":
        return True
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas)
    if "items" in schema:
        return [example_of(schema["items"], schemas)]
    raise LookupError(f"nothing shows what this looks like: {schema}")
