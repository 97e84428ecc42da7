"""Search by a picture over HTTP, and from the page."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from crawler.covers import MAX_BYTES, MAX_PIXELS
from registry.api.admission import MOST_BODY_BYTES
from registry.api.app import create_app
from registry.api.schemas.fuse import RECIPE
from registry.api.uploads import MOST_PARTS, MOST_UPLOAD_BYTES, Uploads
from registry.retrieval.errors import PictureError
from registry.service import Registry
from registry.token_scopes import TokenScope
from tests.builders import add_adapter
from tests.crawler.builders import image_bytes
from tests.crawler.pictures.builders import encoded, opened, png, with_comment
from tests.crawler.test_covers import bomb
from tests.encoder.captions.vlm_server import GOOD, VlmServer
from tests.registry.retrieval.test_near_covers import add_cover

SHA = "ab" * 32
PARAMETERS = (
    "a fox <lora:ink:0.8> <lora:gone:1>\nSteps: 20, "
    f'Lora hashes: "ink: {SHA[:12]}, gone: 0123456789ab", Version: 1.10.1'
)


@pytest.fixture
def ink(registry: Registry) -> int:
    with registry.sessions.begin() as session:
        add_adapter(session, name="another")
        return add_adapter(session, file_sha256=SHA, name="Ink").id


def send(client: TestClient, picture: bytes, **params: str) -> Any:
    return client.post(
        "/v1/search/picture", content=picture, params=params, headers={"Content-Type": "image/png"}
    )


def test_the_adapters_that_a_picture_names(client: TestClient, ink: int) -> None:
    answer: dict[str, Any] = send(client, png(parameters=PARAMETERS)).json()

    (result,) = answer["results"]
    assert result["adapter"]["id"] == ink
    assert result["found_by"] == [
        {"way": "hash", "similarity": 1.0, "strength": 0.8, "cover": None}
    ]
    assert answer["missing"] == [
        {"name": "gone", "hashes": ["0123456789ab"], "version": "", "strength": 1.0}
    ]
    assert answer["prompt"] == "a fox"


def test_a_filter_that_nothing_passes_is_told_as_in_every_search(
    client: TestClient, ink: int
) -> None:
    for asked in ({"base_model": "nope"}, {"tag": "nope"}):
        refused = send(client, png(parameters=PARAMETERS), **asked)
        said = client.get("/v1/search", params={"q": "ink", **asked})

        assert refused.status_code == said.status_code
        assert refused.json()["detail"] == said.json()["detail"]


def test_a_picture_is_drawn_again_with_what_it_says(client: TestClient, ink: int) -> None:
    """What the page would not take is left out: a seed of ComfyUI's may be of 64 bits."""
    settings = f"Steps: 30, CFG scale: 4.5, Seed: {2**40}, Size: 64x96, Lora hashes: "
    told = f'saber \\(fate\\) <lora:ink:te=0:unet=9>\nNegative prompt: blue\n{settings}"ink: {SHA}"'

    answer = send(client, png(parameters=told)).json()

    assert answer["prompt"] == "saber (fate)"
    assert answer["drawn_with"] == {
        "negative_prompt": "blue", "seed": 2**40, "steps": 30, "guidance": 4.5,
        "width": 64, "height": 96, "mode": "",
    }  # fmt: skip
    assert answer["fuse"] == (
        f"/fuse?prompt=saber+%28fate%29&adapter={ink}&strength=4&negative_prompt=blue"
        "&steps=30&guidance=4.5&width=64&height=96"
    )
    page = client.post("/picture", files={"picture": ("a.png", png(parameters=told))})
    assert answer["fuse"].replace("&", "&amp;") in page.text
    assert send(client, png()).json()["fuse"] is None


def recipe_of(**changed: Any) -> str:
    adapters = [{"name": "Ink", "sha256": SHA, "strength": 0.8}]
    return json.dumps(RECIPE | {"prompt": "a fox", "adapters": adapters} | changed)


def test_a_recipe_alone_leads_where_a_picture_of_it_does(client: TestClient, ink: int) -> None:
    copied = recipe_of()

    alone = send(client, copied.encode()).json()
    drawn = send(client, png(autolora_recipe=copied)).json()
    page = client.post("/picture", files={"picture": ("a.json", copied, "application/json")})

    assert f"adapter={ink}&strength=0.8" in alone["fuse"]
    assert alone | {"milliseconds": 0} == drawn | {"milliseconds": 0}
    assert alone["fuse"].replace("&", "&amp;") in page.text


@pytest.mark.parametrize(
    "wrong", ["{", "{}", recipe_of(steps=10**6), recipe_of(prompt="x" * 20_001), recipe_of(more=1)]
)
def test_what_is_no_recipe_is_refused_as_where_one_is_drawn(client: TestClient, wrong: str) -> None:
    refused = send(client, wrong.encode())
    elsewhere = client.post("/v1/recipes/export", params={"to": "a1111"}, content=wrong)

    assert refused.status_code == elsewhere.status_code == 422
    assert refused.json()["detail"] == elsewhere.json()["detail"]
    assert refused.json()["detail"].startswith("not a recipe of schema 1 or 2")


