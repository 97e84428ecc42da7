"""Images drawn behind the answer, by a real if random base."""

import html
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import func, update

from registry.api.app import close, create_app
from registry.api.pages.render import json_text
from registry.api.previews import Previews
from registry.api.queue import MOST_WAITING
from registry.api.schemas.fuse import RECIPE
from registry.client import Client
from registry.db import images
from registry.db.images import FinishedImage
from registry.db.models import Adapter
from registry.db.work_models import DrawnImage, ImageFile
from registry.fusion.base_folder import MOST_TIMES, read_sizes
from registry.fusion.recipe import recipe_in_png
from registry.service import Registry
from tests.registry.api.conftest import add_file
from tests.registry.test_remote import HOST, App

ASKED = {"prompt": "a fox", "mode": "base", "steps": 2, "base_model": "demo-flux-tiny"}


def ask(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    answer = client.post("/v1/images", json={**ASKED, **asked})
    assert answer.status_code == 202, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    assert answer.headers["location"] == f"/v1/images/{items[0]['id']}"
    return items


def watch(client: TestClient, image_id: int) -> list[tuple[str, dict[str, Any]]]:
    """Return all events of an image, to its end."""
    told = []
    with client.stream("GET", f"/v1/images/{image_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event = ""
        for line in answer.iter_lines():
            if line.startswith("event:"):
                event = line.removeprefix("event:").strip()
            if line.startswith("data:"):
                told.append((event, json.loads(line.removeprefix("data:"))))
    return told


@pytest.fixture
def busy(client: TestClient) -> Iterator[threading.Event]:
    """Keep the queue's thread at other work until the event is set."""
    free = threading.Event()
    client.app.state.queue.submit(lambda _: free.wait(60))  # type: ignore[attr-defined]
    yield free
    free.set()


def test_an_image_is_drawn_behind_the_answer_and_kept(
    client: TestClient, drawing: Registry
) -> None:
    fox = add_file(drawing, 1, "fox")
    adapters = [{"id": fox, "strength": 0.5}]

    [asked] = ask(client, mode="sum", adapters=adapters, seed=7, negative_prompt="blurry")
    events = watch(client, asked["id"])

    last, image = events[-1]
    assert last == image["state"] == "done"
    assert {name for name, _ in events} <= {"waiting", "drawing", "done"}
    assert image["asked"]["adapters"] == adapters
    assert (image["recipe"]["seed"], image["recipe"]["negative_prompt"]) == (7, "blurry")
    assert [used["id"] for used in image["activity"]] == [fox]
    png = client.get(image["png"])
    assert png.headers["content-type"] == "image/png"
    assert json.loads(recipe_in_png(png.content, "it").to_json()) == image["recipe"]
    small = client.get(image["thumbnail"])
    assert Image.open(io.BytesIO(small.content)).format == "WEBP"
    again = client.get(image["png"], headers={"If-None-Match": png.headers["etag"]})
    assert again.status_code == 304
    assert client.get("/v1/images").json()["items"] == [image]


@pytest.mark.parametrize("kind", ["image", "grid"])
def test_an_image_is_shown_while_it_is_drawn_and_not_after(
    client: TestClient, drawing: Registry, draws_slowly: None, kind: str
) -> None:
    adapters = [{"id": add_file(drawing, seed, f"a{seed}")} for seed in (1, 2)]
    [asked] = ask(client, kind=kind, mode="sum", adapters=adapters, steps=100)
    path = f"/v1/images/{asked['id']}"
    assert asked["preview"] is None

    paths: list[str] = []
    for image in follow(client, asked["id"]):
        if image["preview"] is None or image["preview"] in paths:
            continue
        if not paths:
            shown = client.get(image["preview"])
            page = client.get(f"/images/{asked['id']}").text
        paths.append(image["preview"])
        if len(paths) == 2:
            client.post(f"{path}/cancel")
    client.app.state.queue.submit(lambda _: None).future.result(60)  # type: ignore[attr-defined]
    gone = client.get(f"{path}/preview")

    assert Image.open(io.BytesIO(shown.content)).format == "WEBP"
    assert len(shown.content) < 8_000
    assert f'src="{path}/preview?n=' in page
    assert paths[0].startswith(f"{path}/preview?n=")
    assert paths[0] != paths[1], "each look has an address of its own"
    assert image["state"] == "cancelled"
    assert image["preview"] is None
    assert gone.status_code == 409
    assert gone.json()["type"] == "urn:autolora:problem:no-preview"


def test_an_image_that_is_not_there_has_no_preview_to_wait_for(client: TestClient) -> None:
    assert client.get("/v1/images/7/preview").status_code == 404


def test_a_look_is_sent_once(client: TestClient) -> None:
    client.app.state.desk.previews.show(7, Image.new("RGB", (8, 8)))  # type: ignore[attr-defined]

    first = client.get("/v1/images/7/preview")
    second = client.get("/v1/images/7/preview", headers={"If-None-Match": first.headers["etag"]})

    assert (first.status_code, second.status_code) == (200, 304)


def kept(registry: Registry) -> int:
    """Keep an image that is done, though no base has drawn it; return its number."""
    image_id = registry.images.ask([{"prompt": "a fox"}])[0].id
    made = FinishedImage(png=b"png", thumbnail=b"small")
    assert registry.images.begin(image_id)
    assert registry.images.finish(image_id, made)
    return image_id


def test_who_asks_again_of_an_image_is_sent_what_changed(
    client: TestClient, registry: Registry
) -> None:
    image_id = registry.images.ask([{"prompt": "a fox"}])[0].id
    url = f"/v1/images/{image_id}"
    first = client.get(url)
    known = {"If-None-Match": first.headers["etag"]}

    same = client.get(url, headers=known)
    registry.images.cancel(image_id)
    changed = client.get(url, headers=known)

    assert (first.status_code, same.status_code, changed.status_code) == (200, 304, 200)
    assert same.headers["cache-control"] == "private, no-cache"
    assert changed.json()["state"] != first.json()["state"]


@pytest.mark.parametrize("part", ["png", "thumbnail"])
def test_a_browser_that_has_an_image_of_this_number_is_sent_this_one(
    client: TestClient, registry: Registry, part: str
) -> None:
    """It may have it of another registry, which answered at this address before."""
    url = f"/v1/images/{kept(registry)}/{part}"
    known = {"If-None-Match": client.get(url).headers["etag"]}

    same = client.get(url, headers=known)
    with registry.sessions.begin() as session:
        session.execute(update(ImageFile).values(png=b"other", thumbnail=b"other"))
    other = client.get(url, headers=known)

    assert same.status_code == 304
    assert same.headers["cache-control"] == "private, no-cache"
    assert (other.status_code, other.content) == (200, b"other")


def test_a_removed_image_is_gone_for_who_has_it_too(client: TestClient, registry: Registry) -> None:
    image = kept(registry)
    url = f"/v1/images/{image}/png"
    known = {"If-None-Match": client.get(url).headers["etag"]}

    registry.images.remove(image)

    assert client.get(url, headers=known).status_code == 404
    assert client.get(url, headers={"If-None-Match": "*"}).status_code == 404


def test_a_look_of_another_server_is_not_taken_for_this_ones(client: TestClient) -> None:
    """Both count from one."""
    tags = []
    for colour in ("red", "blue"):
        previews = Previews()
        previews.show(7, Image.new("RGB", (8, 8), colour))
        client.app.state.desk.previews = previews  # type: ignore[attr-defined]
        tags.append(client.get("/v1/images/7/preview").headers["etag"])

    assert tags[0] != tags[1]


def follow(client: TestClient, image_id: int) -> Iterator[dict[str, Any]]:
    """Yield an image as it is, again and again until it is finished."""
    while True:
        image = client.get(f"/v1/images/{image_id}").json()
        yield image
        if image["finished_at"] is not None:
            return


def test_a_recipe_is_shown_in_its_own_letters_and_means_the_same() -> None:
    """What is copied is read again; and a sign that turns the text's direction is seen."""
    recipe = {"name": "剪影", "negative_prompt": "<b>\u202e"}

    text = json_text(recipe)

    assert json.loads(text) == recipe
    assert "剪影" in text
    assert "\\u202e" in text


def test_a_recipe_is_drawn_again_to_the_pixel(client: TestClient, drawing: Registry) -> None:
    [first] = ask(client, seed=3)
    recipe = watch(client, first["id"])[-1][1]["recipe"]

    answer = client.post("/v1/images", json={"recipe": recipe})
    second = answer.json()["items"][0]
    watch(client, second["id"])

    one, other = (
        Image.open(io.BytesIO(client.get(f"/v1/images/{i}/png").content))
        for i in (first["id"], second["id"])
    )
    assert one.tobytes() == other.tobytes()


def test_what_was_asked_by_recipe_can_be_asked_again_as_it_is_told(
    client: TestClient, drawing: Registry, busy: threading.Event
) -> None:
    recipe = RECIPE | {"base": RECIPE["base"] | {"name": "demo-flux-tiny"}}
    recipe |= {"width": 64, "height": 64, "steps": 1}
    asked = client.post("/v1/images", json={"recipe": recipe}).json()["items"][0]["asked"]

    again = client.post("/v1/images", json=asked)

    assert set(asked) == {"recipe"}
    assert again.status_code == 202


def test_several_at_once_differ_in_their_seeds(client: TestClient, drawing: Registry) -> None:
    items = ask(client, count=3, seed=2**32 - 1)

    assert [item["asked"]["seed"] for item in items] == [2**32 - 1, 0, 1]
    assert [watch(client, item["id"])[-1][0] for item in items] == ["done"] * 3


@pytest.mark.parametrize("kind", ["image", "compare"])
def test_mature_adapters_are_not_drawn_with_where_they_are_hidden(
    client: TestClient, drawing: Registry, kind: str
) -> None:
    fox = add_file(drawing, 1, "fox", "a fox")
    with drawing.sessions.begin() as session:
        session.execute(update(Adapter).where(Adapter.id == fox).values(mature=True))

    [asked] = ask(client, kind=kind, mode="sum", mature="hide")
    _, image = watch(client, asked["id"])[-1]

    assert image["problem"]["type"] == "urn:autolora:problem:nothing-found"


@pytest.mark.parametrize(("kind", "total"), [("compare", 5), ("grid", 3)])
def test_sheets_count_their_pictures(
    client: TestClient, drawing: Registry, kind: str, total: int
) -> None:
    adapters = [{"id": add_file(drawing, seed, f"a{seed}")} for seed in (1, 2)]
    # Nothing is gated then.
    drawing.settings.gates = {}

    [asked] = ask(client, kind=kind, adapters=adapters, mode="sum", steps=1)
    _, image = watch(client, asked["id"])[-1]

    assert (image["state"], image["total"], image["recipe"]) == ("done", total, None)
    if kind == "grid":
        # What was drawn is told of it, and can be drawn otherwise.
        page = client.get(f"/images/{asked['id']}").text
        assert '<dd class="break">a1 × 1, a2 × 1</dd>' in page
        assert '<dd class="break">plain sum</dd>' in page
        vary = html.unescape(re.findall(r'href="(/fuse[^"]+)"', page)[0])
        assert '<option value="grid" selected>' in client.get(vary).text


def test_a_sheet_is_drawn_with_the_strengths_and_the_base_that_are_asked_for(
    client: TestClient, drawing: Registry
) -> None:
    ids = [add_file(drawing, seed, f"a{seed}") for seed in (1, 2)]
    asked = {"mode": "sum", "steps": 1, "seed": 1}

    sheets = [
        finished(
            client, kind="grid", adapters=[{"id": id_, "strength": by} for id_ in ids], **asked
        )
        for by in (1.0, 0.1)
    ]

    assert len({client.get(f"/v1/images/{id_}/png").content for id_ in sheets}) == 2
    image = finished(client, adapters=[{"id": id_, "strength": 0.1} for id_ in ids], **asked)
    client.post(f"/images/{image}/again", data={"kind": "grid"})
    [again, *_] = client.get("/v1/images").json()["items"]
    assert [each["strength"] for each in again["asked"]["adapters"]] == [0.1, 0.1]
    base = client.get(f"/v1/images/{image}").json()["recipe"]["base"]["name"]
    assert again["asked"]["base_model"] == base
    watch(client, again["id"])
    named = [{"id": id_} for id_ in ids]
    [other] = ask(client, kind="grid", adapters=named, base_model="sd-1.5", **asked)
    assert watch(client, other["id"])[-1][1]["state"] == "failed"


def test_what_no_database_keeps_is_asked_for_all_the_same(client: TestClient) -> None:
    [asked] = ask(client, prompt="a\0fox", adapters=[{"id": 12345}])

    assert asked["asked"]["prompt"] == "a\ufffdfox"


def test_what_cannot_be_drawn_says_why(client: TestClient, drawing: Registry) -> None:
    [asked] = ask(client, adapters=[{"id": 12345}])
    _, image = watch(client, asked["id"])[-1]

    assert image["state"] == "failed"
    assert "12345" in image["problem"]["detail"]
    reader, path = {"Accept-Language": "zh"}, f"/v1/images/{asked['id']}"
    chinese = client.get(path, headers=reader).json()
    assert chinese["problem"] == image["problem"] | {"detail": "没有编号为 12345 的适配器。"}
    assert client.get("/v1/images", headers=reader).json()["items"] == [chinese]
    assert client.post(f"{path}/cancel", headers=reader).json() == chinese
    assert image["png"] is None
    refused = client.get(f"/v1/images/{asked['id']}/png")
    told = f"image {asked['id']} has no picture; its state is: failed."
    assert (refused.status_code, refused.json()["detail"]) == (409, told)


@pytest.mark.parametrize("told_by", ["base", "adapter", "prompt", "recipe"])
def test_sizes_that_a_base_does_not_draw_are_refused_at_once(
    client: TestClient, drawing: Registry, base_folder: Path, told_by: str
) -> None:
    sizes = read_sizes(base_folder, "demo-flux-tiny")
    most = MOST_TIMES * sizes.side
    asked: dict[str, Any] = {"prompt": "a fox", "mode": "sum"}
    if told_by == "base":
        asked["base_model"] = "demo-flux-tiny"
    elif told_by == "adapter":
        asked["adapters"] = [{"id": add_file(drawing, 1, "fox")}]
    square = {"width": 4 * sizes.unit, "height": 4 * sizes.unit}
    recipe = RECIPE | {"base": RECIPE["base"] | {"name": "demo-flux-tiny"}} | square

    for size, said in (
        ({"width": 4 * sizes.unit + 1}, f"use multiples of {sizes.unit}"),
        ({"height": 4 * sizes.unit + 1}, f"use multiples of {sizes.unit}"),
        ({"width": 4 * sizes.unit, "height": most + sizes.unit}, f"use {most} at most"),
    ):
        written = {"recipe": recipe | size} if told_by == "recipe" else asked | size
        answer = client.post("/v1/images", json=written)

        assert answer.status_code == 422
        assert said in answer.json()["detail"]
    assert client.get("/v1/images").json()["items"] == []


def test_one_side_makes_a_square(client: TestClient, drawing: Registry) -> None:
    [asked] = ask(client, height=32, steps=1)
    recipe = watch(client, asked["id"])[-1][1]["recipe"]
    assert (recipe["width"], recipe["height"]) == (32, 32)


def test_a_full_queue_refuses_all_of_a_request(
    client: TestClient, drawing: Registry, busy: threading.Event
) -> None:
    waiting = ask(client, count=MOST_WAITING - 1)

    refused = client.post("/v1/images", json={**ASKED, "count": 2})

    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    listed = client.get("/v1/images").json()["items"]
    assert [(image["id"], image["ahead"]) for image in listed] == [
        (image["id"], ahead) for ahead, image in reversed(list(enumerate(waiting)))
    ]
    busy.set()
    assert watch(client, waiting[-1]["id"])[-1][0] == "done"


def test_the_same_request_sent_again_makes_no_other_image(
    client: TestClient, drawing: Registry, busy: threading.Event
) -> None:
    key = {"Idempotency-Key": "a key"}
    first = client.post("/v1/images", json=ASKED, headers=key)
    again = client.post("/v1/images", json=ASKED, headers=key)

    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert len(client.get("/v1/images").json()["items"]) == 1


@contextmanager
def reached(transport: App) -> Iterator[Client]:
    """Give a client of a server that ends with the block, and its drawing with it."""
    try:
        with Client(HOST, transport=transport) as client:
            yield client
    finally:
        close(transport.app)


class Deaf(App):
    """A network that brings the first request, and loses its answer."""

    is_lost = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if not self.is_lost:
            self.is_lost = True
            raise httpx.ReadError("reset", request=request)
        return answer


def test_a_client_has_one_sheet_drawn_however_often_it_has_to_ask(drawing: Registry) -> None:
    ids = [add_file(drawing, seed, f"a{seed}") for seed in (1, 2)]
    told: list[tuple[int, int]] = []
    with reached(Deaf(drawing)) as client:
        sheet = client.grid(
            "a fox",
            ids,
            mode="sum",
            steps=2,
            progress=lambda done, total: told.append((done, total)),
        )

    [image] = drawing.images.list()
    assert image.state == "done"
    assert sheet.tobytes() == Image.open(io.BytesIO(drawing.images.file(image.id))).tobytes()
    assert {total for _, total in told} <= {3}


def test_a_client_that_stops_waiting_gives_its_sheet_up(drawing: Registry) -> None:
    ids = [add_file(drawing, seed, f"a{seed}") for seed in (1, 2)]

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with reached(App(drawing)) as client, pytest.raises(KeyboardInterrupt):
        client.grid("a fox", ids, mode="sum", steps=100, progress=stop)

    assert [image.state for image in drawing.images.list()] == ["cancelled"]


def test_what_waits_and_what_is_drawn_can_be_given_up(
    client: TestClient, drawing: Registry, busy: threading.Event
) -> None:
    [drawn, waiting] = ask(client, count=2, steps=100)

    cancelled = client.post(f"/v1/images/{waiting['id']}/cancel").json()
    assert cancelled["state"] == "cancelled"
    busy.set()
    seen = []
    with client.stream("GET", f"/v1/images/{drawn['id']}/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("event:"):
                seen.append(line.removeprefix("event:").strip())
                if seen[-1] == "drawing":
                    client.post(f"/v1/images/{drawn['id']}/cancel")
    assert seen[-1] == "cancelled"
    # It is the queue's turn again.
    [after] = ask(client)
    assert watch(client, after["id"])[-1][0] == "done"
    assert client.post(f"/v1/images/{after['id']}/cancel").json()["state"] == "done"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/images/{id}/cancel"),
        ("DELETE", "/v1/images/{id}"),
        ("POST", "/images/{id}/cancel"),
        ("POST", "/images/{id}/delete"),
        ("POST", "/images/delete"),
    ],
)
def test_what_waits_and_is_given_up_leaves_its_place_to_others(
    client: TestClient, drawing: Registry, busy: threading.Event, method: str, path: str
) -> None:
    given_up = [image["id"] for image in ask(client, count=MOST_WAITING)]
    assert client.post("/v1/images", json=ASKED).status_code == 429

    for image_id in given_up:
        client.request(method, path.format(id=image_id), data={"image": [str(image_id)]})

    assert len(ask(client, count=MOST_WAITING)) == MOST_WAITING


def test_a_sheet_is_given_up_between_two_steps(
    client: TestClient, drawing: Registry, busy: threading.Event
) -> None:
    adapters = [{"id": add_file(drawing, seed, f"a{seed}")} for seed in (1, 2)]
    [sheet] = ask(client, kind="grid", adapters=adapters, mode="sum", steps=100)
    busy.set()

    seen = []
    with client.stream("GET", f"/v1/images/{sheet['id']}/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                seen.append(json.loads(line.removeprefix("data:")))
                if seen[-1]["total"]:
                    client.post(f"/v1/images/{sheet['id']}/cancel")

    # Not a picture of it was done.
    assert (seen[-1]["state"], seen[-1]["done"]) == ("cancelled", 0)


def test_images_are_removed_one_by_one_and_listed_in_pages(
    client: TestClient, drawing: Registry
) -> None:
    items = ask(client, count=3, steps=1)
    watch(client, items[-1]["id"])
    page = client.get("/v1/images", params={"limit": 2}).json()
    assert [image["id"] for image in page["items"]] == [items[2]["id"], items[1]["id"]]

    assert client.delete(f"/v1/images/{items[1]['id']}").status_code == 204
    assert client.delete(f"/v1/images/{items[1]['id']}").status_code == 404
    rest = client.get("/v1/images", params={"cursor": page["next"]}).json()
    assert [image["id"] for image in rest["items"]] == [items[0]["id"]]
    assert rest["next"] is None


def test_the_oldest_make_room(client: TestClient, drawing: Registry) -> None:
    [first] = ask(client, steps=1)
    watch(client, first["id"])
    drawing.settings.image_history_bytes = drawing.images.get(first["id"]).bytes + 10

    [second] = ask(client, steps=1)
    watch(client, second["id"])

    assert [image["id"] for image in client.get("/v1/images").json()["items"]] == [second["id"]]
    assert client.get(f"/v1/images/{second['id']}/png").status_code == 200


def test_what_a_killed_server_left_is_interrupted(client: TestClient, drawing: Registry) -> None:
    with drawing.sessions.begin() as session:
        [lost, alive] = images.ask(session, [{"prompt": "lost"}, {"prompt": "alive"}])
        session.execute(
            update(DrawnImage)
            .where(DrawnImage.id == lost)
            .values(seen_at=DrawnImage.seen_at - images.LOST_AFTER * 2)
        )

    states = {image["id"]: image["state"] for image in client.get("/v1/images").json()["items"]}
    assert states == {lost: "interrupted", alive: "waiting"}


def test_what_was_left_before_the_clock_was_set_back_is_interrupted(
    client: TestClient, drawing: Registry
) -> None:
    """It would seem under way until the clock is again where it was."""
    with drawing.sessions.begin() as session:
        [lost, alive] = images.ask(session, [{"prompt": "lost"}, {"prompt": "alive"}])
        session.execute(
            update(DrawnImage)
            .where(DrawnImage.id == lost)
            .values(seen_at=DrawnImage.seen_at + images.LOST_AFTER * 2)
        )

    states = {image["id"]: image["state"] for image in client.get("/v1/images").json()["items"]}
    assert states == {lost: "interrupted", alive: "waiting"}


def sleep(drawing: Registry) -> None:
    """Let so much time pass for the database as if the machine had slept."""
    with drawing.sessions.begin() as session:
        session.execute(update(DrawnImage).values(seen_at=func.now() - images.LOST_AFTER * 2))


def test_what_is_drawn_here_goes_on_when_the_machine_has_slept(
    client: TestClient, drawing: Registry, busy: threading.Event
) -> None:
    """Whoever looks first finds that nobody said for long that it is drawn."""
    [watched], [unseen] = ask(client), ask(client)
    sleep(drawing)

    looked = client.get(f"/v1/images/{watched['id']}").json()
    busy.set()

    assert (looked["state"], looked["finished_at"]) == ("waiting", None)
    for image in (watched, unseen):
        assert [name for name, _ in watch(client, image["id"])][-1] == "done"


def test_an_image_at_work_goes_on_when_the_machine_has_slept(drawing: Registry) -> None:
    history = drawing.images
    [image] = history.ask([{"prompt": "a fox"}])
    goes_on: list[Callable[[], bool]] = [
        partial(history.begin, image.id),
        partial(history.step, image.id, 1, 2),
        partial(history.finish, image.id, images.FinishedImage(b"", b"")),
    ]
    for go_on in goes_on:
        sleep(drawing)
        assert history.get(image.id).state == "interrupted"
        assert go_on()

    assert history.get(image.id).state == "done"
    # What a person gave up stays so.
    [image] = history.ask([{"prompt": "a fox"}])
    history.cancel(image.id)
    history.stay_alive([image.id])
    assert not history.begin(image.id)
    assert history.get(image.id).state == "cancelled"


def test_a_server_that_ends_says_so_of_what_waits(drawing: Registry) -> None:
    free = threading.Event()
    with TestClient(create_app(drawing), base_url="http://127.0.0.1") as client:
        client.app.state.queue.submit(lambda job: free.wait(60))  # type: ignore[attr-defined]
        [waiting] = ask(client)
        free.set()
        client.app.state.queue.closing.set()  # type: ignore[attr-defined]

    assert drawing.images.get(waiting["id"]).state == "interrupted"


# One more than may be named.
CALLS = "a fox" + "".join(f" <lora:l{number}:1>" for number in range(6))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "a prompt or a recipe is needed"),
        ({"prompt": " "}, "a prompt or a recipe is needed"),
        ({"prompt": "x", "count": 9}, "count"),
        ({"prompt": "x", "kind": "grid"}, "a grid wants 2 to 4 adapters"),
        ({"prompt": "x", "recipe": {}}, "recipe"),
        ({"prompt": CALLS, "kind": "compare"}, "calls for 6 (<lora:…>). Take out 1."),
        (
            {"prompt": "<lora:l:1>", "kind": "grid", "adapters": [{"id": n} for n in range(1, 5)]},
            "4 adapters at most; 4 are named, and the prompt calls for 1 (<lora:…>). Take out 1.",
        ),
        ({"prompt": "x <lora:ink:-90>"}, "'ink' at a strength of -90; give -4 to 4"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    client: TestClient, asked: dict[str, Any], said: str
) -> None:
    answer = client.post("/v1/images", json=asked)

    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert client.get("/v1/images").json()["items"] == []


def test_nobody_watches_what_is_not_there(client: TestClient) -> None:
    assert client.get("/v1/images/9/events").status_code == 404


def finished(client: TestClient, **asked: Any) -> int:
    [image] = ask(client, **asked)
    assert watch(client, image["id"])[-1][0] == "done"
    return int(image["id"])


def test_the_studio_works_without_javascript(client: TestClient, drawing: Registry) -> None:
    fox = add_file(drawing, 1, "fox")
    page = client.get(f"/fuse?adapter={fox}&strength=0.5&prompt=a+fox&seed=7").text
    assert f'name="adapter" value="{fox}"' in page
    assert 'name="seed" min="0" max="4294967295" value="7"' in page

    asked = {"prompt": "a fox", "adapter": [str(fox)], "strength": ["0.5"], "seed": "7"}
    sent = client.post(
        "/fuse", data={**asked, "mode": "sum", "steps": "2", "width": ""}, follow_redirects=False
    )

    assert sent.status_code == 303
    assert watch(client, int(sent.headers["location"].rsplit("/", 1)[1]))[-1][0] == "done"
    shown = client.get(sent.headers["location"]).text
    assert "a fox" in shown
    assert f'<a href="/adapters/{fox}">fox</a> × 0.5<' in shown
    assert re.search(r'<img class="picture" width="\d+" height="\d+"', shown)
    # Gates have nothing to say of a sum, and no other program runs this base.
    assert "Gate activity" not in shown
    assert "No other program is known to run demo-flux-tiny" in shown
    assert "http-equiv" not in shown
    assert "adapter=" in shown  # what it was drawn with, to be changed


@pytest.mark.parametrize("is_done", [True, False])
def test_what_is_changed_and_drawn_keeps_the_base_and_how_many_adapters(
    client: TestClient, drawing: Registry, is_done: bool
) -> None:
    if is_done:
        image = finished(client, k=5)
    else:
        image = ask(client, k=5, mode="gated")[0]["id"]
        assert watch(client, image)[-1][0] == "failed"

    [vary] = re.findall(r'href="(/fuse\?[^"]+)"', client.get(f"/images/{image}").text)
    asked = parse_qs(urlsplit(html.unescape(vary)).query)
    assert (asked["k"], asked["base_model"]) == (["5"], ["demo-flux-tiny"])
    assert "<option selected>5</option>" in client.get(html.unescape(vary)).text


def test_a_page_of_what_is_not_done_asks_again_and_stops_it(
    client: TestClient, drawing: Registry, busy: threading.Event
) -> None:
    [image] = ask(client)
    page = client.get(f"/images/{image['id']}").text
    assert '<meta http-equiv="refresh"' in page

    client.post(f"/images/{image['id']}/cancel")

    page = client.get(f"/images/{image['id']}").text
    assert "Stopped before it was done" in page
    assert "http-equiv" not in page


def test_without_javascript_a_page_with_fields_is_loaded_anew_only_by_who_asks_for_that(
    client: TestClient, drawing: Registry, busy: threading.Event
) -> None:
    """What is ticked in it would be lost."""
    [image] = ask(client)
    link = '<noscript><p class="note"><a href="">Reload to see how far it is</a></p></noscript>'
    page = client.get("/images").text
    assert link in page
    assert "http-equiv" not in page

    client.post(f"/images/{image['id']}/cancel")
    assert link not in client.get("/images").text


def test_images_are_compared_drawn_again_and_deleted_on_pages(
    client: TestClient, drawing: Registry
) -> None:
    one, other = finished(client, seed=1), finished(client, seed=2)

    assert client.get("/images").text.count('name="image"') == 2
    assert f'href="/images?picked={one}"' in client.get(f"/images/{one}").text
    picking = client.get("/images", params={"picked": one}).text
    assert f'<input type="hidden" name="image" value="{one}">' in picking
    assert picking.count('type="checkbox" name="image"') == 1
    compared = client.get("/images/compare", params={"image": [one, other]}).text
    assert compared.count('class="picture') == 2
    assert '<td class="break">1</td><td class="break">2</td>' in compared
    ways = [one, finished(client, mode="sum", adapters=[{"id": add_file(drawing, 1, "fox")}])]
    compared = client.get("/images/compare", params={"image": ways, "lang": "zh"}).text
    assert '<td class="break">不用适配器</td><td class="break">直接相加</td>' in compared
    client.get("/?lang=en")
    assert "exactly two" in client.get("/images/compare", params={"image": [one]}).text

    again = client.post(f"/images/{one}/again", data={"kind": "image"})
    assert again.status_code == 200
    [third, *_] = client.get("/v1/images").json()["items"]
    watch(client, third["id"])
    pixels = [
        Image.open(io.BytesIO(client.get(f"/v1/images/{i}/png").content)).tobytes()
        for i in (one, third["id"])
    ]
    assert pixels[0] == pixels[1]

    client.post(f"/images/{one}/delete")
    assert client.get(f"/images/{one}").status_code == 404


def test_a_sheet_is_compared_by_what_was_asked_for(client: TestClient, drawing: Registry) -> None:
    """It has no recipe; an image has one, which says nothing by an empty negative prompt."""
    adapters = [{"id": add_file(drawing, seed, f"a{seed}")} for seed in (1, 2)]
    asked = {"adapters": adapters, "mode": "sum", "guidance": 3.0, "steps": 1}
    pair = [finished(client, seed=1, kind="grid", **asked), finished(client, seed=2, **asked)]

    compared = client.get("/images/compare", params={"image": pair}).text

    rows = re.findall(r'<th scope="row">(.*?)</th>', compared)
    assert "Seed" in rows
    assert not {"Negative prompt", "Adapters", "Combined by", "Steps", "Guidance"} & set(rows)
    assert '<td class="break">1</td><td class="break">2</td>' in compared
    assert '<dd class="break">3</dd>' in client.get(f"/images/{pair[0]}").text


def test_the_history_follows_what_is_drawn_and_is_cleared_by_ticks(
    client: TestClient, drawing: Registry, busy: threading.Event
) -> None:
    """Without going to the page of every image."""
    asked = [item["id"] for item in ask(client, count=4)]
    for given_up in asked[:3]:
        client.post(f"/v1/images/{given_up}/cancel")

    page = client.get("/images").text

    assert re.findall(r'id="image-(\d+)" data-unfinished', page) == [str(asked[3])]
    # What was not finished can be cleared away too; what is being drawn is stopped on its page.
    assert re.findall(r'name="image" value="(\d+)"', page) == [str(one) for one in asked[2::-1]]
    assert re.search(r'<time datetime="\d{4}-\d\d-\d\dT\d\d:\d\dZ">[\d-]+ [\d:]+ UTC</time>', page)
    # One of them has gone in another window.
    client.delete(f"/v1/images/{asked[0]}")

    sent = client.post("/images/delete", data={"image": [str(one) for one in asked[:2]]})

    assert sent.status_code == 200
    assert re.findall(r'id="image-(\d+)"', sent.text) == [str(asked[3]), str(asked[2])]
    for no_number in ("all", "0", "9" * 5000):
        assert client.post("/images/delete", data={"image": no_number}).status_code == 422


@pytest.mark.parametrize(
    ("asked", "english", "chinese"),
    [
        (
            {"steps": "many"},
            "steps is many; it has to be a whole number.",
            "steps 为 many，应为整数。",
        ),
        (
            {"width": "9999"},
            "width is 9999; it has to be 2048 at most.",
            "width 为 9999，应为不大于 2048 的数。",
        ),
        (
            {"adapter": "7", "strength": "99"},
            "strength is 99; it has to be 4 at most.",
            "strength 为 99，应为不大于 4 的数。",
        ),
    ],
)
def test_what_a_form_asks_wrongly_is_said_in_the_language_of_the_page(
    client: TestClient, drawing: Registry, asked: dict[str, str], english: str, chinese: str
) -> None:
    for language, said in (("en", english), ("zh", chinese)):
        browser = {"Accept": "text/html", "Accept-Language": language}
        page = client.post("/fuse", data={"prompt": "x", **asked}, headers=browser)

        assert page.status_code == 422
        assert f"<p>{said}</p>" in page.text


def test_what_a_form_asks_wrongly_is_one_line(client: TestClient, drawing: Registry) -> None:
    answer = client.post("/fuse", data={"prompt": "x", "steps": "many"})

    assert answer.status_code == 422
    assert "steps" in answer.text
