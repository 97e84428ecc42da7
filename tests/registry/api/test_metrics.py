"""/metrics: what is counted, for whom, and by what names."""

import os
import subprocess
import sys
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from registry.api.app import create_app
from registry.service import Registry
from registry.token_scopes import TokenScope
from tests.registry.api.conftest import add_file
from tests.registry.conftest import add_real_encoder


def numbers(client: TestClient, **headers: str) -> dict[tuple[str, ...], float]:
    """Every number by its name and its labels' values."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_search_is_counted_by_its_route_and_its_stages(
    client: TestClient, registry: Registry
) -> None:
    add_file(registry, 1, "Fox", "a fox")
    add_real_encoder(registry)
    text = "a fox that nobody asked for"
    for limit in (10, 5, 5):
        assert client.get("/v1/search", params={"q": text, "limit": limit}).status_code == 200
    client.get("/v1/adapters/999")
    client.get("/nowhere/at/all")
    client.get("/static/page.css")

    counted = numbers(client)

    assert counted["autolora_requests_total", "GET", "/v1/search", "200"] == 3
    assert counted["autolora_request_seconds_count", "GET", "/v1/search"] == 3
    assert counted["autolora_requests_total", "GET", "/v1/adapters/{adapter_id}", "404"] == 1
    assert counted["autolora_requests_total", "GET", "none", "404"] == 1
    assert counted["autolora_requests_total", "GET", "files", "200"] == 1
    for stage in ("segment", "encode", "nearest", "words", "facts", "merge", "load"):
        assert counted["autolora_search_stage_seconds_count", stage] == 2, stage
    assert counted["autolora_cache_requests_total", "text", "hit"] >= 1
    assert counted["autolora_cache_requests_total", "answers", "hit"] == 1
    assert counted["autolora_adapters", "ready"] == 1
    assert counted["autolora_images", "waiting"] == counted["autolora_images", "drawing"] == 0
    assert counted["autolora_database_bytes",] > 0
    assert "fox" not in client.get("/metrics").text


def test_images_that_wait_are_counted_until_they_are_done_or_given_up(client: TestClient) -> None:
    queue = client.app.state.queue  # type: ignore[attr-defined]
    release = threading.Event()
    at_work, *waiting = [queue.submit(lambda _: release.wait()) for _ in range(3)]

    assert numbers(client)["autolora_queued_images",] == 3
    waiting[-1].abandon()
    assert numbers(client)["autolora_queued_images",] == 2
    release.set()
    for job in (at_work, waiting[0]):
        assert job.future.result(timeout=60)
    # Behind what is done, so the others have been counted out.
    queue.submit(lambda _: None).future.result(timeout=60)
    assert numbers(client)["autolora_queued_images",] <= 1


@pytest.mark.parametrize(
    "path", ["/v1/folders/files?name=a.safetensors", "/v1/recipes/draw", "/v1/search/picture"]
)
def test_who_hangs_up_while_sending_is_no_fault_of_the_server(
    client: TestClient, path: str
) -> None:
    whole = httpx.Request("POST", f"http://127.0.0.1{path}", headers={"Content-Length": "2000"})
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": whole.url.path,
        "query_string": whole.url.query,
        "headers": [(name.lower(), value) for name, value in whole.headers.raw],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }
    came = iter([{"type": "http.request", "body": b"abc", "more_body": True}])

    async def receive() -> dict[str, Any]:
        return next(came, {"type": "http.disconnect"})

    async def send(_: MutableMapping[str, Any]) -> None:
        """Nobody is there."""

    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)

    statuses = [key[3] for key in numbers(client) if key[:2] == ("autolora_requests_total", "POST")]
    assert statuses == ["499"]


def test_no_label_is_of_what_a_request_says(client: TestClient) -> None:
    client.request("EVIL", "/v1/search")
    client.get("/static/../evil")
    client.get("/evil", headers={"host": "evil.example"})

    assert "evil" not in client.get("/metrics").text.lower()


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({}, 401), ({"public_metrics": True}, 200), ({"public_read": True}, 404)],
)
def test_other_machines_read_it_by_a_token_of_admins_only(
    registry: Registry, changes: dict[str, bool], allowed: int
) -> None:
    registry.settings = registry.settings.model_copy(update={"host": "0.0.0.0", **changes})
    reads = registry.create_token("reads", [TokenScope.READ])
    runs = registry.create_token("runs", [TokenScope.ADMIN])
    client = TestClient(create_app(registry), base_url="http://127.0.0.1")

    assert client.get("/metrics").status_code == allowed
    if not changes:
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {reads}"})
        assert answer.status_code == 403
        assert numbers(client, Authorization=f"Bearer {runs}")


COUNT_ONCE = """
from registry.api.metrics import Metrics
from registry.db.index_facts import IndexFacts
metrics = Metrics()
metrics.took("merge", 0.01)
print(metrics.text(IndexFacts({}, {}, {}, None, 1)).decode())
"""


def test_serving_processes_count_together(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    said = ""
    for _ in range(2):
        said = subprocess.run(
            [sys.executable, "-c", COUNT_ONCE],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert 'autolora_search_stage_seconds_count{stage="merge"} 2.0' in said
