"""Favourites and their notes, over HTTP and by the forms of the pages."""

import pytest
from fastapi.testclient import TestClient

from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.routes.test_pages import Tags, get_page

HOSTILE = "<b>\u202e\0"


@pytest.fixture
def ids(registry: Registry) -> list[int]:
    with registry.sessions.begin() as session:
        return [add_adapter(session, name=name, words=name).id for name in ("fox", "owl", "hare")]


def listed(client: TestClient, **asked: object) -> list[tuple[int, str]]:
    answer = client.get("/v1/favourites", params=asked)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return [(item["adapter"]["id"], item["note"]) for item in answer.json()["items"]]


def test_favourites_are_marked_noted_and_unmarked(client: TestClient, ids: list[int]) -> None:
    fox, owl, _ = ids
    first = client.put(f"/v1/favourites/{fox}", json={"note": " for posters "})
    client.put(f"/v1/favourites/{owl}", json={})

    assert first.json()["note"] == "for posters"
    assert listed(client) == [(owl, ""), (fox, "for posters")]

    # Marked again, it is as long a favourite as before, and keeps its note unless one is given.
    again = client.put(f"/v1/favourites/{fox}", json={})
    assert (again.json()["since"], again.json()["note"]) == (first.json()["since"], "for posters")
    assert client.put(f"/v1/favourites/{fox}", json={"note": ""}).json()["note"] == ""

    for _ in range(2):
        assert client.delete(f"/v1/favourites/{owl}").status_code == 204
    assert listed(client) == [(fox, "")]


def test_pages_of_favourites_neither_overlap_nor_skip(client: TestClient, ids: list[int]) -> None:
    for id_ in ids:
        client.put(f"/v1/favourites/{id_}", json={})

    first = client.get("/v1/favourites", params={"limit": 2}).json()
    rest = listed(client, limit=2, cursor=first["next"])

    assert [item["adapter"]["id"] for item in first["items"]] == [ids[2], ids[1]]
    assert rest == [(ids[0], "")]
    assert client.get("/v1/favourites", params={"cursor": "made-up"}).status_code == 400


def test_what_is_not_here_is_no_favourite(client: TestClient) -> None:
    assert client.put("/v1/favourites/99", json={}).status_code == 404
    assert client.put("/v1/favourites/99", json={"note": "x" * 501}).status_code == 422


def test_search_and_lists_are_narrowed_to_favourites(client: TestClient, ids: list[int]) -> None:
    fox, *others = ids
    client.put(f"/v1/favourites/{fox}", json={})

    def found(favourite: str) -> set[int]:
        items = client.get("/v1/adapters", params={"favourite": favourite}).json()["items"]
        results = client.get("/v1/search", params={"q": "owl", "favourite": favourite}).json()
        assert {one["adapter"]["id"] for one in results["results"]} <= {it["id"] for it in items}
        return {item["id"] for item in items}

    assert found("yes") == {fox}
    assert found("no") == set(others)
    assert client.get("/v1/facets", params={"favourite": True}).json()["total"] == 1
    page = get_page(client, "/?favourite=yes")
    assert "<h2>1 adapter</h2>" in page
    assert "Favourite: yes" in page


def test_where_nothing_is_marked_it_is_said_how(client: TestClient, ids: list[int]) -> None:
    said = "The star of an adapter marks it"

    assert said in get_page(client, "/?favourite=yes")
    assert "点适配器上的星标即可收藏" in get_page(client, "/?favourite=yes&lang=zh")
    client.put(f"/v1/favourites/{ids[0]}", json={})
    assert said not in get_page(client, "/?favourite=yes&lang=en")


def test_the_forms_of_pages_mark_and_note(client: TestClient, ids: list[int]) -> None:
    fox = ids[0]
    form, page = f"/adapters/{fox}/favourite", f"/adapters/{fox}"

    answer = client.post(form, data={"starred": "yes"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{page}#favourite")
    assert 'aria-pressed="true"' in get_page(client, "/")

    client.post(form, data={"starred": "yes", "with_note": "yes", "note": "for posters"})
    assert 'name="note" maxlength="500" value="for posters"' in get_page(client, page)
    # A star that is set again, in a tile of an older page, says nothing of notes.
    client.post(form, data={"starred": "yes"})
    assert "for posters" in get_page(client, "/")
    client.post(form, data={"starred": "yes", "with_note": "yes", "note": ""})
    assert listed(client) == [(fox, "")]

    client.post(form, data={"starred": ""})
    assert listed(client) == []


def test_pages_of_other_sites_mark_nothing(client: TestClient, ids: list[int]) -> None:
    evil = {"Origin": "http://evil.example"}

    form = client.post(f"/adapters/{ids[0]}/favourite", data={"starred": "yes"}, headers=evil)
    put = client.put(f"/v1/favourites/{ids[0]}", json={}, headers=evil)

    assert form.status_code == put.status_code == 403
    assert listed(client) == []


def test_notes_are_shown_as_text(client: TestClient, ids: list[int]) -> None:
    stored = client.put(f"/v1/favourites/{ids[0]}", json={"note": HOSTILE})
    assert stored.status_code == 200, stored.text

    for url in ("/", f"/adapters/{ids[0]}"):
        page = get_page(client, url)
        assert "<b>\\" not in page
        assert "&lt;b&gt;\\u202e" in page
        assert Tags(page).scripts == 0
