"""Search, lists, files and errors over HTTP."""

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import load_file, save_file
from sqlalchemy import select, text

from encoder.adapter.safetensors_header import read_header
from encoder.errors import LoraFileError
from registry.api.errors import log_hidden, problem_of
from registry.connection import own_version
from registry.db.encoder_models import Encoder
from registry.db.encoders import get_encoder
from registry.db.migrate import newest_revision
from registry.db.models import Adapter, CrawlRun, File
from registry.errors import DatabaseError, DatabaseLostError, DiskFullError, EncoderRejectedError
from registry.fusion.errors import BaseModelError, GatesFileError
from registry.service import Registry
from tests.builders import add_adapter, axis
from tests.registry.api.conftest import add_cover, add_file
from tests.registry.conftest import add_real_encoder, embed


def test_search_answers_with_signals_and_covers(client: TestClient, registry: Registry) -> None:
    add_real_encoder(registry)
    adapter = add_cover(registry)

    answer = client.get("/v1/search", params={"q": "red", "limit": 5}).json()

    [result] = answer["results"]
    assert result["adapter"]["id"] == adapter.id
    assert result["signals"] == {
        "weights": None,
        "captions": pytest.approx(1, abs=0.01),
        "words": 1,
    }
    assert result["positions"] == {"weights": None, "captions": 1, "words": 1}
    assert result["exact"]
    assert client.get(result["adapter"]["covers"][0]["thumbnail_url"]).status_code == 200


def test_search_filters(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, words="fox")
        add_adapter(session, words="fox", author="Ann", tags=["a", "B"], licence="MIT")
        add_adapter(session, words="train", tags=["c"])

    def found(**params: str | list[str]) -> int:
        return len(client.get("/v1/search", params={"q": "fox", **params}).json()["results"])

    assert found() == 2
    assert found(author="ann", tag=["b", "A"], licence="mit", hub="ModelScope") == 1
    assert found(author=["ann", "someone"]) == found(max_size="1kB", mature="hide") == 2
    assert found(commercial="true") == 1
    assert found(tag=["a", "c"]) == found(trigger_words="true") == 0


def test_an_empty_question_lists_what_filters_let_through(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        ids = [add_adapter(session, author="ann", name=name).id for name in ("b", "a", "c")]
        add_adapter(session)

    def listed(**params: str) -> tuple[list[int], str | None]:
        answer = client.get("/v1/search", params={"author": "ann", "limit": "2", **params}).json()
        assert {(one["score"], one["band"]) for one in answer["results"]} == {(None, None)}
        return [one["adapter"]["id"] for one in answer["results"]], answer["next"]

    first, cursor = listed(q="  ")
    assert cursor is not None
    second, end = listed(cursor=cursor)
    assert [*first, *second] == ids[::-1]
    assert end is None
    assert listed(sort="name")[0] == [ids[1], ids[0]]
    other = client.get("/v1/search", params={"q": "fox", "cursor": cursor})
    assert other.status_code == 400


@pytest.mark.parametrize(
    ("params", "status", "words"),
    [
        ({"author": "nobody"}, 422, "There are: someone."),
        ({"sort": "best"}, 422, "it is one of relevance, name"),
        ({"q": "fox", "limit": "0"}, 422, "limit"),
        ({"q": "fox", "limt": "5"}, 422, "limt"),
        ({"q": "fox", "base_model": "sd-9"}, 404, "sd-9"),
        ({"q": "fox", "author": "nobody"}, 422, "There are: someone."),
        ({"q": "fox", "tags": "a"}, 422, "tags"),
        ({"q": "fox", "min_size": "big"}, 422, "write a size, like 200MB"),
        ({"q": "fox", "updated_since": "May"}, 422, "write a day, like 2026-01-31"),
        ({"q": "fox", "min_rank": "9", "max_rank": "8"}, 422, "nothing is both"),
        (
            {"q": "fox", "updated_since": "2026-02-01", "updated_before": "2026-01-01"},
            422,
            "updated_since is 2026-02-01 and updated_before is 2026-01-01: nothing is both",
        ),
    ],
)
def test_errors_are_problem_documents(
    client: TestClient, registry: Registry, params: dict[str, str], status: int, words: str
) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session)

    answer = client.get("/v1/search", params=params)

    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert answer.json()["type"].startswith("urn:autolora:problem:")


