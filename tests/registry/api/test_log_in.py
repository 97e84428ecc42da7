"""How a browser on another machine is let in, and what others make of its cookie."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from registry.api.app import create_app
from registry.api.limits import LOG_INS_PER_MINUTE, Limits
from registry.api.routes.log_in import local_path
from registry.api.schemas.fuse import RECIPE
from registry.db.images import FinishedImage
from registry.db.work_models import LogIn, Token
from registry.service import Registry
from registry.token_scopes import TokenScope
from tests.builders import add_adapter
from tests.registry.api.conftest import add_file

HERE = "http://192.0.2.7:8000"
OWN = {"Origin": HERE}
PAGE = {"Accept": "text/html,application/xhtml+xml"}


def browser(registry: Registry, address: str = HERE) -> TestClient:
    registry.settings.host = "0.0.0.0"
    return TestClient(create_app(registry), base_url=address, headers=PAGE, follow_redirects=False)


@pytest.fixture
def visitor(registry: Registry) -> Iterator[TestClient]:
    with browser(registry) as client:
        yield client


def log_in(client: TestClient, token: str, wanted: str = "/") -> httpx2.Response:
    origin = {"Origin": str(client.base_url).rstrip("/")}
    return client.post("/login", data={"token": token, "next": wanted}, headers=origin)


def enter(client: TestClient, registry: Registry, *scopes: TokenScope) -> str:
    """Log in with a token of these scopes; return the cookie's value."""
    token = registry.create_token("ann", scopes or [TokenScope.READ])
    assert log_in(client, token).status_code == 303
    (cookie,) = client.cookies.jar
    assert cookie.value
    return cookie.value


def with_cookie(client: TestClient, value: str) -> int:
    """Return what a page answers to who sends another value by the cookie's name."""
    (cookie,) = client.cookies.jar
    other = TestClient(client.app, base_url=HERE, headers=PAGE, follow_redirects=False)
    return other.get("/", headers={"Cookie": f"{cookie.name}={value}"}).status_code


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?q=fox&tag=cat",
        "/adapters/1",
        "/fuse",
        "/status",
        pytest.param(f"/fuse?prompt={quote('狐' * 2000)}&adapter=7", id="a long prompt"),
    ],
)
def test_who_opens_a_page_is_led_to_the_log_in_and_back(
    visitor: TestClient, registry: Registry, path: str
) -> None:
    led = visitor.get(path)
    asked = urlsplit(led.headers["location"])
    (wanted,) = parse_qs(asked.query)["next"]
    form = visitor.get(led.headers["location"])
    back = log_in(visitor, registry.create_token("ann", [TokenScope.READ]), wanted)

    assert (led.status_code, asked.path, wanted) == (303, "/login", path)
    assert form.status_code == 200
    assert 'type="password"' in form.text
    assert (back.status_code, back.headers["location"]) == (303, path)
    assert visitor.get("/").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("GET", "/v1/adapters", "text/html"),
        ("GET", "/", "*/*"),
        ("GET", "/indexing/events", "text/event-stream"),
        ("POST", "/folders", "text/html"),
    ],
)
def test_programs_and_scripts_are_told_401(
    visitor: TestClient, method: str, path: str, accept: str
) -> None:
    """Nor is a form sent to nowhere: its page says where to log in."""
    answer = visitor.request(method, path, headers={"Accept": accept})

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert ('href="/login"' in answer.text) == (method == "POST")


@pytest.mark.parametrize("token", ["autolora_guess", "", "x" * 10_000, "' OR '1'='1", "\x00"])
def test_what_is_no_token_gives_no_cookie(visitor: TestClient, token: str) -> None:
    answer = log_in(visitor, token)
    in_chinese = visitor.post("/login?lang=zh", data={"token": "x"}, headers=OWN)

    assert answer.status_code == 401
    assert "not known here, or was revoked" in answer.text
    assert "set-cookie" not in answer.headers
    assert "令牌无效" in in_chinese.text


@pytest.mark.parametrize("address", [HERE, "https://192.0.2.7:8000"])
def test_the_cookie_is_a_secret_of_its_own_out_of_scripts_reach(
    registry: Registry, address: str
) -> None:
    """It tells nothing of the token, its hash alone is kept, and it ends by itself."""
    token = registry.create_token("ann", [TokenScope.READ])
    with browser(registry, address) as client:
        said = log_in(client, token).headers["set-cookie"]
    with registry.sessions() as session:
        hashes = [*session.scalars(select(Token.sha256)), *session.scalars(select(LogIn.sha256))]
        (ends_at,) = session.scalars(select(LogIn.expires_at))

    flags = said.lower().split("; ")[1:]
    assert {"httponly", "samesite=lax", "path=/", "max-age=604800"} <= set(flags)
    is_secure = address.startswith("https")
    assert ("secure" in flags) == said.startswith("__Host-") == is_secure
    assert not any(flag.startswith("domain") for flag in flags)
    assert not any(secret in said for secret in (token, *hashes))
    assert ends_at < datetime.now(UTC) + timedelta(days=7, seconds=1)


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\r\nSet-Cookie: a=b",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/login?next=/login",
        "/logout",
        "/" + "x" * 30_000,
    ],
)
def test_nobody_is_led_elsewhere(visitor: TestClient, registry: Registry, address: str) -> None:
    answer = log_in(visitor, registry.create_token("ann", [TokenScope.READ]), address)
    form = visitor.get("/login", params={"next": address})

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert 'name="next" value="/"' in form.text


