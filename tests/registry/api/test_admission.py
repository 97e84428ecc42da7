"""Foreign names, foreign pages, and requests that are far too long."""

import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from registry.api.admission import MOST_BODY_BYTES
from registry.api.app import create_app
from registry.db.models import CrawlRun
from registry.service import Registry
from tests.builders import add_adapter

ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
FOLLOWED = ELSEWHERE | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
CLICKED = FOLLOWED | {"Sec-Fetch-User": "?1"}


@pytest.fixture
def public(registry: Registry) -> TestClient:
    settings = registry.settings
    settings.public_read, settings.host = True, "0.0.0.0"
    settings.allowed_hosts = ["loras.example"]
    return TestClient(create_app(registry), base_url="http://192.0.2.7:8000")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.2:8000", 200),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("192.0.2.7", 400),
        ("[1]", 400),
        ("[::1:8000", 400),
        ("127.0.0.1@evil.example", 400),
        ("evil.example#@127.0.0.1", 400),
        ("", 400),
    ],
)
def test_on_loopback_only_this_machines_names_are_answered(
    client: TestClient, host: str, status: int
) -> None:
    """A page elsewhere can point its own name at 127.0.0.1 and read the answers."""
    answer = client.get("/healthz", headers={"Host": host})

    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    if status == 400:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.0.2.7:8000", 200),
        ("[2001:db8::7]:8000", 200),
        ("loras.example", 200),
        ("localhost", 200),
        ("evil.example", 400),
        ("loras.example.evil.example", 400),
    ],
)
def test_a_public_server_is_known_by_addresses_and_its_names(
    public: TestClient, host: str, status: int
) -> None:
    """A page's own name must not be made to mean a server inside somebody's network."""
    assert public.get("/healthz", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1", 200),
        ("https://127.0.0.1", 200),
        ("http://127.0.0.1:3000", 403),
        ("https://evil.example", 403),
        ("http://[x", 403),
        ("null", 403),
    ],
)
def test_pages_of_other_origins_may_not_ask(
    client: TestClient, registry: Registry, origin: str, status: int
) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, words="fox")

    answer = client.get("/v1/search?q=fox", headers={"Origin": origin})

    assert answer.status_code == status


def test_pages_of_other_origins_may_not_make_images(client: TestClient) -> None:
    answer = client.post(
        "/v1/fuse", json={"prompt": "x"}, headers={"Origin": "https://evil.example"}
    )

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/search?q=fox", ELSEWHERE, 403),
        ("/?q=fox", ELSEWHERE, 403),
        # A script that opens pages in a loop.
        ("/?q=fox", FOLLOWED, 403),
        ("/?q=fox", CLICKED, 200),
        ("/v1/search?q=fox", CLICKED, 403),
        ("/?q=fox", CLICKED | {"Sec-Fetch-Site": "same-site"}, 200),
        # Another port of this machine.
        ("/v1/search?q=fox", ELSEWHERE | {"Sec-Fetch-Site": "same-site"}, 403),
        ("/v1/search?q=fox", ELSEWHERE | {"Sec-Fetch-Site": "same-origin"}, 200),
        ("/v1/search?q=fox", ELSEWHERE | {"Sec-Fetch-Site": "none"}, 200),
        # An old browser, or a program.
        ("/v1/search?q=fox", {}, 200),
    ],
)
def test_pages_elsewhere_cannot_make_a_visitors_browser_search(
    client: TestClient, registry: Registry, path: str, headers: dict[str, str], status: int
) -> None:
    """An image's address is asked for without an Origin; a link that was clicked is welcome."""
    with registry.sessions.begin() as session:
        add_adapter(session, words="fox")

    assert client.get(path, headers=headers).status_code == status


def test_a_body_that_is_declared_too_long_is_not_read(client: TestClient) -> None:
    headers = {"Content-Length": str(300_000_000), "Content-Type": "application/json"}
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(300):
            sent += 1
            yield bytes(1_000_000)

    answer = client.post("/v1/fuse", content=body(), headers=headers)

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    for length in ("300000000", "9" * 5000):
        assert client.get("/healthz", headers={"Content-Length": length}).status_code == 413