def test_a_file_that_is_listed_twice_is_drawn_with_once(
    client: TestClient, registry: Registry, ink: int
) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, file_sha256=SHA, name="Ink again")
    recipe = {"prompt": "x", "mode": "average", "seed": 7, "adapters": [{"sha256": SHA}]}

    answer = send(client, png(autolora_recipe=json.dumps(recipe))).json()

    assert len(answer["results"]) == 2
    assert answer["fuse"] == f"/fuse?prompt=x&adapter={ink}&strength=1&seed=7&mode=average"


def test_one_answer_says_by_which_way_each_came(
    client: TestClient, registry: Registry, ink: int
) -> None:
    look = opened(image_bytes(1, (128, 128), "PNG"))
    with registry.sessions.begin() as session:
        covered = add_cover(session, registry.blobs, encoded(look, "PNG")).id

    answer = send(client, with_comment(PARAMETERS, image=look)).json()

    ways = {
        result["adapter"]["id"]: [by["way"] for by in result["found_by"]]
        for result in answer["results"]
    }
    assert ways == {ink: ["hash"], covered: ["near cover"]}
    assert list(ways) == [ink, covered]


def test_filters_and_limits(client: TestClient, registry: Registry, ink: int) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, base_model="sdxl-1.0")

    def ids(**params: str) -> list[int]:
        answer = send(client, png(parameters=PARAMETERS), **params).json()
        # What a filter leaves out is not missing.
        assert [named["name"] for named in answer["missing"]] == ["gone"]
        return [result["adapter"]["id"] for result in answer["results"]]

    assert ids(base_model="demo-flux-tiny") == [ink]
    assert ids(base_model="sdxl-1.0") == []
    assert send(client, png(), limit="0").status_code == 422
    assert send(client, png(), nearest="1").status_code == 422


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the picture is empty"),
        (b"hello", "no image"),
        (b"<!doctype html>", "an HTML page"),
        (b"%PDF-1.7", "no image"),
        (bomb(30_000, 30_000), "pixels"),
        (png()[:-60], "broken"),
        (encoded(Image.new("RGB", (4, 4)), "PNG"), "too few"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(
    client: TestClient, data: bytes, words: str
) -> None:
    answer = send(client, data)

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("cannot search by this: the picture ")
    assert words in answer.json()["detail"]


def test_a_refusal_says_how_large_a_picture_may_be() -> None:
    """By numbers: what decodes pictures takes long to import for a sentence."""
    said = f"at most {MAX_PIXELS // 10**6} million pixels and {MAX_BYTES // 2**20} MB."

    assert str(PictureError("the picture is empty")).endswith(said)


def test_a_picture_may_be_larger_than_other_requests_but_not_endless(client: TestClient) -> None:
    large = png(parameters="x" * 2 * MOST_BODY_BYTES)
    assert send(client, large).status_code == 200
    assert client.post("/v1/fuse", content=large).status_code == 413

    def endless() -> Any:
        for _ in range(MOST_UPLOAD_BYTES // 2**20 + 2):
            yield bytes(2**20)

    assert client.post("/v1/search/picture", content=endless()).status_code == 413


def test_the_page_takes_a_file_from_a_form(client: TestClient, ink: int) -> None:
    hostile = png(parameters=PARAMETERS.replace("a fox", "<script>alert(1)</script>\u202e fox"))

    page = client.post("/picture", files={"picture": ("a.png", hostile, "image/png")})

    assert page.status_code == 200
    assert f'href="/adapters/{ink}"' in page.text
    # No address has this in Chinese: a link there would lose the picture.
    assert 'class="language"' not in page.text
    assert 'class="language"' in client.get("/picture").text
    assert "made with it (hash) × 0.8" in page.text
    assert "0123456789ab" in page.text
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_form_is_on_the_search_page(client: TestClient, ink: int, language: str) -> None:
    page = client.get("/", params={"lang": language}).text

    assert 'action="/picture"' in page
    assert 'enctype="multipart/form-data"' in page


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "multipart/form-data", 400),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--",
         "multipart/form-data; boundary=x", 400),
        (b"--x\r\nContent-Disposition: form-data; filename=a\r\n\r\nb",
         "multipart/form-data; boundary=x", 400),
        (b"--x\r\nContent-Disposition: form-data; filename=a\r\n\r\n\r\n--x--",
         "multipart/form-data; boundary=x", 422),
    ],
)  # fmt: skip
def test_broken_forms_are_refused(client: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = client.post("/v1/search/picture", content=body, headers={"Content-Type": kind})

    assert answer.status_code == status


def test_a_picture_inside_a_form_is_taken_whole(client: TestClient, ink: int) -> None:
    """Its bytes may hold line breaks and dashes of all kinds."""
    picture = png(chunk="tEXt", parameters=PARAMETERS + "\r\n--boundary\r\n\r\n--")
    answer = client.post(
        "/v1/search/picture",
        files={"comment": (None, "hello"), "picture": ("a.png", picture, "image/png")},
    )

    assert [result["adapter"]["id"] for result in answer.json()["results"]] == [ink]


def test_of_a_form_a_few_parts_are_looked_at(client: TestClient, ink: int) -> None:
    """Each byte of millions of parts would be walked while nobody else is answered."""
    picture = ("picture", ("a.png", png(parameters=PARAMETERS), "image/png"))
    word = ("comment", (None, "hello"))

    taken = client.post("/v1/search/picture", files=[word] * (MOST_PARTS - 1) + [picture])
    refused = client.post("/v1/search/picture", files=[word] * MOST_PARTS + [picture])

    assert (taken.status_code, refused.status_code) == (200, 400)


@pytest.fixture
def described(registry: Registry, vlm: VlmServer) -> Registry:
    """One whose pictures a vision model describes."""
    registry.settings.caption_endpoint = vlm.url
    registry.settings.caption_model = "qwen3-vl"
    return registry


def test_visitors_do_not_spend_the_vision_model(described: Registry, vlm: VlmServer) -> None:
    described.settings.public_read = True
    with TestClient(create_app(described), base_url="http://127.0.0.1") as client:
        answer = send(client, png())
        page = client.post("/picture", files={"picture": ("a.png", png(), "image/png")})

    assert (answer.status_code, page.status_code) == (200, 200)
    assert vlm.requests == []


def test_a_picture_that_is_described_counts_as_an_image(described: Registry) -> None:
    described.settings.require_tokens, described.settings.images_per_minute = True, 1
    token = described.create_token("ann", [TokenScope.READ])
    with TestClient(create_app(described), base_url="http://127.0.0.1") as client:
        client.headers["Authorization"] = f"Bearer {token}"
        first, second = send(client, png()), send(client, png())

    assert (first.status_code, first.json()["description"]) == (200, GOOD["medium"])
    assert second.status_code == 429


def test_json_says_how_the_answer_is_made(client: TestClient) -> None:
    operation = client.get("/v1/openapi.json").json()["paths"]["/v1/search/picture"]["post"]

    assert set(operation["requestBody"]["content"]) >= {"image/png", "multipart/form-data"}
    assert json.dumps(operation).count("PictureAnswer") == 1


def test_too_many_pictures_at_once_are_asked_to_come_back(registry: Registry) -> None:
    app = create_app(registry)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        app.state.uploads = Uploads(limited=False, most=0, wait_seconds=0.01)
        answer = send(client, png())

    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert "too many pictures" in answer.json()["detail"]


def test_who_sends_slowly_leaves_places_to_others(registry: Registry) -> None:
    """A picture may take more than an hour, and four places are all that there are."""
    registry.settings.public_read = True
    app = create_app(registry)
    app.state.uploads = Uploads(limited=True, most=2, most_each=1, wait_seconds=0.01)

    def sent_from(address: str, picture: bytes | AsyncIterator[bytes]) -> Any:
        transport = httpx.ASGITransport(app, client=(address, 1))
        client = httpx.AsyncClient(transport=transport, base_url="http://192.0.2.7")
        return client.post("/v1/search/picture", content=picture)

    async def statuses() -> list[int]:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            begun.set()
            await ended.wait()
            yield png()

        first = asyncio.create_task(sent_from("192.0.2.8", slow()))
        await begun.wait()
        meanwhile = [await sent_from(f"192.0.2.{n}", png()) for n in (8, 9)]
        ended.set()
        answers = [*meanwhile, await first, await sent_from("192.0.2.8", png())]
        return [answer.status_code for answer in answers]

    assert asyncio.run(statuses()) == [503, 200, 200, 200]


@pytest.mark.parametrize("path", ["/v1/recipes/draw", "/v1/recipes/send"])
def test_a_recipe_with_a_key_waits_for_a_place_before_it_is_read(
    registry: Registry, path: str
) -> None:
    """A key is of what is sent, and to have that read for it must not pass by the bound."""
    app = create_app(registry)
    app.state.uploads = Uploads(limited=False, most=0, wait_seconds=0.01)
    read = []

    async def sent() -> AsyncIterator[bytes]:
        read.append(True)
        yield png()

    async def status() -> int:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            headers = {"Idempotency-Key": "once"}
            return (await client.post(path, content=sent(), headers=headers)).status_code

    assert asyncio.run(status()) == 503
    assert not read


def test_who_may_only_read_may_search_by_a_picture(registry: Registry, ink: int) -> None:
    registry.settings.public_read = True
    with TestClient(create_app(registry), base_url="http://127.0.0.1") as client:
        answer = send(client, png(parameters=PARAMETERS)).json()

    assert [result["adapter"]["id"] for result in answer["results"]] == [ink]
