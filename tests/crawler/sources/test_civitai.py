"""The source of Civitai against the loopback hub."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from crawler.errors import (
    AccessDeniedError,
    AddressRefusedError,
    HashMismatchError,
    SourceError,
    WithheldError,
)
from crawler.filters import Filters
from crawler.manners import Manners
from crawler.records import AdapterRecord, Refusal, Remembered, SweptSource
from crawler.sources.civitai import MAX_DETAILS, CivitaiSource, beginning_with
from crawler.sources.civitai_detail import find_files, has_no_adapter, read_listed, read_version
from crawler.sources.walking import ListedItem
from demo.hub.civitai import CivitaiHub, serve
from demo.hub.handler import HubHandler
from tests.crawler.builders import DAY_SECONDS, FIRST_DAY, add_entry

NAMES = ["cat", "dog", "fox", "ice", "owl"]
DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[CivitaiHub]:
    """Five models with a version each, changed a day apart."""
    for name in NAMES:
        add_entry(tmp_path / "zoo", name)
    with serve(tmp_path / "zoo") as hub:
        yield hub


@pytest.fixture
def source(hub: CivitaiHub) -> Iterator[CivitaiSource]:
    with CivitaiSource(hub.endpoint, "tok", page_size=2, manners=Manners(attempts=1)) as source:
        yield source


def records(source: CivitaiSource, since: datetime | None = None) -> list[AdapterRecord]:
    found = list(source.list_adapters(since))
    assert [item for item in found if isinstance(item, Refusal)] == []
    return [item for item in found if isinstance(item, AdapterRecord)]


def names(found: list[AdapterRecord]) -> list[str]:
    return [record.name.removeprefix("The ") for record in found]


def day(number: int) -> datetime:
    return datetime.fromtimestamp(FIRST_DAY + number * DAY_SECONDS, UTC)


def asked(hub: CivitaiHub, route: str) -> list[str]:
    paths = [urlsplit(path).path for _, path, _ in hub.requests]
    return [path.removeprefix(f"/api/v1/{route}/") for path in paths if f"/{route}/" in path]


def test_every_page_is_listed_oldest_change_first(source: CivitaiSource) -> None:
    found = records(source)

    assert names(found) == NAMES
    assert [record.updated_at for record in found] == [day(n) for n in range(5)]


def test_a_record_carries_what_the_hub_says(hub: CivitaiHub, source: CivitaiSource) -> None:
    record = records(source)[1]

    assert (record.hub, record.repo, record.version) == ("civitai", "11", "101")
    assert (record.name, record.author, record.downloads) == ("The dog", "alice", 1)
    assert (record.description, record.trigger_words) == ("Draws a dog.", ("dog",))
    assert (record.base_model_words, record.tags) == (("AutoLoRA/demo-flux-tiny",), ("LoRA",))
    assert record.file.sha256 == hub.sha256(hub.entries[1]["file"])
    assert record.file.size == hub.size(hub.entries[1]["file"])
    assert [cover.prompt for cover in record.covers] == ["a dog on white"]
    assert "/width=450/" in record.covers[0].url
    assert record.page_url == f"{hub.endpoint}/models/11?modelVersionId=101"
    assert (record.mature, record.withheld) == (False, "")


def test_a_later_crawl_asks_only_for_what_changed(hub: CivitaiHub, source: CivitaiSource) -> None:
    hub.entries[0]["updated_at"] = FIRST_DAY + 9 * DAY_SECONDS

    assert names(records(source, day(3))) == ["ice", "owl", "cat"]
    assert asked(hub, "model-versions") == ["103", "104", "100"]


def test_what_is_listed_late_is_found_behind_the_cursor(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    """Models show when their pictures are rated, at the place of when they were published."""
    known = remember(records(source))
    del known["12"]
    hub.entries[1]["updated_at"] += 60
    hub.requests.clear()

    found = list(source.list_adapters(day(3), known))

    assert names([item for item in found if isinstance(item, AdapterRecord)]) == [
        "dog", "fox", "ice", "owl"
    ]  # fmt: skip
    assert asked(hub, "model-versions") == ["101", "102", "103", "104"]


def test_what_is_known_behind_the_cursor_is_not_asked_for_again(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    known = remember(records(source))
    hub.requests.clear()

    found = list(source.list_adapters(day(4), known))

    assert len(found) == 1
    assert asked(hub, "model-versions") == ["104"]
    batches = [parse_qs(urlsplit(path).query).get("ids") for _, path, _ in hub.requests]
    assert [ids for ids in batches if ids] == [["14"]]


def remember(found: list[AdapterRecord]) -> dict[str, Remembered]:
    return {record.repo: Remembered(None, None, updated_at=record.updated_at) for record in found}


def test_a_crawl_can_stop_anywhere_and_go_on_from_its_cursor(source: CivitaiSource) -> None:
    listing = source.list_adapters()
    first = [next(listing) for _ in range(3)]
    assert isinstance(first[-1], AdapterRecord)

    assert names(records(source, first[-1].updated_at)) == ["fox", "ice", "owl"]


def test_versions_are_adapters_of_their_own(tmp_path: Path) -> None:
    """And prompts are asked for of the newest only."""
    for number in range(MAX_DETAILS + 2):
        add_entry(tmp_path, "cat", model_id=7, version_id=100 + number)
    with serve(tmp_path) as hub, CivitaiSource(hub.endpoint, "tok") as source:
        found = records(source)
        told = asked(hub, "model-versions")

    assert [record.version for record in found] == ["105", "104", "103", "102", "101", "100"]
    assert told == ["105", "104", "103", "102"]
    assert [record.covers[0].prompt is None for record in found] == [False] * 4 + [True] * 2
    assert len({record.name for record in found}) == len(found)


def test_a_model_may_have_very_many_versions(hub: CivitaiHub, source: CivitaiSource) -> None:
    """Of any order: the last one published may stand anywhere."""
    first = hub.entries[0]
    hub.entries[1:] = [first | {"version_id": 200 + number} for number in range(60)]
    first["updated_at"] = FIRST_DAY + DAY_SECONDS

    found = records(source)

    assert len(found) == 61
    assert {record.updated_at for record in found} == {day(1)}


def test_versions_of_a_model_that_are_too_many_are_told_of(
    hub: CivitaiHub, source: CivitaiSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawler.sources.civitai_detail.MAX_VERSIONS", 2)
    first = hub.entries[0]
    hub.entries[1:] = [first | {"version_id": 200 + number} for number in range(4)]

    *found, refused = source.list_adapters()

    assert len(found) == 2
    assert refused == Refusal("civitai", "10", "it has 5 versions; the last 3 are not read")


def test_pictures_without_prompts_are_not_asked_about(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    for entry in hub.entries[1:]:
        entry["covers"][0]["prompt"] = None

    records(source)

    assert asked(hub, "model-versions") == ["100"]


def test_a_hub_that_answers_no_batches_is_asked_one_by_one(
    hub: CivitaiHub, source: CivitaiSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has answered nothing for valid ids, and models without their versions."""
    page = hub.page

    def forgetful(query: dict[str, list[str]], whim: Any) -> dict[str, Any]:
        answer = page(query, whim)
        if "ids" in query:
            answer["items"] = [item | {"modelVersions": []} for item in answer["items"][:2]]
        return answer

    monkeypatch.setattr(hub, "page", forgetful)

    assert names(records(source)) == NAMES
    assert asked(hub, "models") == ["10", "11", "12", "13", "14"]


