"""Whom a server lets in that other machines can reach."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from registry.api.access import wants_tokens
from registry.api.app import create_app
from registry.config import Settings
from registry.db.work_models import Token
from registry.service import Registry
from registry.token_scopes import TokenScope
from tests.builders import add_adapter

ASKED: list[tuple[str, str, TokenScope]] = [
    ("GET", "/v1/adapters", TokenScope.READ),
    ("HEAD", "/v1/adapters", TokenScope.READ),
    ("GET", "/v1/facets", TokenScope.READ),
    ("POST", "/v1/search/picture", TokenScope.READ),
    ("GET", "/v1/files/" + "0" * 64, TokenScope.READ),
    ("GET", "/", TokenScope.READ),
    ("POST", "/v1/fuse", TokenScope.FUSE),
    ("POST", "/v1/recipes/draw", TokenScope.FUSE),
    ("POST", "/v1/recipes/export", TokenScope.READ),
    ("POST", "/v1/recipes/files", TokenScope.READ),
    ("POST", "/v1/recipes/send", TokenScope.FUSE),
    ("GET", "/v1/images/1/files", TokenScope.READ),
    ("POST", "/images/1/send", TokenScope.FUSE),
    ("GET", "/fuse", TokenScope.FUSE),
    ("PUT", "/v1/adapters/1/claim", TokenScope.ADMIN),
    ("DELETE", "/v1/adapters/1/claim", TokenScope.ADMIN),
    ("GET", "/v1/status", TokenScope.ADMIN),
    ("HEAD", "/v1/status", TokenScope.ADMIN),
    ("GET", "/status", TokenScope.ADMIN),
]

# What changes the registry, or tells of it what its keeper alone shall know.
KEPT_APART = {
    TokenScope.FUSE: [
        "POST /v1/images",
        "POST /v1/images/1/cancel",
        "DELETE /v1/images/1",
        "POST /v1/adapters/1/cover",
        "POST /images/1/again",
        "POST /images/1/cancel",
        "POST /images/1/delete",
        "POST /images/delete",
        "POST /fuse",
        "POST /adapters/1/cover",
    ],
    TokenScope.ADMIN: [
        "PUT /v1/adapters/1/removal",
        "DELETE /v1/adapters/1/removal",
        "GET /v1/favourites",
        "PUT /v1/favourites/1",
        "DELETE /v1/favourites/1",
        "GET /v1/folders",
        "POST /v1/folders",
        "DELETE /v1/folders",
        "POST /v1/folders/refresh",
        "POST /v1/folders/files",
        "GET /v1/folders/copies",
        "POST /v1/folders/trash",
        "GET /v1/nights",
        "POST /adapters/1/removal",
        "POST /adapters/1/claim",
        "POST /adapters/1/favourite",
        "GET /folders",
        "GET /folders/events",
        "POST /folders",
        "POST /folders/refresh",
        "POST /folders/remove",
        "GET /folders/copies",
        "POST /folders/trash",
        "GET /metrics",
    ],
}


@pytest.fixture
def elsewhere(registry: Registry) -> Iterator[TestClient]:
    registry.settings.host = "0.0.0.0"
    with TestClient(create_app(registry), base_url="http://192.0.2.7:8000") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("method", "path", "scope"), ASKED)
def test_every_route_wants_a_token_of_its_scope(
    elsewhere: TestClient, registry: Registry, method: str, path: str, scope: TokenScope
) -> None:
    right = registry.create_token("right", [scope])
    wrong = registry.create_token("wrong", [other for other in TokenScope if other != scope])

    bare = elsewhere.request(method, path)
    refused = elsewhere.request(method, path, headers=bearer(wrong))
    let_in = elsewhere.request(method, path, headers=bearer(right))

    assert (bare.status_code, bare.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.status_code == 403
    # What it then finds is another matter.
    assert let_in.status_code not in (401, 403)


@pytest.mark.parametrize("scope", KEPT_APART)
def test_what_changes_the_registry_is_for_its_scope_alone(
    elsewhere: TestClient, registry: Registry, scope: TokenScope
) -> None:
    wrong = registry.create_token("wrong", [other for other in TokenScope if other != scope])

    answered = {
        route: elsewhere.request(*route.split(), headers=bearer(wrong)).status_code
        for route in KEPT_APART[scope]
    }

    assert answered == dict.fromkeys(KEPT_APART[scope], 403)


def test_no_route_is_forgotten(elsewhere: TestClient, registry: Registry) -> None:
    """A route that is added later is closed like the others."""
    document = elsewhere.get("/v1/openapi.json").json()

    for path, operations in document["paths"].items():
        for method in operations:
            address = path.replace("{adapter_id}", "1").replace("{position}", "0")
            address = address.replace("{sha256}", "0" * 64)
            status = elsewhere.request(method, address).status_code
            assert status == (200 if path in ("/healthz", "/readyz") else 401), path


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer autolora_",
        "Bearer " + "x" * 10**4,
        "Basic {token}",
        "Bearer {token}x",
        "Bearer x{token}",
        "Bearer {token} {token}",
        "Bearer {hash}",
        "Bearer ' OR '1'='1",
        "Bearer %",
    ],
)
def test_what_is_no_token_opens_nothing(
    elsewhere: TestClient, registry: Registry, header: str
) -> None:
    """Nor does the hash, which who reads a backup has."""
    token = registry.create_token("ann", [TokenScope.READ])
    with registry.sessions() as session:
        sha256 = session.scalars(select(Token.sha256)).one()
    assert token not in sha256

    said = header.format(token=token, hash=sha256)
    answer = elsewhere.get("/v1/adapters", headers={"Authorization": said})

    assert answer.status_code == 401
    assert token not in answer.text


def test_a_revoked_token_opens_nothing_at_once(elsewhere: TestClient, registry: Registry) -> None:
    token = registry.create_token("ann", [TokenScope.READ])
    before = elsewhere.get("/v1/adapters", headers=bearer(token)).status_code

    registry.revoke_token(1)

    after = elsewhere.get("/v1/adapters", headers=bearer(token)).status_code
    assert (before, after) == (200, 401)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "Localhost"])
def test_tokens_are_not_asked_for_on_loopback_however_it_is_named(host: str) -> None:
    assert not wants_tokens(Settings(host=host))


def test_tokens_are_not_asked_for_on_loopback_unless_the_settings_say_so(
    client: TestClient, registry: Registry
) -> None:
    """Behind a proxy everybody comes from loopback."""
    before = client.get("/v1/adapters").status_code
    registry.settings.require_tokens = True

    assert (before, client.get("/v1/adapters").status_code) == (200, 401)


def test_a_token_in_the_address_opens_nothing(elsewhere: TestClient, registry: Registry) -> None:
    """Addresses are logged, and sent on as Referer."""
    token = registry.create_token("ann", [TokenScope.READ])

    answer = elsewhere.get("/v1/adapters", params={"token": token, "access_token": token})

    assert answer.status_code == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_page_elsewhere_may_not_write_even_with_a_token(
    elsewhere: TestClient, registry: Registry, origin: str
) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session)
    token = registry.create_token("ann", [TokenScope.ADMIN])

    answer = elsewhere.delete(
        f"/v1/adapters/{adapter.id}/claim", headers=bearer(token) | {"Origin": origin}
    )

    assert answer.status_code == 403
