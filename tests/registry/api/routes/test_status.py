"""What a registry says of itself, to its owner."""

import re
from datetime import UTC, datetime

from fastapi.testclient import TestClient

from registry.api.app import create_app
from registry.api.pages.texts import TEXTS, has_text
from registry.db import jobs, nights
from registry.db.models import CrawlCursor, CrawlRun
from registry.refresh.pipeline import STEPS
from registry.service import Registry
from tests.builders import add_adapter

DUE = datetime(2026, 1, 1, 3, tzinfo=UTC)
REPORT = {
    "sources": [{"source": "https://a.example", "error": "it does not <answer>"}],
    "fetched_bytes": 2_500_000,
    "canaries": {"recall": 0.95},
}


def fill(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session)
        add_adapter(session, state="refused", refusal="a pickle")
        add_adapter(session, state="refused", refusal="a pickle")
        jobs.sign_in(session, ["fetch", "read"])
        night_id = nights.begin(session, DUE)
        assert night_id is not None
        nights.finish(session, night_id, REPORT, None)
        run = CrawlRun(hub="h", endpoint="https://a.example", state="failed", error="<gone>")
        run.counts = {"fetch": {"ok": 3, "failed": 1}, "publish": {"ok": 4}, "problems": []}
        run.seconds, run.fetched_bytes = {"crawl": 0.5, "fetch": 2.5, "read": 1.0}, 1000
        session.add(run)
        session.add(CrawlCursor(hub="h", endpoint="https://a.example", updated_since=DUE))


def test_the_status_counts_what_hubs_withhold_by_reason(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session)
        for reason in ("it is <sold>", "it is <sold>", "it is early", ""):
            listed = add_adapter(session, state="listed")
            listed.file_sha256, listed.record = None, {**listed.record, "withheld": reason}

    assert client.get("/v1/status").json()["withheld"] == {"it is <sold>": 2, "it is early": 1}
    page = client.get("/status").text
    assert "it is &lt;sold&gt;" in page
    assert "Withheld by their hubs" in page


def test_the_status_says_what_is_here_and_who_works(client: TestClient, registry: Registry) -> None:
    fill(registry)

    status = client.get("/v1/status").json()

    assert status["states"] == {"ready": 1, "refused": 2}
    assert status["refusals"] == {"a pickle": 2}
    assert status["waiting"].keys() == {"fetch", "read", "encode", "embed"}
    assert status["queued"] == {}
    [worker] = status["workers"]
    assert (worker["queues"], worker["alive"]) == (["fetch", "read"], True)
    assert status["last_night"]["report"] == REPORT
    assert status["next_night"] is None
    [hub] = status["hubs"]
    assert (hub["endpoint"], hub["last_state"]) == ("https://a.example", "failed")
    assert hub["updated_since"].startswith("2026-01-01T03:00")
    assert status["disk"]["files"] == 3000
    assert 0 < status["disk"]["free"] < status["disk"]["total"]
    assert status["disk"]["database"] > 0