def test_an_empty_index_says_what_fills_it(client: TestClient) -> None:
    """And not to come back in some seconds, when it would be as empty."""
    answer = client.get("/v1/search", params={"q": "fox"})

    assert (answer.status_code, "retry-after" in answer.headers) == (503, False)
    assert "autolora refresh" in answer.json()["detail"]


def test_pages_of_a_list_neither_overlap_nor_skip(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        ids = [add_adapter(session).id for _ in range(7)]
        add_adapter(session, state="refused")

    seen: list[int] = []
    cursor: str | None = None
    while True:
        params = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/adapters", params=params).json()
        seen += [item["id"] for item in page["items"]]
        # One that appears meanwhile must not shift the pages.
        with registry.sessions.begin() as session:
            add_adapter(session)
        cursor = page["next"]
        if cursor is None:
            break

    assert seen == ids[::-1]


@pytest.mark.parametrize("cursor", ["x", "aWQ6LTE", "aWQ6OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "é"])
def test_a_made_up_cursor_is_refused(client: TestClient, cursor: str) -> None:
    assert client.get("/v1/adapters", params={"cursor": cursor}).status_code == 400


def test_a_cursor_goes_on_with_its_own_question_only(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        for _ in range(4):
            add_adapter(session)
    asked = {"limit": "2", "sort": "name"}
    cursor = client.get("/v1/adapters", params=asked).json()["next"]

    good = client.get("/v1/adapters", params=asked | {"cursor": cursor})
    other = client.get("/v1/adapters", params=asked | {"cursor": cursor, "sort": "downloads"})

    assert (good.status_code, other.status_code) == (200, 400)
    assert "of another question" in other.json()["detail"]
    assert client.get("/v1/runs", params={"cursor": cursor}).status_code == 400


def test_a_list_says_how_many_there_are(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for _ in range(3):
            add_adapter(session)
        add_adapter(session, state="refused", author="bob")

    page = client.get("/v1/adapters", params={"limit": 2}).json()
    refused = client.get("/v1/adapters", params={"state": "refused", "author": "BOB"}).json()
    wrong = client.get("/v1/adapters", params={"state": "refused", "min_rank": "4"})

    assert (len(page["items"]), page["total"], page["total_exact"]) == (2, 3, True)
    assert [item["state"] for item in refused["items"]] == ["refused"]
    assert wrong.status_code == 422


def test_facets_count_what_filters_let_through(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, author="ann", tags=["fox"])
        add_adapter(session, author="bob")

    answer = client.get("/v1/facets", params={"author": "ann"}).json()

    facets = {facet["name"]: facet["values"] for facet in answer["facets"]}
    assert (answer["total"], answer["total_exact"], answer["about"]) == (1, True, 1)
    assert facets["tag"] == [{"value": "fox", "count": 1}]
    assert len(facets["author"]) == 2


def test_an_adapter_in_full(client: TestClient, registry: Registry) -> None:
    adapter_id = add_file(registry, 1, "fox", "a fox")

    answer = client.get(f"/v1/adapters/{adapter_id}").json()

    assert answer["verdict"]["fusable"] is True
    assert answer["covers"][0]["prompt"] == "a fox"
    assert answer["file_url"] == f"/v1/adapters/{adapter_id}/file"
    assert client.get("/v1/adapters/999").status_code == 404
    assert client.get(f"/v1/adapters/{2**53}").status_code == 422


def test_similar_adapters(client: TestClient, registry: Registry) -> None:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = add_adapter(session, embedding=embed(registry, "a fox"))
        wolf = add_adapter(session, embedding=embed(registry, "a wolf"))

    answer = client.get(f"/v1/adapters/{fox.id}/similar").json()

    assert answer["compared_by"] == "encoder"
    [other] = answer["results"]
    assert other["adapter"]["id"] == wolf.id
    assert 0.3 < other["signals"]["weights"] < 1


def test_covers_are_kept_by_their_hash(client: TestClient, registry: Registry) -> None:
    adapter = add_cover(registry)
    url = f"/v1/adapters/{adapter.id}/covers/0"

    plain = client.get(url)
    versioned = client.get(client.get(f"/v1/adapters/{adapter.id}").json()["covers"][0]["url"])
    again = client.get(url, headers={"If-None-Match": plain.headers["etag"]})

    assert plain.headers["content-type"] == "image/webp"
    assert plain.headers["cache-control"] == "no-cache"
    assert "immutable" in versioned.headers["cache-control"]
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"{url}?v=aaaaaaaaaaaa").headers["cache-control"] == "no-cache"
    assert client.get(f"/v1/adapters/{adapter.id}/covers/7").status_code == 404


def test_a_file_is_downloaded_whole_or_in_part(client: TestClient, registry: Registry) -> None:
    url = f"/v1/adapters/{add_file(registry, 1, 'fox')}/file"

    answer = client.get(url)
    part = client.get(url, headers={"Range": "bytes=8-15"})

    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert 'filename="fox.safetensors"' in answer.headers["content-disposition"]
    assert (part.status_code, part.content) == (206, answer.content[8:16])


@pytest.mark.parametrize(("method", "asked"), [("GET", "letters=1-2"), ("HEAD", "bytes=8-15")])
def test_a_range_that_means_nothing_is_passed_over(
    client: TestClient, registry: Registry, method: str, asked: str
) -> None:
    """RFC 9110, 14.2: of units that are not known, and wherever the method is not GET."""
    url = f"/v1/adapters/{add_file(registry, 1, 'fox')}/file"
    whole = client.request(method, url)

    answer = client.request(method, url, headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, whole.content)
    assert answer.headers["content-length"] == whole.headers["content-length"]


def test_a_part_that_a_file_does_not_have_is_a_problem_like_others(
    client: TestClient, registry: Registry
) -> None:
    url = f"/v1/adapters/{add_file(registry, 1, 'fox')}/file"
    length = client.get(url).headers["content-length"]

    beyond = client.get(url, headers={"Range": f"bytes={length}-"})
    unread = client.get(url, headers={"Range": "bytes=5-3"})
    chinese = client.get(url, headers={"Range": f"bytes={length}-", "Accept-Language": "zh"})

    assert beyond.status_code == 416
    assert beyond.headers["content-type"] == "application/problem+json"
    assert beyond.headers["content-range"] == f"bytes */{length}"
    assert "does not have" in beyond.json()["detail"]
    assert "超出文件" in chinese.json()["detail"]
    assert (unread.status_code, unread.json()["status"]) == (400, 400)
    assert "bytes=0-1023" in unread.json()["detail"]


def test_a_file_that_is_not_here(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        dropped = add_adapter(session)

    answer = client.get(f"/v1/adapters/{dropped.id}/file")

    assert answer.status_code == 404
    assert "the blob store has no" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("page_url", "is_told"),
    [("https://civitai.com/models/7", True), ("file:///home/ann/private/me.safetensors", False)],
)
def test_a_file_that_is_not_kept_is_told_of_without_folders_of_this_machine(
    client: TestClient, registry: Registry, page_url: str, is_told: bool
) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, page_url=page_url)
        session.get_one(File, adapter.file_sha256).state = "dropped"

    answer = client.get(f"/v1/adapters/{adapter.id}/file")

    assert answer.status_code == 404
    assert "not kept here" in answer.json()["detail"]
    assert (page_url in answer.json()["detail"]) == is_told


def test_runs_are_listed_newest_first(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for state in ("done", "failed"):
            session.add(
                CrawlRun(
                    hub="modelscope", endpoint="here", state=state, counts={"fetch": {"ok": 1}}
                )
            )
            session.flush()

    first = client.get("/v1/runs", params={"limit": 1}).json()
    second = client.get("/v1/runs", params={"limit": 1, "cursor": first["next"]}).json()

    assert [page["items"][0]["state"] for page in (first, second)] == ["failed", "done"]
    assert second["next"] is None


def test_health_and_readiness(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session)

    assert client.get("/healthz").json() == {
        "status": "ok",
        "version": own_version(),
        "instance": None,
    }
    assert client.get("/readyz").json()["base_models"] == {"demo-flux-tiny": 1}


def test_it_is_not_ready_without_an_encoders_checkpoint(
    client: TestClient, registry: Registry
) -> None:
    name = add_real_encoder(registry)
    for checkpoint in registry.settings.blobs.glob("*/*"):
        checkpoint.unlink()

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert f"the checkpoint of encoder {name} is not in the blob store" in answer.json()["detail"]


def test_an_encoder_that_cannot_be_read_is_told_with_what_to_do(
    client: TestClient, registry: Registry
) -> None:
    """As after an upgrade: what another version wrote is no checkpoint here."""
    name = add_real_encoder(registry)
    with registry.sessions.begin() as session:
        add_adapter(session)
        encoder = get_encoder(session, name)
        path = registry.blobs.path(encoder.checkpoint_sha256)
    arrays = load_file(path)
    header = dict(read_header(path).metadata)
    path.chmod(0o600)
    save_file({**arrays, "unheard_of": np.zeros(1, np.float32)}, path, metadata=header)

    answer = client.get("/v1/search", params={"q": "a neon cat"})

    assert answer.status_code == 503
    assert f"encoder {name} cannot be read" in answer.json()["detail"]
    assert "autolora encoders add" in answer.json()["detail"]


def test_it_is_not_ready_on_a_schema_of_another_version(
    client: TestClient, registry: Registry
) -> None:
    change = text("UPDATE alembic_version SET version_num = :version")
    with registry.sessions.begin() as session:
        session.execute(change, {"version": "9999"})
    try:
        answer = client.get("/readyz")
    finally:
        with registry.sessions.begin() as session:
            session.execute(change, {"version": newest_revision()})

    assert answer.status_code == 503
    assert "schema is at 9999" in answer.json()["detail"]
    assert client.get("/readyz").status_code == 200


def test_the_openapi_document_describes_every_route(client: TestClient) -> None:
    paths = client.get("/v1/openapi.json").json()["paths"]

    assert {"/v1/search", "/v1/fuse", "/v1/runs", "/readyz"} <= paths.keys()
    assert "/" not in paths


def test_docs_are_served_from_here(client: TestClient) -> None:
    """Whatever the page names comes from this server: no CDN learns who reads."""
    page = client.get("/docs").text

    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(set(named)) == 6
    for address in named:
        assert address.startswith("/")
        assert client.get(address).status_code == 200
    assert "<script>" not in page


def test_docs_lead_back_to_the_pages(client: TestClient) -> None:
    english, chinese = (
        client.get("/docs", headers={"Accept-Language": code}).text for code in ("en", "zh")
    )

    assert '<a href="/">Back to search</a>' in english
    assert '<a href="/">返回搜索</a>' in chinese


def test_an_adapter_is_not_sent_again_to_who_has_it(client: TestClient, registry: Registry) -> None:
    adapter_id = add_file(registry, 1, "fox")
    url = f"/v1/adapters/{adapter_id}"
    tag = client.get(url).headers["etag"]

    same = [
        client.get(url, headers={"If-None-Match": known}) for known in (tag, f'"x", {tag}', "*")
    ]
    other = client.get(url, headers={"If-None-Match": '"x"'})
    with registry.sessions.begin() as session:
        session.get_one(Adapter, adapter_id).name = "wolf"
    changed = client.get(url, headers={"If-None-Match": tag})

    assert [(answer.status_code, answer.content) for answer in same] == [(304, b"")] * 3
    assert [answer.status_code for answer in (other, changed)] == [200, 200]
    assert changed.json()["name"] == "wolf"


def test_a_file_is_not_sent_again_to_who_has_it(client: TestClient, registry: Registry) -> None:
    url = f"/v1/adapters/{add_file(registry, 1, 'fox')}/file"
    head = client.head(url)

    again = client.get(url, headers={"If-None-Match": head.headers["etag"]})

    assert (head.status_code, head.content, again.status_code) == (200, b"", 304)
    assert int(head.headers["content-length"]) > 0


def test_answers_are_compressed_and_weights_are_not(client: TestClient, registry: Registry) -> None:
    adapter_id = add_file(registry, 1, "fox")
    asked = {"Accept-Encoding": "gzip"}

    json, file = (
        client.get(f"/v1/adapters/{adapter_id}{end}", headers=asked) for end in ("", "/file")
    )

    assert json.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in file.headers


@pytest.mark.parametrize(
    "name", ['a"; filename="b', "a\r\nSet-Cookie: x", "狐狸.safetensors", "a\\b"]
)
def test_a_files_name_stays_in_its_header(
    client: TestClient, registry: Registry, name: str
) -> None:
    adapter_id = add_file(registry, 1, "fox")
    with registry.sessions.begin() as session:
        session.get_one(Adapter, adapter_id).file_name = f"sub/{name}"

    answer = client.get(f"/v1/adapters/{adapter_id}/file")

    assert answer.headers["content-disposition"] == f"attachment; filename*=utf-8''{quote(name)}"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("state", ["refused", "gone"])
def test_a_refused_file_is_not_handed_out(
    client: TestClient, registry: Registry, state: str
) -> None:
    """Neither by its adapter nor by its hash; what was refused and then vanished is no better."""
    adapter_id = add_file(registry, 1, "fox")
    with registry.sessions.begin() as session:
        adapter = session.get_one(Adapter, adapter_id)
        adapter.state, adapter.refusal = state, "it is a pickle"
        sha256 = adapter.file_sha256

    by_id = client.get(f"/v1/adapters/{adapter_id}/file")
    by_hash = client.get(f"/v1/files/{sha256}")

    assert (by_id.status_code, by_hash.status_code) == (403, 404)
    assert "it is a pickle" in by_id.json()["detail"]
    assert client.get(f"/v1/adapters/{adapter_id}").json()["file_url"] is None


@pytest.mark.parametrize("state", ["listed", "gone"])
def test_a_file_that_was_refused_meanwhile_is_not_handed_out(
    client: TestClient, registry: Registry, state: str
) -> None:
    """Its adapter was given it later, or was gone by then: it has no refusal of its own."""
    adapter_id = add_file(registry, 1, "fox")
    with registry.sessions.begin() as session:
        adapter = session.get_one(Adapter, adapter_id)
        adapter.state, sha256 = state, adapter.file_sha256
        session.get_one(File, sha256).refusal = "it draws something else"

    by_id = client.get(f"/v1/adapters/{adapter_id}/file")
    by_hash = client.get(f"/v1/files/{sha256}")

    assert (by_id.status_code, by_hash.status_code) == (403, 404)
    assert "it draws something else" in by_id.json()["detail"]
    [listed] = client.get("/v1/adapters", params={"state": state}).json()["items"]
    assert listed["refusal"] == "it draws something else"


def test_a_file_that_vanished_from_its_hub_is_still_had(
    client: TestClient, registry: Registry
) -> None:
    """Recipes name it by its hash."""
    adapter_id = add_file(registry, 1, "fox")
    with registry.sessions.begin() as session:
        adapter = session.get_one(Adapter, adapter_id)
        adapter.state, sha256 = "gone", adapter.file_sha256

    assert client.get(f"/v1/files/{sha256}").status_code == 200


def test_a_hash_that_was_never_seen_is_told_from_a_file_that_was_lost(
    client: TestClient, registry: Registry
) -> None:
    """To list a hub anew brings back a file that is known, and no other."""
    adapter_id = add_file(registry, 1, "fox")
    with registry.sessions.begin() as session:
        lost = session.get_one(Adapter, adapter_id).file_sha256
    assert lost is not None
    registry.blobs.path(lost).unlink()

    never_seen = client.get(f"/v1/files/{'0' * 64}")
    gone = client.get(f"/v1/files/{lost}")

    assert (never_seen.status_code, gone.status_code) == (404, 404)
    assert f"no adapter that is ready here has a file with the hash {'0' * 64}" in never_seen.text
    assert "refresh" not in never_seen.text
    assert "Run `autolora refresh --full`" in gone.json()["detail"]


def test_a_file_that_nobody_has_read_is_not_handed_out(
    client: TestClient, registry: Registry
) -> None:
    adapter_id = add_file(registry, 1, "fox")
    with registry.sessions.begin() as session:
        adapter = session.get_one(Adapter, adapter_id)
        file = session.get_one(File, adapter.file_sha256)
        adapter.state, file.verdict, file.read_at = "listed", None, None

    assert client.get(f"/v1/adapters/{adapter_id}/file").status_code == 409
    assert client.get(f"/v1/files/{file.sha256}").status_code == 404


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatabaseError("PostgreSQL in /home/ann/x does not start: FATAL: /home/ann/x/log"), 503),
        (DatabaseLostError("FATAL: /home/ann/x"), 503),
        (DiskFullError(Path("/home/ann/x")), 507),
        (EncoderRejectedError("/home/ann/x is no encoder"), 500),
        (LoraFileError("/home/ann/x", "/home/ann/x is cut"), 500),
        (BaseModelError(Path("/home/ann/x"), "no scheduler"), 409),
        (GatesFileError(Path("/home/ann/x"), "no gates"), 409),
    ],
    ids=lambda value: type(value).__name__,
)
def test_folders_of_the_machine_are_for_the_log(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asks learns that it failed; who runs the registry learns why."""
    problem = problem_of(error)
    log_hidden("/v1/search", error)

    assert problem["status"] == status
    assert "/home/ann" not in str(problem)
    assert "/home/ann/x" in caplog.text


def test_who_asks_while_the_database_is_away_is_told_to_ask_again() -> None:
    """A program that asks has no command that it could run again, and no log."""
    said = str(problem_of(DatabaseLostError("FATAL: shutting down"))["detail"])

    assert "database cannot be reached; send the request again" in said
    assert "command" not in said


def test_a_path_cannot_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log_hidden("/x\n2026-11-27 all is well\x1b[2J", DatabaseError("down"))

    assert caplog.text.count("\n") == 1
    assert "\x1b" not in caplog.text


def test_more_like_this_and_less_like_that(client: TestClient, registry: Registry) -> None:
    name = add_real_encoder(registry)
    with registry.sessions.begin() as session:
        encoder = session.scalars(select(Encoder).where(Encoder.name == name)).one()
        ids = {
            text: add_adapter(
                session, name=text, embedding=embed(registry, text), encoder=encoder
            ).id
            for text in ("a red fox", "a fox in snow", "a fast car", "an old car", "a bowl of soup")
        }

    def found(**params: Any) -> list[int]:
        answer = client.get("/v1/search", params=params).json()
        assert answer["compared_by"][0] == "weights"
        assert answer["base_models"] == [n for n in [params.get("base_model")] if n]
        return [result["adapter"]["id"] for result in answer["results"]]

    fox, snow = ids["a red fox"], ids["a fox in snow"]
    car, old = ids["a fast car"], ids["an old car"]
    assert found(like=fox)[0] == snow
    assert set(found(like=[fox, car])[:2]) == {snow, old}
    assert found(like=[fox, car], unlike=old, base_model="demo-flux-tiny")[0] == snow
    assert found(like=fox, q="car", unlike_text="snow")[0] in (car, old)


def test_what_is_alike_is_paged(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        ids = [
            add_adapter(session, captions=[(text, embed(registry, text))]).id
            for text in ("a fox", "a red fox", "two foxes", "a car", "a boat", "soup")
        ]

    def page(**params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = client.get("/v1/search", params={"limit": 2, **params}).json()
        return answer

    seen: list[int] = []
    answer = page(like=ids[0])
    while True:
        seen += [result["adapter"]["id"] for result in answer["results"]]
        if answer["next"] is None:
            break
        answer = page(like=ids[0], cursor=answer["next"])

    assert set(seen[:2]) == {ids[1], ids[2]}
    assert sorted(seen) == sorted(ids[1:])
    other = page(like=ids[1], cursor=page(like=ids[0])["next"])
    assert other["status"] == 400
    assert page(q="fox", cursor=page(like=ids[0])["next"])["status"] == 400


@pytest.mark.parametrize(
    ("params", "status", "words"),
    [
        ({"like": 999}, 404, "there is no adapter 999"),
        ({"like": 0}, 422, "like"),
        ({"like": "x"}, 422, "like"),
        ({"like": list(range(1, 12))}, 422, "11 adapters are given as 'like'"),
        ({"q": "fox", "unlike": list(range(1, 12))}, 422, "11 adapters are given as 'unlike'"),
        ({"like": [1, 2], "unlike": 2}, 422, "adapter 2 is given both"),
        ({"unlike": 1}, 422, "nothing what like"),
    ],
)
def test_what_is_alike_to_nothing(
    client: TestClient, registry: Registry, params: dict[str, Any], status: int, words: str
) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session)

    answer = client.get("/v1/search", params=params)

    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_the_page_keeps_what_was_chosen_in_its_address(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        captions = [("a fox", axis(1))]
        one, two = (add_adapter(session, name=name, captions=captions).id for name in "ab")

    front = client.get("/", params={"author": "someone"}).text
    assert f'href="/?author=someone&amp;like={one}"' in front

    page = client.get("/", params={"like": one, "author": "someone"}).text
    assert f'<input type="hidden" name="like" value="{one}">' in page
    # Removed, added to, and changed over.
    assert 'href="/?author=someone"' in page
    assert f'href="/?like={one}&amp;author=someone&amp;unlike={two}"' in page
    assert f'href="/?like={one}"' in client.get(f"/adapters/{one}").text


def test_less_like_this_is_offered_where_something_says_what_results_should_be_like(
    client: TestClient, registry: Registry
) -> None:
    """Nothing can be found by what it should not be like alone."""
    with registry.sessions.begin() as session:
        captions = [("a fox", axis(1))]
        one, two = (
            add_adapter(session, name=name, words="fox", captions=captions).id for name in "ab"
        )
    more, less = "More like this", "Not like this"

    for nothing_asked in ("/", "/?author=someone", f"/adapters/{one}"):
        page = client.get(nothing_asked).text
        assert more in page
        assert less not in page
    assert less in client.get("/?q=fox").text
    other = f'href="/?like={one}&amp;unlike={two}" aria-label="{less}: b"'
    assert other in client.get(f"/?like={one}").text


@pytest.mark.parametrize(
    ("language", "said"), [("en", "Nothing says yet what"), ("zh", "还没有说明想要什么样的结果")]
)
def test_what_results_should_be_unlike_waits_for_what_they_should_be_like(
    client: TestClient, registry: Registry, language: str, said: str
) -> None:
    """Whoever empties the search box, or takes back the last “like”, is told so over the list."""
    with registry.sessions.begin() as session:
        one, two = (add_adapter(session, name=name, words="fox").id for name in "ab")

    page = client.get(f"/?unlike={one}&q=", headers={"Accept-Language": language})

    assert page.status_code == 200
    assert said in page.text
    assert f'href="/adapters/{two}"' in page.text
    # It can be taken back, and is kept for the question.
    assert f'name="unlike" value="{one}"' in page.text
    assert said not in client.get("/", headers={"Accept-Language": language}).text


def test_filters_and_orders_are_written_as_people_do(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        for name, base_model in (("B", "flux.1-dev"), ("A", "flux.2-dev"), ("C", "sd-1.5")):
            add_adapter(session, name=name, words="fox", base_model=base_model)

    asked = {"base_model": "flux", "sort": "NAME", "state": "Ready", "mature": "Any"}
    answer = client.get("/v1/adapters", params=asked).json()
    searched = client.get("/v1/search", params={"q": "fox", "family": "flux", "sort": "Name"})
    page = client.get("/", params={"q": "fox", "base_model": "flux", "sort": "NAME"})

    assert [item["name"] for item in answer["items"]] == ["A", "B"]
    assert [result["adapter"]["name"] for result in searched.json()["results"]] == ["A", "B"]
    assert page.status_code == 200
    liked = {"like": answer["items"][0]["id"], "base_model": "flux"}
    assert client.get("/v1/search", params=liked).status_code == 200
    refused = client.get("/v1/search", params={"q": "fox", "base_model": "hunyuan"}).json()
    assert "'hunyuan'. Ready are: flux.1-dev, flux.2-dev, sd-1.5" in refused["detail"]


def test_images_are_drawn_with_one_of_the_base_models_that_a_word_may_mean(
    registry: Registry,
) -> None:
    with registry.sessions.begin() as session:
        for base_model in ("flux.2-dev", "flux.1-dev", "flux.1-dev", *["sd-1.5"] * 3):
            add_adapter(session, name="Fox", words="fox", base_model=base_model)

    chosen = registry.choose("fox", 1, base_model="flux")

    assert [choice.card.base_model for choice in chosen] == ["flux.1-dev"]


def test_a_question_is_sorted_alike_over_http_and_on_the_page(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        for name in ("Brown", "Agile", "Cunning"):
            add_adapter(session, name=name, words=f"fox {name}")

    answer = client.get("/v1/search", params={"q": "fox", "sort": "name", "limit": 2}).json()
    page = client.get("/", params={"q": "fox", "sort": "name"}).text

    assert [result["adapter"]["name"] for result in answer["results"]] == ["Agile", "Brown"]
    following = {"q": "fox", "sort": "name", "limit": 2, "cursor": answer["next"]}
    rest = client.get("/v1/search", params=following).json()
    assert [result["adapter"]["name"] for result in rest["results"]] == ["Cunning"]
    assert page.index("Agile") < page.index("Brown") < page.index("Cunning")
    assert 'class="band"' not in page
    assert 'class="band"' in client.get("/", params={"q": "fox"}).text
