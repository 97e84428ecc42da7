"""Every request has an id, in its answer, its errors and its lines of the log."""

import logging
import re

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from registry.api.request_ids import HEADER
from registry.logs import REQUESTS


@pytest.mark.parametrize("given", ["a-request.of_1234", "0123456789abcdef"])
def test_a_well_formed_id_is_kept(client: TestClient, given: str) -> None:
    answer = client.get("/v1/adapters/9", headers={HEADER: given})

    assert answer.headers[HEADER] == given
    assert answer.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "a b c d e f", "1234567\x1b", "ääääääää"])
def test_any_other_is_replaced(client: TestClient, given: str) -> None:
    headers = [(HEADER.encode(), given.encode("latin-1"))]
    answer = client.get("/healthz", headers=headers)

    assert re.fullmatch("[0-9a-f]{32}", answer.headers[HEADER])


def test_what_is_refused_before_any_route_has_one_too(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"host": "evil.example"})

    assert answer.json()["request_id"] == answer.headers[HEADER]


def test_a_bug_bears_the_id_in_its_answer_and_in_the_log(client: TestClient) -> None:
    bound = {}

    def break_down() -> None:
        bound.update(structlog.contextvars.get_contextvars())
        raise ZeroDivisionError

    assert isinstance(client.app, FastAPI)
    client.app.add_api_route("/v1/broken", break_down)
    quiet = TestClient(client.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    answer = quiet.get("/v1/broken", headers={HEADER: "the-broken-one"})

    assert answer.status_code == 500
    assert answer.headers[HEADER] == answer.json()["request_id"] == "the-broken-one"
    assert bound == {"request_id": "the-broken-one"}


def test_requests_are_logged_where_that_is_wanted(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, REQUESTS):
        client.get("/v1/adapters/9")

    record = caplog.records[-1]
    assert (record.name, record.message) == (REQUESTS, "request")
    assert (vars(record)["path"], vars(record)["status"]) == ("/v1/adapters/9", 404)
