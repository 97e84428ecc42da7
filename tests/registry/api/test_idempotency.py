"""A request that is sent twice by its key, and done once."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from registry.api import idempotency
from registry.api.app import create_app
from registry.db.request_keys import LOST_AFTER
from registry.db.work_models import RequestKey
from registry.service import Registry
from registry.token_scopes import TokenScope
from tests.registry.api.conftest import add_file

KEY = {"Idempotency-Key": "a key"}


def asked(adapter: int, **more: object) -> dict[str, object]:
    return {"prompt": "x", "adapters": [{"id": adapter}], "mode": "sum", "steps": 1, **more}


@pytest.mark.parametrize("accept", ["application/json", "image/png", "application/x-ndjson"])
def test_what_was_answered_is_answered_again_and_not_drawn_again(
    client: TestClient, drawing: Registry, accept: str
) -> None:
    body, headers = asked(add_file(drawing, 1, "fox")), {**KEY, "Accept": accept}
    first = client.post("/v1/fuse", json=body, headers=headers)
    # So that nothing could be drawn any more.
    drawing.settings.base_models.clear()

    again = client.post("/v1/fuse", json=body, headers=headers)
    other = client.post("/v1/fuse", json={**body, "seed": 1}, headers=headers)
    fresh = client.post("/v1/fuse", json=body, headers={"Idempotency-Key": "another"})

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (other.status_code, fresh.status_code) == (422, 409)
    assert "another request" in other.json()["detail"]


def test_what_was_refused_may_be_sent_again(client: TestClient, drawing: Registry) -> None:
    """It did nothing; also where that is said by the last of several lines."""
    body, lines = asked(1), {**KEY, "Accept": "application/x-ndjson"}
    refused = client.post("/v1/fuse", json=body, headers=KEY)
    told = client.post("/v1/fuse", json=body, headers=lines)
    assert add_file(drawing, 1, "fox") == 1
    then = client.post("/v1/fuse", json=body, headers=lines)

    assert refused.status_code == 404
    assert json.loads(told.text.splitlines()[-1])["problem"]["status"] == 404
    assert json.loads(then.text.splitlines()[-1])["event"] == "done"


def test_a_request_that_is_being_answered_is_a_conflict(
    client: TestClient, drawing: Registry
) -> None:
    body, free = asked(add_file(drawing, 1, "fox")), threading.Event()
    client.app.state.queue.submit(lambda _: free.wait(60))  # type: ignore[attr-defined]

    def send() -> tuple[int, str]:
        answer = client.post("/v1/fuse", json=body, headers=KEY)
        return answer.status_code, answer.text

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(send)
        while not taken(drawing):
            time.sleep(0.01)
        status, said = send()
        free.set()
        answered = first.result()

    assert status == 409
    assert "being answered" in said
    assert send() == answered
    assert answered[0] == 200


@pytest.mark.parametrize("accept", ["image/png", "application/x-ndjson"])
def test_a_request_that_takes_long_is_not_taken_for_lost(
    client: TestClient, drawing: Registry, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    monkeypatch.setattr(idempotency, "RENEW_SECONDS", 0.01)
    body, free = asked(add_file(drawing, 1, "fox")), threading.Event()
    client.app.state.queue.submit(lambda _: free.wait(60))  # type: ignore[attr-defined]

    def send() -> int:
        return client.post("/v1/fuse", json=body, headers={**KEY, "Accept": accept}).status_code

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(send)
        while not taken(drawing):
            time.sleep(0.01)
        before = seem_lost(drawing)
        end = time.monotonic() + 20
        while seen_at(drawing) == before and time.monotonic() < end:
            time.sleep(0.01)
        second = send()
        free.set()
        assert first.result() == 200

    assert second == 409


def seem_lost(registry: Registry) -> datetime:
    """Make the one request that is under way seem lost; return when it was last heard of."""
    with registry.sessions.begin() as session:
        lost_at = func.now() - 2 * LOST_AFTER
        lost = update(RequestKey).values(created_at=lost_at, seen_at=lost_at)
        return session.scalars(lost.returning(RequestKey.seen_at)).one()


def seen_at(registry: Registry) -> datetime:
    with registry.sessions() as session:
        return session.scalars(select(RequestKey.seen_at)).one()


def taken(registry: Registry) -> int:
    with registry.sessions() as session:
        return session.scalar(select(func.count()).select_from(RequestKey)) or 0


def test_a_key_is_its_tokens_own(drawing: Registry) -> None:
    """Nobody is told what another asked for, and who has no token nothing."""
    drawing.settings.require_tokens = True
    tokens = [drawing.create_token(name, [TokenScope.FUSE]) for name in ("ann", "ben")]
    body = {"prompt": "x", "mode": "base", "base_model": "demo-flux-tiny", "steps": 1}
    with TestClient(create_app(drawing), base_url="http://127.0.0.1") as client:
        answers = [
            client.post(
                "/v1/images", json=body, headers={**KEY, "Authorization": f"Bearer {token}"}
            )
            for token in (*tokens, tokens[0])
        ]
        bare = client.post("/v1/images", json=body, headers=KEY)

    assert bare.status_code == 401
    ids = [answer.json()["items"][0]["id"] for answer in answers]
    assert ids[0] == ids[2] != ids[1]


def test_what_may_be_done_twice_takes_no_key(client: TestClient) -> None:
    """docs/operations.md says which those are."""
    document = client.get("/v1/openapi.json").json()
    keyed = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key"
    }

    assert keyed == {
        *("/v1/fuse", "/v1/images", "/v1/folders/trash"),
        *("/v1/recipes/draw", "/v1/recipes/send"),
    }