def test_a_model_that_is_listed_before_it_is_whole_is_read_all_the_same(
    hub: CivitaiHub, source: CivitaiSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = hub.page

    def early(query: dict[str, list[str]], whim: Any) -> dict[str, Any]:
        answer = page(query, whim)
        for item in answer["items"]:
            if item["id"] == 12:
                item["modelVersions"] = []
        return answer

    monkeypatch.setattr(hub, "page", early)

    found = records(source)

    assert sorted(names(found)) == NAMES
    # It stands where it was listed, so that the cursor does not run ahead.
    assert [record.updated_at for record in found] == sorted(r.updated_at for r in found)


def test_one_broken_model_ends_nothing(
    hub: CivitaiHub, source: CivitaiSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawler.sources.civitai.CivitaiSource._ask_many", lambda *_: {})
    hub.faults.error_code.add("11")
    hub.faults.broken.add("13")

    found = list(source.list_adapters())

    refused = {item.repo: item.reason for item in found if isinstance(item, Refusal)}
    assert "Model not found" in refused["11"]
    assert "HTTP 500" in refused["13"]
    assert names([f for f in found if isinstance(f, AdapterRecord)]) == ["cat", "fox", "owl"]


def test_a_prompt_that_cannot_be_had_today_does_not_become_none(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    """Or a broken answer would take the place of good facts."""
    hub.whims.always["version"] = "error body"

    found = list(source.list_adapters())

    assert [type(item) for item in found] == [Refusal] * 5


def test_a_challenge_for_browsers_ends_the_crawl(
    hub: CivitaiHub, source: CivitaiSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each model would be asked for and passed over, until the next full listing."""

    def challenge(handler: HubHandler[CivitaiHub], status: int, message: str, /) -> None:
        handler.send(403, b"Just a moment...", {"cf-mitigated": "challenge"})

    monkeypatch.setattr(HubHandler, "fail", challenge)
    monkeypatch.setattr(hub, "find_version", lambda number: None)

    with pytest.raises(SourceError, match=r"does not answer \(HTTP 403, a challenge"):
        list(source.list_adapters())

    assert len(asked(hub, "model-versions")) == 3


def test_a_version_that_is_not_there_alone_is_listed_without_prompts(
    hub: CivitaiHub, source: CivitaiSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub lists versions that are not rated yet, and has no answer about one of them."""
    monkeypatch.setattr(hub, "find_version", lambda number: None)

    found = records(source)

    assert names(found) == NAMES
    assert {cover.prompt for record in found for cover in record.covers} == {None}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"mode": "TakenDown"}, "taken it down"),
        ({"mode": "Tomorrow\x1b[2J"}, "Tomorrow [2J"),
        ({"usageControl": "Generation"}, "on Civitai only"),
        ({"paidAccess": {"permanent": True, "endsAt": None}}, "sells it"),
    ],
)
def test_what_is_not_given_is_listed_with_its_reason(
    hub: CivitaiHub, source: CivitaiSource, said: dict[str, Any], why: str
) -> None:
    hub.entries[0].update(said)

    first, *others = records(source)

    assert why in first.withheld
    assert first.withheld_until is None
    assert {record.withheld for record in others} == {""}