def test_a_body_that_grows_too_long_is_refused(client: TestClient) -> None:
    chunks = iter([b'{"prompt": "', *[b"x" * 1000] * (MOST_BODY_BYTES // 1000 + 1), b'"}'])

    answer = client.post("/v1/fuse", content=chunks, headers={"Content-Type": "application/json"})

    assert answer.status_code == 413
    detail = answer.json()["detail"]
    assert detail == "What was sent is too large: at most 32 KB are taken here."
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_longest_prompt_is_let_in(client: TestClient) -> None:
    """Each of 2000 signs may be written in twelve bytes."""
    body = json.dumps({"prompt": "🦊" * 2000, "mode": "base"}).encode()

    answer = client.post("/v1/fuse", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 503  # and not 413 or 422: nothing is indexed


@pytest.mark.parametrize("query", ["q=" + "x" * 33_000, "&".join(f"a{i}" for i in range(200))])
def test_a_query_that_is_far_too_long_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/v1/search?{query}").status_code == 414


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({f"k{i}": i for i in range(2000)}),
        json.dumps({"prompt": "x", "k" * 30_000: 1}),
        json.dumps({"prompt": "x", "adapters": ["y" * 30_000]}),
        json.dumps({"prompt": "x", "adapters": [{"id": 1, f"k{i}": 1} for i in range(1000)]}),
    ],
)
def test_what_is_wrong_is_said_in_few_words(client: TestClient, body: str) -> None:
    """Whatever was sent, not all of it comes back."""
    answer = client.post("/v1/fuse", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert len(answer.content) < 3000


def test_json_that_is_nested_deeply_is_refused(client: TestClient) -> None:
    body = '{"prompt": ' + "[" * 30_000

    answer = client.post("/v1/fuse", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("levels", [500, 900])
@pytest.mark.parametrize(
    ("path", "name"), [("/v1/fuse", "prompt"), ("/v1/images", "recipe"), ("/v1/search", "q")]
)
def test_json_that_can_just_be_read_is_refused_in_words(
    client: TestClient, path: str, name: str, levels: int
) -> None:
    """It is a KB, and deeper than what walks it can go."""
    body = f'{{"{name}": {"[" * levels}{"]" * levels}}}'
    headers = {"Content-Type": "application/json"}

    answer = client.post(path, content=body, headers=headers)
    chinese = client.post(path, content=body, headers=headers | {"Accept-Language": "zh"})

    assert answer.status_code == chinese.status_code == 422
    assert len(answer.content) < 3000
    assert ("nested" in answer.text) == ("嵌套" in chinese.text) == (path != "/v1/search")


def test_a_public_server_makes_no_images(public: TestClient, registry: Registry) -> None:
    """Neither by its API nor by its pages, and nothing there leads to it."""
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, words="fox")

    assert public.post("/v1/fuse", json={"prompt": "x"}).status_code in (404, 405)
    assert public.get("/fuse").status_code == 404
    assert public.get("/v1/search?q=fox").status_code == 200
    assert "/v1/fuse" not in public.get("/v1/openapi.json").json()["paths"]
    for url in ("/", "/?q=fox", f"/adapters/{adapter.id}"):
        assert "/fuse" not in public.get(url).text


def test_a_public_server_shows_nobody_the_images_that_were_made(
    public: TestClient, registry: Registry
) -> None:
    """Prompts and pictures are whoever's drew them; only adapters are for everybody."""
    made = registry.images.ask([{"prompt": "a secret"}])[0].id

    paths = public.get("/v1/openapi.json").json()["paths"]

    assert not [path for path in paths if path.startswith("/v1/images")]
    assert "/v1/recipes/export" in paths
    for url in ("/v1/images", "/images", "/images/compare"):
        assert public.get(url).status_code == 404
    for part in ("", "/events", "/png", "/thumbnail", "/preview", "/export?to=a1111", "/files"):
        answer = public.get(f"/v1/images/{made}{part}")
        assert answer.status_code == 404
        assert "nothing is at this address" in answer.json()["detail"]
    for part in ("", "/result"):
        assert public.get(f"/images/{made}{part}").status_code == 404


def test_a_public_server_does_not_say_why_a_refresh_failed(
    public: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        run = CrawlRun(hub="hub", endpoint="", state="failed", error="no /home/ann")
        problem = {"step": "crawl", "adapter": "loras/ann/bad", "message": "no /home/ann"}
        run.counts = {"crawl": {"ok": 2, "failed": 1}, "problems": [problem], "skipped": [problem]}
        session.add(run)

    answer = public.get("/v1/runs")

    [run] = answer.json()["items"]
    assert (run["state"], run["error"]) == ("failed", "failed")
    assert run["counts"] == {"crawl": {"ok": 2, "failed": 1}}
    assert "ann" not in answer.text


def test_a_public_server_has_no_route_that_writes(public: TestClient) -> None:
    paths = public.get("/v1/openapi.json").json()["paths"]

    # What is sent to be read is too large for an address: a long question, a picture, a recipe.
    assert set(paths.pop("/v1/search")) == {"get", "post"}
    for path in ("/v1/search/picture", "/v1/recipes/export", "/v1/recipes/files"):
        assert set(paths.pop(path)) == {"post"}
    assert {method for path in paths.values() for method in path} == {"get"}


def test_forms_of_our_own_pages_say_where_they_come_from(client: TestClient) -> None:
    """With "no-referrer" a browser sends `Origin: null`, as a foreign page's would be: refused."""
    refused = client.post("/picture", headers={"Origin": "null"})

    assert refused.status_code == 403
    assert client.get("/").headers["Referrer-Policy"] == "same-origin"
