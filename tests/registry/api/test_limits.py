"""Who asks too often is told when to come back; on loopback nobody is."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from registry.api.app import create_app
from registry.api.limits import MOST_KEYS, Buckets, address_of
from registry.api.schemas.fuse import RECIPE
from registry.cli.server import server_config
from registry.service import Registry
from registry.token_scopes import TokenScope


def client_from(registry: Registry, address: str, **changes: Any) -> TestClient:
    registry.settings = registry.settings.model_copy(update=changes)
    app = create_app(registry)
    return TestClient(app, base_url="http://192.0.2.7", client=(address, 1))


def test_a_bucket_fills_by_itself() -> None:
    now = 0.0
    buckets = Buckets(60, burst_seconds=3, clock=lambda: now)

    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 1]
    assert buckets.take("b") == 0
    now = 0.5
    assert buckets.take("a") == 0.5
    now = 1.0
    assert buckets.take("a") == 0
    now = 1000.0
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 1]


def test_what_is_more_than_a_bucket_is_paid_back() -> None:
    now = 0.0
    buckets = Buckets(60, burst_seconds=3, clock=lambda: now)

    assert buckets.take("a", 5) == 0
    assert buckets.take("a") == 3
    assert buckets.take("a", 5) == 5


def test_memory_of_addresses_is_bounded() -> None:
    buckets = Buckets(60, burst_seconds=3)
    for number in range(MOST_KEYS + 10):
        buckets.take(str(number))

    assert len(buckets._left) == MOST_KEYS
    # Who came last is the one who may be asking too much.
    assert "0" not in buckets._left
    assert str(MOST_KEYS + 9) in buckets._left


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_customer_is_one(host: str, key: str) -> None:
    assert address_of({"client": (host, 1)}) == key


def test_an_address_is_limited_whatever_tokens_it_guesses(registry: Registry) -> None:
    client = client_from(registry, "192.0.2.9", host="0.0.0.0", requests_per_minute=8)
    other = TestClient(client.app, base_url="http://192.0.2.7", client=("192.0.2.10", 1))

    statuses = [
        client.get("/v1/adapters", headers={"Authorization": f"Bearer guess{n}"}) for n in range(4)
    ]

    assert [answer.status_code for answer in statuses] == [401, 401, 429, 429]
    assert int(statuses[2].headers["retry-after"]) in range(1, 9)
    assert "ask again in" in statuses[2].json()["detail"]
    assert client.get("/healthz").status_code == 200
    assert client.get("/static/page.css").status_code == 200
    assert other.get("/v1/adapters").status_code == 401


def test_a_token_is_limited_wherever_it_comes_from(registry: Registry) -> None:
    token = registry.create_token("ann", [TokenScope.READ])
    client = client_from(registry, "192.0.2.9", host="0.0.0.0", requests_per_minute=8)
    clients = [
        TestClient(client.app, base_url="http://192.0.2.7", client=(f"192.0.2.{n}", 1))
        for n in range(20, 23)
    ]

    headers = {"Authorization": f"Bearer {token}"}
    answers = [one.get("/v1/adapters", headers=headers).status_code for one in clients]

    assert answers == [200, 200, 429]


def test_images_have_a_bucket_of_their_own(registry: Registry) -> None:
    token = registry.create_token("ann", [TokenScope.FUSE])
    client = client_from(registry, "192.0.2.9", host="0.0.0.0", images_per_minute=2)

    headers = {"Authorization": f"Bearer {token}"}
    answers = [client.post("/v1/fuse", json={}, headers=headers) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [422, 422, 429]
    assert client.get("/fuse", headers=headers).status_code == 200


def test_several_images_of_one_request_count_each(registry: Registry) -> None:
    token = registry.create_token("ann", [TokenScope.FUSE])
    client = client_from(registry, "192.0.2.9", host="0.0.0.0", images_per_minute=3)
    headers = {"Authorization": f"Bearer {token}"}
    asked = {"prompt": "a fox", "count": 3, "base_model": "nothing"}

    # Its end waits for what draws.
    with client:
        first = client.post("/v1/images", json=asked, headers=headers)
        second = client.post("/v1/images", json=asked, headers=headers)

    assert first.status_code == 202
    assert second.status_code == 429


@pytest.fixture
def used_up(registry: Registry) -> Iterator[TestClient]:
    """One who had the only image of a minute drawn, by a token that may draw."""
    token = registry.create_token("ann", [TokenScope.FUSE])
    changes = {"host": "0.0.0.0", "images_per_minute": 1, "requests_per_minute": 0}
    with client_from(registry, "192.0.2.9", **changes) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.post("/v1/fuse", json={}).status_code == 422
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/v1/images",
        "/v1/fuse",
        "/v1/recipes/draw",
        "/v1/recipes/send",
        "/v1/adapters/7/cover",
        "/adapters/7/cover",
        "/images/7/again",
        "/images/7/send",
        "/fuse",
    ],
)
def test_whatever_draws_takes_from_the_images(used_up: TestClient, path: str) -> None:
    # A recipe is read before it counts.
    sent: dict[str, Any] = {"json": RECIPE if path == "/v1/recipes/send" else {"prompt": "a fox"}}
    if not path.startswith("/v1/"):
        sent = {"data": {"prompt": "a fox"}}

    assert used_up.post(path, **sent).status_code == 429


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/images/7/cancel"),
        ("DELETE", "/v1/images/7"),
        ("POST", "/images/7/cancel"),
        ("POST", "/images/7/delete"),
        ("POST", "/images/delete"),
    ],
)
def test_who_has_no_image_left_may_stop_and_remove_them(
    used_up: TestClient, method: str, path: str
) -> None:
    """Else the base would go on with what nobody wants."""
    assert used_up.request(method, path, follow_redirects=False).status_code in (303, 404)


def test_several_images_of_a_form_count_each(registry: Registry) -> None:
    """The page without script has them drawn by it."""
    token = registry.create_token("ann", [TokenScope.FUSE])
    form = {"prompt": "a fox", "count": "3", "base_model": "nothing"}
    with client_from(registry, "192.0.2.9", host="0.0.0.0", images_per_minute=3) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        answers = [client.post("/fuse", data=form, follow_redirects=False) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 429]


def test_nothing_is_limited_on_loopback(registry: Registry) -> None:
    registry.settings = registry.settings.model_copy(update={"requests_per_minute": 1})
    client = TestClient(create_app(registry), base_url="http://127.0.0.1")

    assert {client.get("/v1/adapters").status_code for _ in range(5)} == {200}


@pytest.mark.parametrize("trusted", [[], ["127.0.0.1"]])
def test_only_proxies_that_are_named_say_who_asks(registry: Registry, trusted: list[str]) -> None:
    registry.settings = registry.settings.model_copy(update={"trusted_proxies": trusted})
    config = server_config(create_app(registry))
    config.load()

    assert isinstance(config.loaded_app, ProxyHeadersMiddleware) == bool(trusted)
    if trusted:
        assert "127.0.0.1" in config.loaded_app.trusted_hosts
        assert "192.0.2.1" not in config.loaded_app.trusted_hosts
