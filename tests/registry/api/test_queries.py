"""Questions that nobody should have to ask: an answer or a clear error, never a failure."""

import pytest
from fastapi.testclient import TestClient

from registry.retrieval.errors import QueryTooLongError
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.conftest import add_real_encoder, embed

LONGEST = 2000


@pytest.fixture
def fox(registry: Registry) -> int:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        add_adapter(session, name="bare")
        own = embed(registry, "a red fox")
        return add_adapter(
            session, name="狐狸 fox", words="狐狸 fox", embedding=own, captions=[("a red fox", own)]
        ).id


HOSTILE = [
    "'; DROP TABLE adapters; --",
    "fox' OR '1'='1",
    "%_\\ fox",
    "fox & | ! ( ) : * <-> 'x",
    "{{7*7}} ${7*7} <script>alert(1)</script>",
    "\x00\x01\x1b[31mfox\x7f",
    "\u202efox\u2066\u200b\ufeff",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "🦊🎨🌈",
    "👩‍👩‍👧‍👦" * 50,
    "ﷺ" * 100,
    "a" * LONGEST,
    "fox " * (LONGEST // 4),
    "的" * LONGEST,
    "¿?!…—–",
    "画一只 red fox 的图 в стиле акварель",
    "Z̷̢͝a̴l̵g̸o̶ fox",
    "1e999 NaN inf -0",
]


@pytest.mark.parametrize("asked", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_gets_an_answer(client: TestClient, fox: int, asked: str) -> None:
    answer = client.get("/v1/search", params={"q": asked})

    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert {result["adapter"]["id"] for result in results} >= {fox}
    assert all(0 <= result["score"] <= 1 for result in results)
    page = client.get("/", params={"q": asked})
    assert page.status_code == 200
    assert "<script>alert" not in page.text


@pytest.mark.parametrize("asked", ["", " ", "\n\t\u3000", "\x00"])
def test_nothing_asked_lists_everything(client: TestClient, fox: int, asked: str) -> None:
    answer = client.get("/v1/search", params={"q": asked})

    assert answer.status_code == 200
    first, second = answer.json()["results"]
    assert (first["adapter"]["id"], second["adapter"]["name"]) == (fox, "bare")


def test_what_is_far_too_long_is_refused(client: TestClient, registry: Registry, fox: int) -> None:
    """Before it is encoded, and without sending it back."""
    answer = client.get("/v1/search", params={"q": "x" * 30_000})

    assert answer.status_code == 422
    said = "q has 30,000 characters; it has 2,000 at most; send it by POST for up to 10,000"
    assert answer.json()["detail"] == said
    assert len(answer.content) < 1000
    for ask in (registry.search, registry.choose):
        with pytest.raises(QueryTooLongError, match="1,000,000 characters"):
            ask("x" * 1_000_000)


def test_a_long_question_is_sent_as_a_body(client: TestClient, fox: int) -> None:
    for question in ("a red fox " * 1000, "🦊" * 10_000):
        answer = client.post("/v1/search", json={"q": question, "tag": []})

        assert answer.status_code == 200, answer.text
        assert fox in [result["adapter"]["id"] for result in answer.json()["results"]]
    refused = client.post("/v1/search", json={"q": "x" * 10_001})
    assert refused.json()["detail"] == "q has 10,001 characters; it has 10,000 at most"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("search?like=a", "like is 'a'; write a whole number"),
        ("search?commercial=maybe", "commercial is 'maybe'; it is true or false"),
        ("search?limit=0", "limit is 0; it is 1 at least"),
        (
            "search?limit=101&seed=-1",
            "seed is -1; it is 0 at least; limit is 101; it is 100 at most",
        ),
        ("search?mature=odd", "mature is 'odd'; it is one of any, hide, only"),
        ("search?min_rank=x", "min_rank is 'x'; write a whole number"),
        ("adapters/abc", "adapter_id is 'abc'; write a whole number"),
        ("choose?prompt=", "prompt has 0 characters; it has 1 at least"),
        ("choose", "prompt is missing; give it"),
    ],
)
def test_a_value_that_is_no_good_is_told_with_what_is(
    client: TestClient, asked: str, said: str
) -> None:
    answer = client.get(f"/v1/{asked}")

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(said)


def test_an_adapter_that_is_not_there_is_told_with_where_they_are(client: TestClient) -> None:
    """A program has no command line, and a browser no routes."""
    said = client.get("/v1/adapters/9999").json()["detail"]
    page = client.get("/adapters/9999?lang=en", headers={"Accept": "text/html"}).text

    assert said == "there is no adapter 9999. `GET /v1/adapters` lists the ones here."
    assert "The start page lists the ones here." in page


def test_the_page_says_that_something_perhaps_fits(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, name="Ghibli skies")

    page = client.get("/", params={"q": "“gibli”", "lang": "en"}).text

    assert "Nothing surely fits ““gibli””" in page
    assert "probably do something else" not in page