@pytest.mark.parametrize("address", ["/", "/adapters/7#verdict", "/?q=狐狸&tag=a%2Fb"])
def test_pages_of_this_server_are_led_to(address: str) -> None:
    assert local_path(address) == address


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://192.0.2.7:9000"}, 403),
        ({"Sec-Fetch-Site": "cross-site"} | OWN, 403),
        ({"Sec-Fetch-Site": "same-site"} | OWN, 403),
        (OWN, 204),
    ],
)
def test_a_page_elsewhere_does_nothing_with_a_browsers_cookie(
    visitor: TestClient, registry: Registry, headers: dict[str, str], status: int
) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session)
    enter(visitor, registry, TokenScope.ADMIN)

    answer = visitor.put(f"/v1/adapters/{adapter.id}/removal", headers=headers)

    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_a_page_elsewhere_logs_nobody_in_or_out(
    visitor: TestClient, registry: Registry, path: str
) -> None:
    """Whose searches would go to the attacker's token."""
    token = registry.create_token("mallory", [TokenScope.READ])

    answer = visitor.post(path, data={"token": token}, headers={"Origin": "https://evil.example"})

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_cookie_that_somebody_planted_is_not_taken_over(
    visitor: TestClient, registry: Registry
) -> None:
    """Session fixation: who logs in gets a new one, and the one before it ends."""
    planted = enter(visitor, registry)
    name = next(iter(visitor.cookies.jar)).name

    own = enter(visitor, registry)

    assert own != planted
    assert with_cookie(visitor, planted) == 303
    assert with_cookie(visitor, own) == 200
    visitor.cookies.clear()
    visitor.cookies.set(name, "x" * 43, domain="192.0.2.7")
    token = registry.create_token("bob", [TokenScope.READ])
    assert "x" * 43 not in log_in(visitor, token).headers["set-cookie"]


def test_a_revoked_token_ends_its_log_ins_at_once(visitor: TestClient, registry: Registry) -> None:
    enter(visitor, registry)
    before = visitor.get("/").status_code

    registry.revoke_token(1)

    assert (before, visitor.get("/").status_code) == (200, 303)


def test_a_log_in_ends_by_itself(visitor: TestClient, registry: Registry) -> None:
    enter(visitor, registry)
    with registry.sessions.begin() as session:
        session.execute(update(LogIn).values(expires_at=datetime.now(UTC)))

    assert visitor.get("/").status_code == 303
    enter(visitor, registry)
    with registry.sessions() as session:
        assert len(session.scalars(select(LogIn)).all()) == 1  # what had ended is cleared away


def test_who_logs_out_is_out_wherever_the_cookie_was_copied_to(
    visitor: TestClient, registry: Registry
) -> None:
    cookie = enter(visitor, registry)
    (kept,) = visitor.cookies.jar
    assert 'action="/logout"' in visitor.get("/").text

    answer = visitor.post("/logout", headers=OWN)

    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert f"{kept.name}=" in answer.headers["set-cookie"]
    assert not list(visitor.cookies.jar)
    copied = visitor.get("/", headers={"Cookie": f"{kept.name}={cookie}"})
    assert copied.status_code == 303


def test_a_cookie_that_was_changed_or_made_up_opens_nothing(
    visitor: TestClient, registry: Registry
) -> None:
    """Nor does what who reads a backup has, nor the token where the secret belongs."""
    cookie = enter(visitor, registry)
    token = registry.create_token("bob", [TokenScope.READ])
    with registry.sessions() as session:
        (kept,) = session.scalars(select(LogIn.sha256))
    other = ("A" if cookie[0] != "A" else "B") + cookie[1:]

    tried = [other, cookie[:-1], cookie + "A", cookie.swapcase(), kept, token, "", "x" * 5000]

    assert [with_cookie(visitor, value) for value in tried] == [303] * len(tried)
    assert with_cookie(visitor, cookie) == 200


def test_the_cookie_of_another_server_opens_nothing_and_is_left_alone(
    visitor: TestClient, registry: Registry
) -> None:
    """One browser has the cookies of all ports of a host in one jar."""
    cookie = enter(visitor, registry)
    (own,) = visitor.cookies.jar
    there = registry.settings.home.with_name("another home")
    registry.settings = registry.settings.model_copy(update={"home": there})
    with registry.sessions.begin() as session:
        session.execute(update(LogIn).values(sha256="0" * 64))  # that server's are not in here
    with browser(registry) as other:
        sent = {"Cookie": f"{own.name}={cookie}"}
        refused = other.get("/", headers=sent)
        token = registry.create_token("bob", [TokenScope.READ])
        said = other.post("/login", data={"token": token}, headers=sent | OWN)

    assert refused.status_code == 303
    assert not said.headers["set-cookie"].startswith(own.name)


