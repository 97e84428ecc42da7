"""Making images over HTTP, by a real if random base."""

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from registry.api.app import create_app
from registry.api.errors import BusyError
from registry.api.queue import GenerationQueue, Job
from registry.api.routes import fuse
from registry.errors import (
    AdapterNotFoundError,
    NoBaseModelError,
    NoGatesError,
    StrengthsError,
)
from registry.fusion.errors import FusionError, GatesFileError, GenerationCancelledError
from registry.fusion.recipe import read_recipe, recipe_in_png
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.conftest import add_file
from tests.registry.api.servers import served
from tests.registry.fusion.test_recipe import recipe_json

LINES = {"Accept": "application/x-ndjson"}


def test_fuse_chooses_adapters_for_the_prompt(client: TestClient, drawing: Registry) -> None:
    fox = add_file(drawing, 1, "fox", "a fox")
    add_file(drawing, 2, "train", "a steam locomotive")

    answer = client.post("/v1/fuse", json={"prompt": "a fox", "mode": "average", "steps": 2})

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [used["id"] for used in body["recipe"]["adapters"]] == [fox]
    assert [used["id"] for used in body["activity"]] == [fox]
    assert body["activity"][0]["mean"] is None
    png = base64.b64decode(body["image"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(png)).size == (body["recipe"]["width"], body["recipe"]["height"])


def test_the_png_carries_its_recipe(client: TestClient, drawing: Registry, tmp_path: Path) -> None:
    """And by the recipe the same image is made again."""
    ids = [add_file(drawing, seed, f"a{seed}") for seed in (1, 2)]
    adapters = [{"id": ids[0], "strength": 0.5}, {"id": ids[1]}]
    asked = {"prompt": "x", "adapters": adapters, "mode": "sum", "steps": 2, "seed": 7}
    asked |= {"guidance": 2.5, "negative_prompt": "pear"}

    answer = client.post("/v1/fuse", json=asked, headers={"Accept": "image/png"})

    assert answer.headers["content-type"] == "image/png"
    path = tmp_path / "fused.png"
    path.write_bytes(answer.content)
    recipe = read_recipe(path)
    assert [used.strength for used in recipe.adapters] == [0.5, 1.0]
    assert (recipe.guidance, recipe.negative_prompt) == (2.5, "pear")
    again = drawing.maker.reproduce(recipe)
    assert again.image.tobytes() == Image.open(path).tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JSON"])
def test_a_recipe_is_drawn_again_to_the_pixel(
    client: TestClient, drawing: Registry, kind: str
) -> None:
    adapters = [{"id": add_file(drawing, 1, "fox"), "strength": 0.5}]
    asked = {"prompt": "x", "adapters": adapters, "mode": "sum", "steps": 2, "seed": 7}
    as_png = {"Accept": "image/png"}
    first = client.post("/v1/fuse", json=asked, headers=as_png).content
    recipe = recipe_in_png(first, "first").to_json()

    sent = first if kind == "PNG" else recipe
    again = client.post("/v1/recipes/draw", content=sent, headers=as_png)

    assert again.status_code == 200, again.text
    assert (
        Image.open(io.BytesIO(again.content)).tobytes() == Image.open(io.BytesIO(first)).tobytes()
    )


def test_a_recipe_of_what_is_no_adapter_is_refused_in_words(
    client: TestClient, drawing: Registry, tmp_path: Path
) -> None:
    """A blob may be a cover, and a hub's file a pickle that was refused."""
    (tmp_path / "cover").write_bytes(b"no weights")
    used = {"name": "Paper Fox", "sha256": drawing.blobs.put_file(tmp_path / "cover")}
    base = {"name": "demo-flux-tiny", "backend": "demo", "files": {}}
    recipe = recipe_json(
        used, base=base, width=64, height=64, steps=1, mode="sum", gates_sha256=None
    )

    answer = client.post("/v1/recipes/draw", content=recipe)

    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith("adapter 'Paper Fox' cannot be fused: ")


@pytest.mark.parametrize(
    "sent", [b"", b"{}", b"nothing", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0", b"{" * 10**5]
)
def test_what_is_no_recipe_is_not_drawn(client: TestClient, sent: bytes) -> None:
    answer = client.post("/v1/recipes/draw", content=sent)

    assert (answer.status_code, answer.json()["title"]) == (422, "Recipe"), answer.text
    assert "0x" not in answer.json()["detail"]


SIX_ADAPTERS = json.loads(recipe_json())["adapters"] * 6


@pytest.mark.parametrize("values", [{"steps": 101}, {"width": 2064}, {"adapters": SIX_ADAPTERS}])
def test_a_recipe_that_would_keep_the_server_busy_is_refused(
    client: TestClient, values: dict[str, Any]
) -> None:
    recipe = recipe_json(**values)
    answer = client.post("/v1/recipes/draw", content=recipe)
    kept = client.post("/v1/images", json={"recipe": json.loads(recipe)})
    chinese = client.post("/v1/recipes/draw", content=recipe, headers={"Accept-Language": "zh"})

    assert answer.status_code == kept.status_code == 422
    assert "up to 100 steps and 2048 pixels" in answer.json()["detail"]
    assert kept.json()["detail"] == answer.json()["detail"]
    assert "最多 5 个适配器" in chinese.json()["detail"]


def test_progress_comes_as_lines(client: TestClient, drawing: Registry) -> None:
    adapter = add_file(drawing, 1, "fox")
    asked = {"prompt": "x", "adapters": [{"id": adapter}], "mode": "average", "steps": 3}

    answer = client.post("/v1/fuse", json=asked, headers={"Accept": "application/x-ndjson"})

    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["event"] for event in events] == ["started", "step", "step", "step", "done"]
    assert [event["done"] for event in events[1:4]] == [1, 2, 3]
    assert events[-1]["result"]["image"].startswith("data:image/png;base64,")
    # No proxy keeps them back.
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-cache"


def test_lines_say_that_the_server_is_still_at_it(
    client: TestClient, drawing: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind other images, and while a base is loaded, readers would take silence for its end."""
    monkeypatch.setattr(fuse, "SILENCE_SECONDS", 0.01)
    adapter = add_file(drawing, 1, "fox")
    asked = {"prompt": "x", "adapters": [{"id": adapter}], "mode": "average", "steps": 1}
    release = threading.Event()
    app = client.app
    app.state.queue = queue = GenerationQueue()  # type: ignore[attr-defined]
    queue.submit(lambda _: release.wait())

    with client.stream("POST", "/v1/fuse", json=asked, headers=LINES) as answer:
        said = []
        for line in answer.iter_lines():
            said.append(json.loads(line)["event"])
            if len(said) == 2:
                release.set()

    assert said[:2] == ["waiting", "waiting"]
    assert [event for event in said if event != "waiting"] == ["started", "step", "done"]
    queue.close()


def test_an_error_amid_the_lines_is_the_last_line(client: TestClient, drawing: Registry) -> None:
    """The status was sent long before; the page must still be told."""
    answer = client.post(
        "/v1/fuse",
        json={"prompt": "x", "adapters": [{"id": 99}]},
        headers={"Accept": "application/x-ndjson"},
    )

    last = json.loads(answer.text.splitlines()[-1])
    assert last["event"] == "error"
    assert (last["problem"]["status"], "99" in last["problem"]["detail"]) == (404, True)


def test_it_is_in_the_language_of_who_asks_and_names_the_request(
    client: TestClient, drawing: Registry
) -> None:
    """As where it is the whole answer."""
    asked = {"prompt": "x", "adapters": [{"id": 99}]}
    chinese = {"Accept-Language": "zh"}
    whole = client.post("/v1/fuse", json=asked, headers=chinese).json()

    answer = client.post("/v1/fuse", json=asked, headers={**LINES, **chinese})

    last = json.loads(answer.text.splitlines()[-1])
    assert last["problem"] == whole | {"request_id": answer.headers["x-request-id"]}


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": ""},
        {"prompt": "x", "k": 9},
        {"prompt": "x", "adapters": []},
        {"prompt": "x", "adapters": [{"id": 1, "strength": 1e9}]},
        {"prompt": "x", "mode": "magic"},
        {"prompt": "x", "steps": 10_000},
        {"prompt": "x", "promt": "y"},
        {"prompt": "x <lora:ink:4.5>"},
        {"prompt": "".join(f"<lora:l{number}:1>" for number in range(6))},
        {"prompt": "<lora:ink:1>", "adapters": [{"id": number} for number in range(1, 6)]},
    ],
)
def test_requests_that_make_no_sense(client: TestClient, asked: dict[str, object]) -> None:
    answer = client.post("/v1/fuse", json=asked)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_not_configured_is_said_with_what_to_do(registry: Registry) -> None:
    adapter = add_file(registry, 1, "fox")

    with pytest.raises(NoBaseModelError, match="REGISTRY_BASE_MODELS"):
        registry.maker.fuse("x", adapters=[adapter])
    registry.settings.base_models["demo-flux-tiny"] = Path("/nowhere")
    with pytest.raises(NoGatesError, match="mode 'average'"):
        registry.maker.fuse("x", adapters=[adapter], mode="gated")
    with pytest.raises(FusionError, match="/nowhere"):
        registry.maker.fuse("x", adapters=[adapter], mode="average")
    with pytest.raises(StrengthsError, match="1 strength was given for 2"):
        registry.maker.fuse("x", adapters=[adapter, adapter], strengths=[1.0])
    with pytest.raises(AdapterNotFoundError):
        registry.maker.fuse("x", adapters=[adapter, 999])


def test_adapters_are_gated_where_the_base_has_gates_and_averaged_elsewhere(
    drawing: Registry,
) -> None:
    """Few bases have gates, and whoever names no way of fusing wants an image all the same."""
    ids = [add_file(drawing, 1, "fox"), add_file(drawing, 2, "owl")]
    counted: list[tuple[int, int]] = []

    assert drawing.maker.fuse("x", adapters=ids, steps=1).recipe.mode == "average"
    drawing.maker.compare("x", adapters=ids, steps=1, progress=lambda *told: counted.append(told))
    drawing.settings.gates["demo-flux-tiny"] = Path("/nowhere")

    # The base, each alone, their sum and their average.
    assert counted[-1] == (5, 5)
    with pytest.raises(GatesFileError, match="/nowhere"):
        drawing.maker.fuse("x", adapters=ids, steps=1)


def test_another_base_models_adapter_is_refused(client: TestClient, drawing: Registry) -> None:
    with drawing.sessions.begin() as session:
        sdxl = add_adapter(session, base_model="sdxl-1.0").id
    tiny = add_file(drawing, 1, "fox")
    adapters = [{"id": tiny}, {"id": sdxl}]

    answer = client.post("/v1/fuse", json={"prompt": "x", "adapters": adapters, "mode": "sum"})

    assert answer.status_code == 422
    assert "sdxl-1.0" in answer.json()["detail"]


def test_a_full_queue_refuses_at_once() -> None:
    """One at work and one waiting; the third is told to come back."""
    queue = GenerationQueue(most_waiting=1)
    release = threading.Event()
    jobs = [queue.submit(lambda _: release.wait()) for _ in range(2)]
    with pytest.raises(BusyError):
        queue.submit(lambda _: release.wait())
    release.set()
    assert [job.future.result(timeout=60) for job in jobs] == [True, True]
    # Places come back.
    assert queue.submit(lambda _: 1).future.result(timeout=60) == 1
    queue.close()


def test_closing_the_queue_stops_what_is_at_work(client: TestClient, drawing: Registry) -> None:
    """Ctrl-C must not wait for a hundred steps."""
    adapter = add_file(drawing, 1, "fox")
    queue = client.app.state.queue  # type: ignore[attr-defined]
    queue.closing.set()

    answer = client.post(
        "/v1/fuse",
        json={"prompt": "x", "adapters": [{"id": adapter}], "mode": "average", "steps": 100},
    )

    assert (answer.status_code, answer.json()["title"]) == (503, "Generation cancelled")


def test_a_full_queue_is_a_429(client: TestClient, drawing: Registry) -> None:
    release = threading.Event()
    app = client.app
    app.state.queue = queue = GenerationQueue(most_waiting=0)  # type: ignore[attr-defined]
    queue.submit(lambda _: release.wait())
    for accept in ("application/json", "application/x-ndjson"):
        answer = client.post("/v1/fuse", json={"prompt": "x"}, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    release.set()
    queue.close()


def test_a_size_that_the_base_does_not_draw_is_refused_before_its_turn(
    client: TestClient, drawing: Registry
) -> None:
    """Even while the queue is full: lines of progress would have to end in the error."""
    release = threading.Event()
    app = client.app
    app.state.queue = queue = GenerationQueue(most_waiting=0)  # type: ignore[attr-defined]
    queue.submit(lambda _: release.wait())
    bases = drawing.settings.base_models
    bases["flux.1-dev"] = bases["demo-flux-tiny"]
    with drawing.sessions.begin() as session:
        leaves_open_which = add_adapter(session, base_model="flux.1").id
    kinds, chosen = ("application/json", "application/x-ndjson"), [{"id": leaves_open_which}]
    for accept, adapters in product(kinds, (None, chosen)):
        asked = {"prompt": "x", "width": 17, "adapters": adapters}
        answer = client.post("/v1/fuse", json=asked, headers={"Accept": accept})
        assert answer.status_code == 422
        assert "17x17 pixels: use multiples of" in answer.json()["detail"]
    release.set()
    queue.close()


ANSWERS = ("application/json", "image/png", "application/x-ndjson", "*/*")


@pytest.mark.parametrize("what", ["images", "covers"])
def test_an_image_nobody_waits_for_any_more_is_given_up(registry: Registry, what: str) -> None:
    """By who asked for JSON, for the PNG or for lines; what waits leaves its place at once."""
    app = create_app(registry)
    fox = add_file(registry, 1, "fox")
    asked = [("/v1/fuse", accept) for accept in ANSWERS]
    if what == "covers":
        asked = 2 * [(f"/v1/adapters/{fox}/cover", "*/*"), (f"/adapters/{fox}/cover", "*/*")]
    queue = app.state.queue
    started, release = threading.Event(), threading.Event()

    def block(_: object) -> None:
        started.set()
        release.wait()

    with served(app) as (host, port):
        queue.submit(block)
        started.wait()
        for path, accept in asked:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(
                    f"http://{host}:{port}{path}",
                    json={"prompt": "x"},
                    headers={"Accept": accept},
                    timeout=httpx.Timeout(60, read=0.5),
                )
        # All four have left, so that four others may wait.
        jobs = [wait_for_a_place(queue) for _ in range(4)]
        release.set()
        assert [job.future.result(timeout=60) for job in jobs] == ["drawn"] * 4


def wait_for_a_place(queue: GenerationQueue) -> "Job[str]":
    while True:
        try:
            return queue.submit(lambda _: "drawn")
        except BusyError:
            time.sleep(0.01)


class WatchedQueue(GenerationQueue):
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: SimpleQueue[Job[Any]] = SimpleQueue()

    def submit(self, work: Callable[[Job[Any]], Any]) -> Job[Any]:
        job = super().submit(work)
        self.jobs.put(job)
        return job


@pytest.mark.parametrize("accept", ["application/json", "image/png", "application/x-ndjson"])
def test_an_image_at_work_stops_when_its_client_leaves(drawing: Registry, accept: str) -> None:
    adapter = add_file(drawing, 1, "fox")
    asked = {"prompt": "x", "adapters": [{"id": adapter}], "mode": "average", "steps": 100}
    body = json.dumps(asked | {"width": 256}).encode()
    app = create_app(drawing)
    app.state.queue = queue = WatchedQueue()

    with served(app) as address:
        with socket.create_connection(address, 60) as line:
            line.sendall(
                b"POST /v1/fuse HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                + f"Accept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            job = queue.jobs.get(timeout=60)

        assert isinstance(job.future.exception(timeout=60), GenerationCancelledError)
    queue.close()