def test_what_fits_nothing_says_so_above_the_nearest(client: TestClient, fox: int) -> None:
    """A list all the same: who knows better than we do finds it there."""
    question = "tax declaration form of a small company"

    answer = client.get("/v1/search", params={"q": question}).json()
    page = client.get("/", params={"q": question, "lang": "en"}).text
    chinese = client.get("/", params={"q": question, "lang": "zh"}).text

    assert answer["fits"] is False
    assert fox in [result["adapter"]["id"] for result in answer["results"]]
    assert {result["band"] for result in answer["results"]} == {"probably not"}
    assert "Nothing fits" in page
    assert "Probably not these" in page
    assert "很可能不符" in chinese


def test_mixed_languages_find_what_either_says(client: TestClient, fox: int) -> None:
    for question in ("red fox", "红色的狐狸", "一只 red 狐狸"):
        answer = client.get("/v1/search", params={"q": question}).json()
        assert answer["results"][0]["adapter"]["id"] == fox, question


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"q": "fox", "license": "mit"}, "there is no 'license'; is 'licence' meant?"),
        ({"q": "fox", "lim": "3"}, "there is no 'lim'; is 'limit' meant?"),
        ({"query": "fox"}, "there is no 'query'; there are base_model, family, "),
        ({"q": "fox", "x" * 9000: "1"}, "there is no 'xxx"),
    ],
)
def test_a_name_that_there_is_not_is_told_with_the_one_meant(
    client: TestClient, asked: dict[str, str], said: str
) -> None:
    answer = client.get("/v1/search", params=asked)

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(said)
    assert len(answer.content) < 1000
    if "query" in asked:
        assert ", q, " in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("search?q=a&q=b", "q: came 2 times; give it once"),
        ("search?q=a&limit=1&limit=2&limit=3", "limit: came 3 times; give it once"),
        ("choose?prompt=a&prompt=b", "prompt: came 2 times; give it once"),
        ("choose?prompt=a&base_model=b&base_model=b", "base_model: came 2 times; give it once"),
        ("adapters?mature=hide&mature=only", "mature: came 2 times; give it once"),
        ("adapters/1/similar?sort=name&sort=name", "sort: came 2 times; give it once"),
        ("runs?cursor=a&cursor=b", "cursor: came 2 times; give it once"),
    ],
)
def test_what_is_asked_once_is_not_taken_from_the_last_of_several(
    client: TestClient, method: str, asked: str, said: str
) -> None:
    answer = client.request(method, f"/v1/{asked}")
    chinese = client.get(f"/v1/{asked}", headers={"Accept-Language": "zh"})

    assert answer.status_code == 422
    if method == "GET":
        assert answer.json()["detail"] == said
    assert "请只给一次" in chinese.json()["detail"]


@pytest.mark.parametrize("name", ["base_model", "family", "author", "tag", "licence", "hub"])
def test_filters_may_be_repeated(client: TestClient, fox: int, name: str) -> None:
    """What there is none of is told by the filter itself."""
    answer = client.get(f"/v1/adapters?{name}=x&{name}=y")

    assert answer.status_code in (200, 404, 422)
    assert "times" not in answer.text


def test_several_adapters_may_be_named(client: TestClient, fox: int) -> None:
    assert client.get(f"/v1/search?like={fox}&like={fox}").status_code == 200
    assert "times" not in client.get(f"/v1/choose?prompt=a&adapters={fox}&adapters={fox}").text


def test_a_page_makes_the_best_of_a_name_that_came_twice(client: TestClient, fox: int) -> None:
    assert client.get("/?q=fox&q=cat", headers={"Accept": "text/html"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"prompt": "fox", "step": 4}', "there is no 'step'; is 'steps' meant?"),
        (
            b'{"prompt": "fox", "adapters": [{"id": 1, "weight": 1}]}',
            "adapters.0: there is no 'weight'; there are id, strength.",
        ),
        (b'{"prompt":', "the body is no JSON: Expecting value, at letter 10"),
    ],
)
def test_a_body_that_makes_no_sense_is_told_with_what_would(
    client: TestClient, body: bytes, said: str
) -> None:
    answer = client.post("/v1/images", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["detail"]) == (422, said)


def test_a_body_in_other_letters_than_utf_8_is_told_of(client: TestClient) -> None:
    """As a program of Windows may write "é"."""
    body = '{"prompt": "caf\xe9"}'.encode("cp1252")

    answer = client.post("/v1/images", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, "UTF-8" in answer.json()["detail"]) == (400, True)


def test_a_body_that_was_not_sent_as_json_is_told_of(client: TestClient) -> None:
    """As curl sends what `-d` gives it."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = client.post("/v1/images", content=b'{"prompt": "fox"}', headers=form)

    assert answer.status_code == 422
    assert "send it with Content-Type: application/json" in answer.json()["detail"]


def test_an_address_that_there_is_not_is_told_with_where_all_are(client: TestClient) -> None:
    chinese = {"Accept-Language": "zh"}

    assert "/docs lists" in client.get("/v1/adapter/1").json()["detail"]
    assert "/docs" in client.get("/v1/adapter/1", headers=chinese).json()["detail"]
    wrong = client.put("/v1/images")
    assert wrong.json()["detail"] == "PUT is not for this address; GET, HEAD, POST may be."
    assert "GET, HEAD, POST" in client.put("/v1/images", headers=chinese).json()["detail"]