def test_nights_are_listed_page_by_page(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for day in (1, 2, 3):
            nights.begin(session, DUE.replace(day=day))

    first = client.get("/v1/nights", params={"limit": 2}).json()
    second = client.get("/v1/nights", params={"limit": 2, "cursor": first["next"]}).json()

    days = [night["due_at"][8:10] for night in [*first["items"], *second["items"]]]
    assert days == ["03", "02", "01"]
    # The earlier ones were never ended by anybody.
    assert [night["state"] for night in second["items"]] == ["failed"]
    assert second["next"] is None


def test_runs_tell_their_seconds_and_bytes(client: TestClient, registry: Registry) -> None:
    fill(registry)

    [run] = client.get("/v1/runs").json()["items"]

    # In the order of the steps.
    assert list(run["seconds"].items()) == [("crawl", 0.5), ("fetch", 2.5), ("read", 1.0)]
    assert run["fetched_bytes"] == 1000
    assert run["bytes_per_adapter"] == 250


def test_the_page_shows_the_status_in_both_languages(
    client: TestClient, registry: Registry
) -> None:
    fill(registry)

    english, chinese = (client.get(f"/status?lang={language}") for language in ("en", "zh"))

    assert english.status_code == chinese.status_code == 200
    for words in (
        'complete up to <time datetime="2026-01-01T03:00Z">2026-01-01 03:00 UTC</time>',
        "3.0 KB",
        "a pickle",
        "2026-01-01 03:00 UTC",
        "95 % of the test questions",
        "2.5 MB",
    ):
        assert words in english.text
    assert "状态" in chinese.text
    fetch, read = (TEXTS[f"status.step.{step}"][1] for step in ("fetch", "read"))
    assert f"{fetch}、{read}" in chinese.text
    assert '失败：<span lang="en">&lt;gone&gt;' in chinese.text
    # What strangers' hubs say is text.
    assert "&lt;gone&gt;" in english.text
    assert "it does not &lt;answer&gt;" in english.text
    assert "<gone>" not in english.text


def test_a_refresh_is_told_by_what_it_did(client: TestClient, registry: Registry) -> None:
    """A watched folder is looked at often, and mostly nothing in it has changed."""
    run = CrawlRun(hub="folder", endpoint="/zoo", state="done")
    run.counts = {
        "crawl": {"ok": 0, "failed": 2},
        "fetch": {"ok": 3, "failed": 0},
        "read": {"ok": 0, "failed": 0},
    }
    run.seconds = {"crawl": 0.1, "fetch": 0.1, "read": 0.0, "encode": 7.5}
    with registry.sessions.begin() as session:
        session.add(run)

    page = client.get("/status").text

    assert "list 0 (2 failed) (0.1 s) · download 3 (0.1 s) · encode captions" in page
    assert "(7.5 s)" in page


def test_a_folder_was_looked_at_whole_though_it_has_no_cursor(
    client: TestClient, registry: Registry
) -> None:
    whole, broken = datetime(2026, 3, 1, 4, tzinfo=UTC), datetime(2026, 3, 2, 4, tzinfo=UTC)
    folder = {"hub": "folder", "endpoint": "/zoo"}
    with registry.sessions.begin() as session:
        session.add(CrawlRun(**folder, started_at=whole, state="done", listed_all=True))
        session.add(CrawlRun(**folder, started_at=broken, state="failed", listed_all=False))
        # Another folder's end says nothing of it.
        session.add(CrawlRun(hub="folder", endpoint="/b", started_at=broken, state="failed"))

    first, second = client.get("/v1/status").json()["hubs"]

    assert (first["endpoint"], first["updated_since"]) == ("/b", None)
    assert (second["endpoint"], second["last_state"]) == ("/zoo", "failed")
    assert second["updated_since"].startswith("2026-03-01T04:00")


def test_the_page_names_what_failed_in_a_refresh(client: TestClient, registry: Registry) -> None:
    message = (
        "6 bytes are too few for a safetensors file: it was cut off; download or copy it again"
    )
    problems = [{"step": "crawl", "adapter": f"zoo/<{n}>", "message": message} for n in range(23)]
    with registry.sessions.begin() as session:
        run = CrawlRun(hub="folder", endpoint="/zoo", state="done")
        run.counts = {"crawl": {"ok": 0, "failed": 23}, "problems": problems}
        run.seconds = {"crawl": 0.5}
        session.add(run)

    english, chinese = (client.get(f"/status?lang={language}").text for language in ("en", "zh"))

    assert f"zoo/&lt;19&gt;: {message}" in english
    assert "zoo/&lt;20&gt;" not in english
    assert "And 3 more: “autolora runs --problems”." in english
    assert "zoo/&lt;0&gt;: 6 字节太少，不是完整的 safetensors 文件：文件不完整" in chinese


def test_the_page_counts_what_a_report_names_no_more(
    client: TestClient, registry: Registry
) -> None:
    """It keeps the first problems alone."""
    problems = [{"step": "read", "adapter": f"zoo/{n}", "message": "cut off"} for n in range(100)]
    with registry.sessions.begin() as session:
        run = CrawlRun(hub="folder", endpoint="/zoo", state="done")
        crawled, read = {"ok": 9, "failed": 5000}, {"ok": 0, "failed": 12}
        run.counts = {"crawl": crawled, "read": read, "problems": problems, "skipped": []}
        session.add(run)

    assert "(the first 20 of 5,012)" in client.get("/status").text


def test_every_step_and_end_of_a_refresh_has_a_word_in_both_languages(
    client: TestClient, registry: Registry
) -> None:
    fill(registry)

    page = client.get("/status?lang=zh", headers={"Accept": "text/html"}).text

    assert all(has_text(f"status.step.{step.name}") for step in STEPS)
    assert "下载 3 (1 个失败) (2.5 s)" in page
    # In the footer of every page too.
    assert f"最近刷新 {datetime.now(UTC):%Y-%m-%d}：失败" in page
    assert not re.search(r"\b(failed|crawl|fetch)\b", page.partition("<body")[2])


def test_a_step_that_is_not_known_here_is_shown_as_it_is_called(
    client: TestClient, registry: Registry
) -> None:
    """A report may be of a later version."""
    with registry.sessions.begin() as session:
        run = CrawlRun(hub="h", endpoint="https://a.example", state="done")
        run.counts, run.seconds = {}, {"polish": 1.0}
        session.add(run)

    assert "polish 0" in client.get("/status").text


def test_the_page_of_an_empty_registry(client: TestClient) -> None:
    assert "None: a refresh does all by itself." in client.get("/status?lang=en").text


def test_the_public_does_not_see_who_works_where(registry: Registry) -> None:
    registry.settings.public_read = True

    with TestClient(create_app(registry), base_url="http://127.0.0.1") as public:
        for path in ("/v1/status", "/v1/nights", "/status"):
            assert public.get(path).status_code == 404
