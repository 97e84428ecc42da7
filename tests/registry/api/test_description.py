"""The OpenAPI document: complete, and true.

And a few of the cases that `python -m benchmarks.api_fuzz` has thousands of.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema_rs import Draft202012Validator

from benchmarks.api_fuzz.__main__ import ask
from registry.api.app import create_app
from registry.api.description import example_of
from registry.api.schemas.fuse import LINES, RECIPE
from registry.fusion.recipe import Recipe
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.servers import served


def test_the_api_does_as_it_describes_itself(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, words="fox")
    with served(create_app(registry)) as (host, port):
        options = ["--phases", "fuzzing", "--include-path-regex", "^/v1/(search|adapters|fuse)$"]
        code = ask(f"http://{host}:{port}", 1, *options)

    assert code == 0


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    said: dict[str, Any] = client.get("/v1/openapi.json").json()
    return said


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def answers(
    document: Mapping[str, Any], operation: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, answer in operation["responses"].items():
        name = answer.get("$ref", "").rpartition("/")[2]
        yield status, document["components"]["responses"][name] if name else answer


def examples(shown: Mapping[str, Any]) -> list[Any]:
    """Return the examples of a body, an answer or a parameter."""
    named = [one["value"] for one in shown.get("examples", {}).values()]
    return [*named, *([shown["example"]] if "example" in shown else [])]


def faults(document: Mapping[str, Any], shown: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with its examples, by its own schema."""
    schema = {**shown["schema"], "components": document["components"]}
    validator = Draft202012Validator(schema, validate_formats=True)
    found = [fault.message for one in examples(shown) for fault in validator.iter_errors(one)]
    return found if examples(shown) else ["no example"]


def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert len(operation["description"]) >= len(operation["summary"]), name
        for status, answer in answers(document, operation):
            assert answer["description"], f"{name} {status}"
    # Readers see no names of functions.
    assert document["paths"]["/v1/facets"]["get"]["summary"].startswith("Count ready adapters")


def test_every_body_and_every_answer_shows_what_it_looks_like(document: dict[str, Any]) -> None:
    """And what is shown is what the schemas say that it is."""
    for name, operation in operations(document):
        shown = [operation["requestBody"]] if "requestBody" in operation else []
        shown += [answer for status, answer in answers(document, operation) if status[0] == "2"]
        for content in (one.get("content", {}) for one in shown):
            if "schema" in content.get("application/json", {}):
                assert faults(document, content["application/json"]) == [], name


def test_what_is_no_json_is_bytes_a_text_or_a_form(document: dict[str, Any]) -> None:
    """Generated clients leave out what has no schema, and stop at words of a later OpenAPI."""
    kinds = {}
    for name, operation in operations(document):
        shown = [operation["requestBody"]] if "requestBody" in operation else []
        shown += [answer for status, answer in answers(document, operation) if status[0] == "2"]
        for content in (one.get("content", {}) for one in shown):
            for kind in content.keys() - {"application/json"}:
                assert content[kind].keys() <= {"schema", "example", "examples"}, name
                kinds[kind] = content[kind]["schema"]
    assert document["openapi"].startswith("3.1")
    assert kinds["image/png"] == {"type": "string", "format": "binary"}
    assert kinds["text/event-stream"] == {"type": "string"}
    assert kinds["multipart/form-data"]["properties"] == {"file": kinds["image/png"]}


def test_every_stream_shows_what_comes(document: dict[str, Any]) -> None:
    """Nobody guesses how lines and events are written."""
    streams = {
        f"{name} {kind}": shown
        for name, operation in operations(document)
        for _, answer in answers(document, operation)
        for kind, shown in answer.get("content", {}).items()
        if kind in ("text/event-stream", LINES)
    }

    assert len(streams) == 3
    for name, shown in streams.items():
        said = shown["example"].replace("data: ", "").splitlines()
        written = [json.loads(line) for line in said if line.startswith("{")]
        assert written, name
        assert "done" in (written[-1].get("event"), written[-1].get("state")), name


def test_every_parameter_shows_what_it_looks_like(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            value = example_of(schema, document["components"]["schemas"])
            checked = {"schema": schema, "example": value}
            assert faults(document, checked) == [], (name, parameter["name"])
            assert parameter["required"] == ("example" in parameter), (name, parameter["name"])


def test_every_error_is_a_problem_with_examples_of_its_status(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        told = dict(answers(document, operation))
        assert {"400", "403", "429", "500", "503", "default"} <= told.keys(), name
        assert ("422" in told) == bool(operation.get("parameters") or "requestBody" in operation)
        for status in told.keys() - {"default"}:
            if status[0] in "23":
                continue
            shown = told[status]["content"]["application/problem+json"]
            assert faults(document, shown) == [], (name, status)
            assert {one["status"] for one in examples(shown)} == {int(status)}, (name, status)
    assert "404" in document["paths"]["/v1/images/{image_id}"]["get"]["responses"]


def test_the_recipe_that_is_shown_is_one() -> None:
    assert Recipe.model_validate(RECIPE).adapters[0].name == "Paper Fox"


def test_tokens_are_described_where_they_are_wanted(registry: Registry) -> None:
    settings = registry.settings.model_copy(update={"require_tokens": True})
    elsewhere = Registry(settings)
    try:
        document = create_app(elsewhere).openapi()
    finally:
        elsewhere.close()

    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["paths"]["/v1/fuse"]["post"]["security"] == [{"token": ["fuse"]}]
    assert "security" not in document["paths"]["/healthz"]["get"]