def test_who_guesses_tokens_is_told_to_wait(visitor: TestClient, registry: Registry) -> None:
    """The right one is not looked at either, so nobody learns that it was."""
    token = registry.create_token("ann", [TokenScope.READ])

    guesses = [log_in(visitor, f"guess{n}").status_code for n in range(LOG_INS_PER_MINUTE)]
    late = log_in(visitor, token)

    assert set(guesses) == {401}
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) in range(1, 7)
    assert "set-cookie" not in late.headers


def test_a_browser_counts_as_its_token_does(visitor: TestClient, registry: Registry) -> None:
    enter(visitor, registry)
    limits: Limits = visitor.app.state.limits  # type: ignore[attr-defined]
    with registry.sessions() as session:
        (key,) = session.scalars(select(Token.sha256))
    assert limits._requests is not None
    limits._requests.take(key, 10**6)

    assert visitor.get("/v1/adapters").status_code == 429


def test_who_may_read_only_sees_nothing_else_to_do(visitor: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session)
    enter(visitor, registry)

    pages = visitor.get("/").text + visitor.get(f"/adapters/{adapter.id}").text
    refused = visitor.get("/fuse")

    for thing in ("/fuse", "/folders", "/status", "data-star", "/claim", "/removal", "/favourite"):
        assert thing not in pages
    assert refused.status_code == 403
    assert "This needs a token of the scope fuse." in refused.text
    assert 'href="/login"' in refused.text
    assert visitor.get("/v1/adapters").status_code == 200
    assert visitor.post("/v1/fuse", json={"prompt": "x"}, headers=OWN).status_code == 403


@pytest.mark.parametrize("scopes", [[TokenScope.READ], [TokenScope.READ, TokenScope.FUSE]])
def test_who_may_read_only_looks_at_images_without_what_draws_or_deletes_them(
    visitor: TestClient, registry: Registry, scopes: list[TokenScope]
) -> None:
    registry.settings.comfyui_url = "http://127.0.0.1:8188"
    done, waiting, stopped = registry.images.ask([{"prompt": "a fox"}] * 3)
    used = [{"id": None, "name": n, "sha256": n * 64, "strength": 1.0} for n in "ab"]
    registry.images.begin(done.id)
    recipe = RECIPE | {"adapters": used, "base": RECIPE["base"] | {"backend": "flux"}}
    registry.images.finish(done.id, FinishedImage(b"png", b"small", recipe))
    registry.images.cancel(stopped.id)
    enter(visitor, registry, *scopes)

    paths = [f"/images/{image.id}" for image in (done, waiting, stopped)]
    paths += [f"/images/{done.id}/result", "/images"]
    pages = "".join(visitor.get(path).raise_for_status().text for path in paths)

    assert f'href="/images?picked={done.id}"' in pages
    for kind in ("image", "compare", "grid"):
        assert (f'name="kind" value="{kind}"' in pages) == (TokenScope.FUSE in scopes)
    for thing in ("/fuse", "/again", "/send", "/cancel", "/delete", "/images/delete"):
        assert (thing in pages) == (TokenScope.FUSE in scopes)


def test_who_may_do_all_sees_all(visitor: TestClient, registry: Registry) -> None:
    enter(visitor, registry, *TokenScope)

    page = visitor.get("/").text

    assert all(f'href="{path}"' in page for path in ("/fuse", "/folders", "/status"))


def test_files_are_kept_by_the_browser_alone(visitor: TestClient, registry: Registry) -> None:
    """A cache that people share would hand them to who has no token."""
    adapter = add_file(registry, 1, "fox")
    sha256 = registry.adapter(adapter).card.file_sha256
    enter(visitor, registry)

    answer = visitor.get(f"/v1/files/{sha256}")

    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "Cookie" in visitor.get("/").headers["vary"]


def test_nobody_logs_in_where_nobody_has_to(client: TestClient) -> None:
    answer = client.get("/login?next=/status", follow_redirects=False)
    sent = client.post("/login", data={"token": "x"}, follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (303, "/status")
    assert (sent.status_code, sent.headers["location"]) == (303, "/")
    assert "/logout" not in client.get("/").text


@pytest.mark.parametrize(("address", "is_said"), [(HERE, True), ("https://192.0.2.7", False)])
def test_a_line_that_others_can_read_is_said_to_be_one(
    registry: Registry, address: str, is_said: bool
) -> None:
    with browser(registry, address) as client:
        assert ("not encrypted" in client.get("/login").text) == is_said