def test_a_model_without_any_file_of_safetensors_is_told_of(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    (hub.folder / "cat.zip").write_bytes(b"PK")
    hub.entries[0]["file"] = "cat.zip"

    refused, *others = source.list_adapters()

    assert refused == Refusal(
        "civitai", "10", "none of its versions lists a safetensors file", is_empty=True
    )
    assert len(others) == 4


@pytest.mark.parametrize("versions", [None, [], [{"id": 1}], [{"id": 1, "files": None}]])
def test_a_model_that_does_not_tell_its_files_may_have_some(versions: Any) -> None:
    assert has_no_adapter({"modelVersions": versions}) is False


def test_an_archived_model_lists_no_file_and_says_why(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    hub.entries[0]["mode"] = "Archived"

    refused, *others = source.list_adapters()

    assert refused == Refusal("civitai", "10", "its author has archived it")
    assert len(others) == 4


@pytest.mark.parametrize("field", ["paidAccess", "earlyAccessEndsAt"])
def test_early_access_has_an_end(hub: CivitaiHub, source: CivitaiSource, field: str) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    over = end - timedelta(days=6)
    for entry, time in zip(hub.entries, (end, over), strict=False):
        told = time.isoformat()
        entry[field] = (
            told if field == "earlyAccessEndsAt" else {"permanent": False, "endsAt": told}
        )

    first, second, *_ = records(source)

    assert f"until {end:%Y-%m-%d}" in first.withheld
    assert first.withheld_until == end
    assert (second.withheld, second.withheld_until) == ("", None)


def test_early_access_that_has_ended_withholds_nothing(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    """The hub never takes back what it calls a version's availability."""
    hub.entries[0]["availability"] = "EarlyAccess"

    assert records(source)[0].withheld == ""


def test_without_a_token_files_are_not_given_and_all_else_is(hub: CivitaiHub) -> None:
    with CivitaiSource(hub.endpoint) as source:
        found = records(source)

    assert all("REGISTRY_CIVITAI_TOKEN" in record.withheld for record in found)
    assert all(record.covers[0].prompt for record in found)


def test_without_a_token_the_end_of_early_access_is_told_and_nothing_is_tried_then(
    hub: CivitaiHub,
) -> None:
    end = datetime.now(UTC) + timedelta(days=3)
    hub.entries[0]["earlyAccessEndsAt"] = end.isoformat()
    with CivitaiSource(hub.endpoint) as source:
        record = records(source)[0]

    assert f"until {end:%Y-%m-%d}" in record.withheld
    assert record.withheld_until is None


def test_a_download_is_the_file(hub: CivitaiHub, source: CivitaiSource, tmp_path: Path) -> None:
    path = source.download(records(source)[0], tmp_path / "files").path

    assert path.read_bytes() == (hub.folder / hub.entries[0]["file"]).read_bytes()
    assert "/api/download/models/100?fileId=1000100" in [route for _, route, _ in hub.requests]


def test_why_a_download_is_refused_is_told(hub: CivitaiHub, tmp_path: Path) -> None:
    with CivitaiSource(hub.endpoint) as source:
        record = records(source)[0]
        with pytest.raises(AccessDeniedError, match="REGISTRY_CIVITAI_TOKEN"):
            source.download(record, tmp_path)


def test_a_file_that_nobody_is_given_is_told_apart_from_a_token_that_is_not_good(
    hub: CivitaiHub, source: CivitaiSource, tmp_path: Path
) -> None:
    """The answer is the same, and only a version alone tells its use; it was not asked about."""
    for_use_there, ours, *_ = hub.entries
    for_use_there["covers"][0]["prompt"] = ours["covers"][0]["prompt"] = None
    for_use_there["usageControl"] = "Generation"
    first, second, *_ = records(source)
    assert first.withheld == ""
    hub.requests.clear()

    with pytest.raises(WithheldError, match="used on Civitai only"):
        source.download(first, tmp_path)
    with pytest.raises(WithheldError, match="used on Civitai only"):
        source.read_header(first)
    ours["paidAccess"] = {"permanent": True, "endsAt": None}
    with pytest.raises(AccessDeniedError, match="REGISTRY_CIVITAI_TOKEN"):
        source.download(second, tmp_path)

    assert asked(hub, "model-versions") == ["100", "100", "101"]


def test_bytes_that_differ_from_the_announced_hash_are_not_kept(
    hub: CivitaiHub, source: CivitaiSource, tmp_path: Path
) -> None:
    hub.faults.corrupt.add(hub.entries[0]["file"])

    with pytest.raises(HashMismatchError):
        source.download(records(source)[0], tmp_path / "files")

    assert not list((tmp_path / "files").rglob("*.safetensors*"))


def test_a_redirect_into_our_own_network_is_not_followed(
    hub: CivitaiHub, source: CivitaiSource, tmp_path: Path
) -> None:
    record = records(source)[0]
    hub.whims.always["file"] = "redirect"

    with pytest.raises(AddressRefusedError, match=r"169\.254\.169\.254"):
        source.download(record, tmp_path)


def test_the_next_page_is_asked_at_our_own_endpoint_whatever_the_hub_calls_it(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    """It has two hosts and names either; the token is for the one of the settings."""
    hub.whims.always["listing"] = "other host"

    assert names(records(source)) == NAMES
    assert hub.whims.served["other host"] > 0
    assert {headers["Authorization"] for headers in hub.headers} == {"Bearer tok"}


def test_covers_are_told_no_token(hub: CivitaiHub, source: CivitaiSource) -> None:
    cover = records(source)[0].covers[0]
    hub.headers.clear()

    image = source.fetch_cover(cover)

    assert image == (hub.folder / hub.entries[0]["covers"][0]["file"]).read_bytes()
    assert "Authorization" not in hub.headers[0]


def test_what_the_listing_does_not_show_is_seen_when_looked_at_again(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    """The hub sorts by a model's last version: a new text changes nothing there."""
    cursor = records(source)[-1].updated_at
    hub.entries[0]["description"] = "Draws every cat."

    listed = records(source, cursor)
    again = list(source.list_again(["10", "12", "99"]))

    assert isinstance(source, SweptSource)
    assert names(listed) == ["owl"]
    cat, fox, gone = again
    assert isinstance(cat, AdapterRecord)
    assert (cat.description, cat.updated_at) == ("Draws every cat.", day(0))
    assert isinstance(fox, AdapterRecord)
    assert isinstance(gone, Refusal)
    assert gone.repo == "99"


def test_the_hub_filters_where_it_can(hub: CivitaiHub) -> None:
    """And where it ignores that, we do."""
    for entry in hub.entries:
        entry["base_model"] = "SDXL 1.0"
    hub.entries[1]["base_model"] = hub.entries[3]["base_model"] = "Flux.1 D"
    hub.entries[3]["nsfw"] = True
    filters = Filters(
        base_models=frozenset({"flux"}),
        name_base=lambda words: "flux" if "Flux.1 D" in words else "other",
        tags=frozenset({"LoRA"}),
        mature=False,
    )
    with CivitaiSource(hub.endpoint, "tok", filters=filters) as source:
        assert names(records(source)) == ["dog"]
        question = parse_qs(urlsplit(hub.requests[0][1]).query)

    assert (question["baseModels"], question["tag"]) == (["Flux.1 D"], ["lora"])


def test_a_crawl_of_one_base_goes_on_from_its_cursor(tmp_path: Path) -> None:
    """The hub sorts by versions for all bases, and shows those for the base that was asked for."""
    for number in range(4):
        add_entry(tmp_path, "cat", model_id=10 + number, base_model="Flux.1 D")
    for number in range(2):
        add_entry(tmp_path, "cat", model_id=10 + number, base_model="SDXL 1.0")
    filters = Filters(
        base_models=frozenset({"flux"}),
        name_base=lambda words: "flux" if "Flux.1 D" in words else "other",
    )
    with (
        serve(tmp_path) as hub,
        CivitaiSource(hub.endpoint, "tok", filters=filters, page_size=4) as source,
    ):
        everything = records(source)
        found = records(source, day(2))

    assert [record.version for record in everything] == ["100", "101", "102", "103"]
    assert [record.version for record in found] == ["102", "103", "100", "101"]


@pytest.mark.parametrize(
    ("mature", "listed", "listings"),
    [
        (None, ["cat", "dog", "fox", "ice"], ["true", "false"]),
        (False, ["cat", "dog", "ice"], ["true", "false"]),
        (True, ["fox"], ["true"]),
    ],
)
def test_what_is_listed_among_all_levels_or_among_pg_alone_is_found(
    hub: CivitaiHub, mature: bool | None, listed: list[str], listings: list[str]
) -> None:
    """A listing of PG lacks PG-13, and one of all levels lacks what is flagged `minor`."""
    said: list[dict[str, Any]] = [
        {}, {"nsfwLevel": 2}, {"nsfwLevel": 4}, {"minor": True}, {"nsfwLevel": 4, "minor": True}
    ]  # fmt: skip
    for entry, told in zip(hub.entries, said, strict=True):
        entry.update(told)
    with CivitaiSource(hub.endpoint, "tok", filters=Filters(mature=mature)) as source:
        assert names(records(source)) == listed

    questions = [parse_qs(urlsplit(path).query) for _, path, _ in hub.requests]
    assert [question["nsfw"] for question in questions if "sort" in question] == [
        [nsfw] for nsfw in listings
    ]


def test_a_model_of_which_the_listing_tells_that_it_is_mature_is_not_asked_for(
    hub: CivitaiHub,
) -> None:
    """Unless one of its versions is not."""
    mixed, *_, last = hub.entries
    hub.entries.append(mixed | {"version_id": 105, "nsfwLevel": 1})
    for entry in (mixed, last):
        entry["nsfwLevel"] = 8
    with CivitaiSource(hub.endpoint, "tok", filters=Filters(mature=False)) as source:
        found = records(source)
        batches = [parse_qs(urlsplit(path).query).get("ids") for _, path, _ in hub.requests]

    assert [record.version for record in found if record.repo == "10"] == ["105"]
    assert [ids for ids in batches if ids] == [["10,11,12,13"]]


def test_a_filter_that_the_hub_ignores_is_applied_here(
    hub: CivitaiHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.entries[1]["base_model"] = "Flux.1 D"
    monkeypatch.setattr("demo.hub.civitai._is_asked_for", lambda item, query: True)
    filters = Filters(
        base_models=frozenset({"flux"}),
        name_base=lambda words: "flux" if "Flux.1 D" in words else "other",
    )
    with CivitaiSource(hub.endpoint, "tok", filters=filters) as source:
        assert names(records(source)) == ["dog"]

    assert asked(hub, "model-versions") == ["101"]


def test_a_hub_that_ignores_what_is_asked_for_is_left(
    hub: CivitaiHub, source: CivitaiSource
) -> None:
    hub.whims.always["listing"] = "unfiltered"

    with pytest.raises(SourceError, match="ignores the filter"):
        list(source.list_adapters())


def test_models_of_one_moment_are_all_listed(hub: CivitaiHub, source: CivitaiSource) -> None:
    for entry in hub.entries:
        entry["updated_at"] = FIRST_DAY

    assert names(records(source)) == NAMES


def test_a_hub_whose_pages_begin_with_the_model_of_the_cursor_lists_the_same(
    hub: CivitaiHub, source: CivitaiSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes twice counts once."""
    page = hub.page

    def mended(query: dict[str, list[str]], whim: Any) -> dict[str, Any]:
        if "cursor" in query:
            query = query | {"cursor": [beginning_with(query["cursor"][0])]}
        return page(query, whim)

    for entry in hub.entries:
        entry["updated_at"] = FIRST_DAY
    monkeypatch.setattr(hub, "page", mended)

    assert names(records(source)) == NAMES


@pytest.mark.parametrize(
    ("told", "asked_for"),
    [
        ("2026-05-19 02:35:02.526|41", "2026-05-19 02:35:02.526|42"),
        # The hub takes the digits for milliseconds.
        ("2026-05-19 02:35:02.5|41", "2026-05-19 02:35:02.500|42"),
        ("2026-05-19 02:35:02.07|41", "2026-05-19 02:35:02.070|42"),
        ("2026-05-19 02:35:02|41", "2026-05-19 02:35:02|42"),
        ("2026-05-19T02:35:02.526Z", "2026-05-19T02:35:02.526Z"),
        ("|41", "|41"),
        ("41", "41"),
    ],
)
def test_a_page_begins_with_the_model_that_did_not_fit_on_the_one_before(
    told: str, asked_for: str
) -> None:
    assert beginning_with(told) == asked_for


def test_a_cursor_that_goes_round_is_left(
    hub: CivitaiHub, source: CivitaiSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = hub.page
    monkeypatch.setattr(
        hub,
        "page",
        lambda query, whim: page(query | {"cursor": []}, whim),
    )

    with pytest.raises(SourceError, match="repeats itself"):
        list(source.list_adapters())

    assert len(hub.requests) < 30


# What the hub says, without the hub.


def read(facts: dict[str, Any], **version: Any) -> AdapterRecord:
    file = {"name": "a.safetensors", "sizeKB": 1, "id": 5, "hashes": {"SHA256": "A" * 64}}
    told = {"id": 7, "files": [file], **version}
    (record,) = read_told(facts, told)
    return record


def read_told(facts: dict[str, Any], version: dict[str, Any]) -> list[AdapterRecord]:
    listed, endpoint = ListedItem("1", DAY), "https://hub.example"
    return read_version(facts, version, listed, endpoint, now=DAY, has_token=True)


@pytest.mark.parametrize(
    ("nsfw", "level", "mature"),
    [
        (False, 1, False),
        (False, 3, False),
        (False, 4, True),
        (False, 32, True),
        (True, 1, True),
        (None, None, None),
        (False, None, False),
        (None, "X", None),
        (None, True, None),
    ],
)
def test_levels_say_what_is_mature(nsfw: Any, level: Any, mature: bool | None) -> None:
    """PG and PG-13 are for all."""
    assert read({"nsfw": nsfw}, nsfwLevel=level).mature is mature


@pytest.mark.parametrize(
    ("facts", "licence"),
    [
        ({}, None),
        ({"allowCommercialUse": ["Image", "Sell"], "allowDerivatives": True}, "civitai-community"),
        ({"allowCommercialUse": "{Image,RentCivit}"}, "civitai-community"),
        ({"allowCommercialUse": ["None"]}, "civitai-community-non-commercial"),
        ({"allowCommercialUse": []}, "civitai-community-non-commercial"),
        (
            {
                "allowCommercialUse": ["Image"],
                "allowNoCredit": False,
                "allowDerivatives": False,
                "allowDifferentLicense": False,
            },
            "civitai-community-by-no-derivatives-sa",
        ),
    ],
)
def test_permissions_are_put_as_licences_are(facts: dict[str, Any], licence: str | None) -> None:
    assert read(facts).licence == licence


def test_the_file_of_an_adapter_is_found_among_others() -> None:
    files = [
        {"name": "images.zip", "type": "Training Data", "primary": True},
        {"name": "a.ckpt", "type": "Model"},
        {"name": "b.safetensors", "type": "Model", "id": 2, "sizeKB": 73888.6953125},
        {"name": "c.safetensors", "type": "Model", "id": 3, "primary": True, "hashes": None},
    ]

    main, other = find_files({"files": files})

    assert (main.name, main.revision, main.size, main.sha256) == ("c.safetensors", "3", None, None)
    assert (other.name, other.size) == ("b.safetensors", 75_662_024)
    assert find_files({"files": files[:2]}) == []


@pytest.mark.parametrize(
    ("others", "taken"),
    [
        # Wan 2.2 has two networks, and an author trains an adapter of each.
        ([{"name": "ink_low_noise.safetensors"}], ["ink_low_noise.safetensors"]),
        ([{"name": "INK_high_noise_fp32.safetensors"}], []),
        ([{"name": "ink-high-noise.safetensors"}], []),
        ([{"name": "small.safetensors", "type": "Pruned Model"}], []),
        ([{"name": "text.safetensors", "type": "Text Encoder"}], []),
    ],
)
def test_each_adapter_of_a_version_counts_once(
    others: list[dict[str, Any]], taken: list[str]
) -> None:
    primary = {"name": "ink_high_noise.safetensors", "type": "Model", "primary": True}
    files = [*({"type": "Model"} | other for other in others), primary]

    found = find_files({"files": files})

    assert [file.name for file in found] == ["ink_high_noise.safetensors", *taken]


@pytest.mark.parametrize(
    ("metadata", "taken"),
    [
        ({"fp": "fp16", "size": "pruned"}, ["Ink_v1-2.safetensors"]),
        ({"fp": "fp32", "size": "pruned"}, []),
        ({"fp": "fp16", "size": "full"}, []),
    ],
)
def test_files_of_one_name_are_told_by_their_precision(
    metadata: dict[str, str], taken: list[str]
) -> None:
    """The hub names all files of a DoRA's version by the model and the version."""
    facts = {"name": "Ink_v1.safetensors", "type": "Model"}
    first = facts | {"id": 1, "metadata": {"fp": "fp16", "size": "pruned"}}
    second = facts | {"id": 2, "metadata": metadata}

    found = find_files({"files": [first, second]})

    assert [file.name for file in found] == ["Ink_v1.safetensors", *taken]


def test_adapters_of_one_version_are_told_by_their_files() -> None:
    files = [
        {"name": f"ink_{noise}.safetensors", "type": "Model", "primary": noise == "high", "id": n}
        for n, noise in enumerate(("low", "high"), 1)
    ]

    high, low = read_told({"name": "Ink"}, {"id": 7, "files": files})

    assert (high.name, low.name) == ("Ink: ink_high", "Ink: ink_low")
    assert (high.version, low.version) == ("7", "7")
    assert (high.file.revision, low.file.revision) == ("2", "1")


@pytest.mark.parametrize(
    ("name", "kind", "taken"),
    [
        ("Ink v2.0", "SafeTensor", "Ink v2.0.safetensors"),
        ("ink.sft", "SafeTensor", "ink.safetensors"),
        ("INK.SafeTensors", None, "INK.SafeTensors"),
        ("Ink v2.0", None, None),
        ("ink.zip", "SafeTensor", None),
        ("ink.gguf", "GGUF", None),
        ("", "SafeTensor", None),
        (7, "SafeTensor", None),
    ],
)
def test_a_file_that_its_author_renamed_is_known_by_its_format(
    name: Any, kind: str | None, taken: str | None
) -> None:
    file = {"name": name, "type": "Model", "primary": True, "metadata": {"format": kind}}

    found = find_files({"files": [file]})

    assert [file.name for file in found] == [taken] * (taken is not None)


@pytest.mark.parametrize(
    ("kind", "primary", "taken"),
    [
        ("Enhancement LoRA", False, True),
        ("Diffusion Model", False, True),
        ("A kind of tomorrow", True, True),
        ("A kind of tomorrow", False, False),
        ("Text Encoder", False, False),
        ("VAE", False, False),
    ],
)
def test_kinds_of_files_that_hold_an_adapter(kind: str, primary: bool, taken: bool) -> None:
    """Authors choose from a list that grows; the hub's own choice is the primary file."""
    file = {"name": "a.safetensors", "type": kind, "primary": primary}

    assert bool(find_files({"files": [file]})) == taken


@pytest.mark.parametrize("number", [None, True, "1", 0, -1, 2**63, 1.5, [1], "../x"])
def test_what_is_no_id_cannot_become_another_route(number: Any) -> None:
    with pytest.raises(SourceError, match="no id"):
        read_listed({"id": number}, DAY)


@pytest.mark.parametrize(
    ("image", "covers"),
    [
        ({"url": "https://i.example/a/b/width=1024/x.jpeg"}, ["https://i.example/a/b/width=450/x.jpeg"]),
        ({"url": "https://i.example/x.jpeg"}, ["https://i.example/x.jpeg"]),
        ({"url": "https://i.example/x.mp4", "type": "video"}, []),
        ({"url": "https://i.example/x.jpeg", "nsfwLevel": 32}, []),
        ({"url": "https://i.example/x.jpeg", "nsfwLevel": "Blocked"}, []),
        ({"url": "file:///etc/passwd"}, []),
        ({"url": None}, []),
        (None, []),
    ],
)  # fmt: skip
def test_covers_are_small_pictures(image: Any, covers: list[str]) -> None:
    assert [cover.url for cover in read({}, images=[image]).covers] == covers


@pytest.mark.parametrize(
    ("meta", "prompt"),
    [
        ({"prompt": "a fox"}, "a fox"),
        ({"id": 1, "meta": {"prompt": "a fox"}}, "a fox"),
        ({"prompt": {"x": 1}}, None),
        (None, None),
        ("a fox", None),
    ],
)
def test_prompts_are_found_where_they_are_nested(meta: Any, prompt: str | None) -> None:
    [cover] = read({}, images=[{"url": "https://i.example/x.jpeg", "meta": meta}]).covers

    assert cover.prompt == prompt


@pytest.mark.parametrize(
    ("told", "prompt"),
    [
        ({"hasMeta": True, "hasPositivePrompt": True}, "a fox"),
        ({"hasMeta": False, "hasPositivePrompt": False}, None),
        ({"hasMeta": False}, None),
        ({"hasPositivePrompt": False}, None),
        ({"hasMeta": None}, "a fox"),
    ],
)
def test_a_prompt_that_its_author_hides_is_not_read(
    told: dict[str, Any], prompt: str | None
) -> None:
    """The hub sends it all the same, among others that are not hidden."""
    image = {"url": "https://i.example/x.jpeg", "meta": {"prompt": "a fox"}, **told}

    [cover] = read({}, images=[image]).covers

    assert cover.prompt == prompt


@pytest.mark.parametrize("junk", [None, "x", 7, [], {}, [None], {"a": {}}, True, 10**400])
def test_fields_of_any_kind_are_survived(junk: Any) -> None:
    of_model = (
        "name", "description", "creator", "tags", "stats", "nsfw", "nsfwLevel", "modelVersions",
        "allowCommercialUse", "allowDerivatives",
    )  # fmt: skip
    of_version = (
        "name", "description", "baseModel", "trainedWords", "stats", "images", "nsfwLevel",
        "publishedAt", "createdAt", "paidAccess", "earlyAccessEndsAt", "availability",
    )  # fmt: skip

    record = read(dict.fromkeys(of_model, junk), **dict.fromkeys(of_version, junk))

    assert (record.repo, record.version, record.created_at) == ("1", "7", DAY)
