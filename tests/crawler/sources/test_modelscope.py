"""The source against the loopback hub."""

import json
import random
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crawler.errors import (
    AddressRefusedError,
    DownloadError,
    HashMismatchError,
    SourceError,
)
from crawler.filters import Filters
from crawler.hub_text import MAX_DESCRIPTION, MAX_WORDS
from crawler.manners import Manners
from crawler.records import AdapterRecord, Refusal
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from demo.hub.modelscope_handler import Handler
from tests.crawler.builders import DAY_SECONDS, FIRST_DAY, Clock, add_entry
from tests.crawler.conftest import NAMES


def list_records(source: ModelScopeSource, since: datetime | None = None) -> list[AdapterRecord]:
    found = list(source.list_adapters(since))
    refused = [item for item in found if isinstance(item, Refusal)]
    assert refused == []
    return [item for item in found if isinstance(item, AdapterRecord)]


def repos(records: list[AdapterRecord]) -> list[str]:
    return [record.repo.removeprefix("alice/") for record in records]


def day(number: int) -> datetime:
    return datetime.fromtimestamp(FIRST_DAY + number * DAY_SECONDS, UTC)


def test_every_page_is_listed_oldest_change_first(source: ModelScopeSource) -> None:
    """The last record's time is only a safe cursor in this order."""
    records = list_records(source)

    assert repos(records) == NAMES
    assert [record.updated_at for record in records] == [day(n) for n in range(5)]


def test_a_record_carries_what_the_hub_says(hub: Hub, source: ModelScopeSource) -> None:
    record = list_records(source)[1]

    assert (record.hub, record.repo, record.version) == ("modelscope", "alice/dog", "101")
    assert (record.name, record.author) == ("The dog", "alice")
    assert (record.description, record.trigger_words) == ("Draws a dog.", ("dog",))
    assert (record.base_model_words, record.licence) == (("AutoLoRA/demo-flux-tiny",), "apache-2.0")
    assert record.file.sha256 == hub.sha256(hub.entries[1]["file"])
    assert record.file.size == hub.size(hub.entries[1]["file"])
    assert [cover.prompt for cover in record.covers] == ["a dog on white"]
    assert record.page_url == f"{hub.endpoint}/models/alice/dog"


def test_both_shapes_of_the_detail_are_read(hub: Hub, source: ModelScopeSource) -> None:
    """MuseInfo as object and as JSON string, files in the detail and beside it."""
    details = [hub.detail(repo) or {} for repo in hub.repos()]
    assert {type(detail["MuseInfo"]) for detail in details} == {dict, str}
    assert {bool(detail["ModelInfos"]) for detail in details} == {True, False}

    assert all(record.covers and record.file.sha256 for record in list_records(source))


def test_no_trigger_words_are_no_trigger_words(hub: Hub, source: ModelScopeSource) -> None:
    """The hub writes `'[""]'` or "none"."""
    for entry in hub.entries:
        entry["trigger_words"] = []

    assert {record.trigger_words for record in list_records(source)} == {()}


def test_a_later_crawl_asks_only_for_what_changed(hub: Hub, source: ModelScopeSource) -> None:
    hub.entries[0]["updated_at"] = FIRST_DAY + 9 * DAY_SECONDS

    records = list_records(source, day(3))

    assert repos(records) == ["ice", "owl", "cat"]
    details = [path for _, path, _ in hub.requests if path.startswith("/api/v1/models/alice/")]
    assert not [path for path in details if "/dog" in path or "/fox" in path]


def test_nothing_new_is_an_empty_crawl(source: ModelScopeSource) -> None:
    assert list_records(source, day(5)) == []


def test_an_empty_hub_is_an_empty_crawl(hub: Hub, source: ModelScopeSource) -> None:
    hub.entries.clear()

    assert list_records(source) == []


def test_a_crawl_can_stop_anywhere_and_go_on_from_its_cursor(source: ModelScopeSource) -> None:
    listing = source.list_adapters()
    first = [next(listing) for _ in range(3)]
    assert isinstance(first[-1], AdapterRecord)

    later = list_records(source, first[-1].updated_at)

    assert repos(later) == ["fox", "ice", "owl"]


def test_a_change_during_the_crawl_loses_nothing(hub: Hub, source: ModelScopeSource) -> None:
    """It moves to the front, which is where we get last."""
    listing = source.list_adapters()
    found = [next(listing), next(listing)]
    hub.entries[2]["updated_at"] = FIRST_DAY + 9 * DAY_SECONDS

    found += list(listing)

    assert {item.repo for item in found} == {f"alice/{name}" for name in NAMES}


def test_versions_of_a_repository_are_records_of_their_own(tmp_path: Path) -> None:
    """Such a repository may hold unrelated LoRAs, each with its own file."""
    add_entry(tmp_path, "pair", trigger_words=["first"])
    add_entry(tmp_path, "pair", trigger_words=["second"])
    with serve(tmp_path) as hub, ModelScopeSource(hub.endpoint) as source:
        records = list_records(source)

    assert [(r.version, r.file.name, r.trigger_words) for r in records] == [
        ("100", "pair-0.safetensors", ("first",)),
        ("101", "pair-1.safetensors", ("second",)),
    ]
    assert len({record.name for record in records}) == 2


def test_one_broken_detail_ends_nothing(hub: Hub) -> None:
    hub.faults.error_code.add("alice/dog")
    hub.faults.broken.add("alice/ice")

    with ModelScopeSource(hub.endpoint, manners=Manners(attempts=1)) as source:
        found = list(source.list_adapters())

    refused = {item.repo: item.reason for item in found if isinstance(item, Refusal)}
    assert "record not found" in refused["alice/dog"]
    assert "HTTP 500" in refused["alice/ice"]
    records = [item for item in found if isinstance(item, AdapterRecord)]
    assert repos(records) == ["cat", "fox", "owl"]


def test_a_repository_without_weights_is_refused(hub: Hub, source: ModelScopeSource) -> None:
    hub.faults.listed_as[hub.entries[0]["file"]] = "README.md"

    refused = [item for item in source.list_adapters() if isinstance(item, Refusal)]

    assert [item.repo for item in refused] == ["alice/cat"]
    assert "safetensors" in refused[0].reason


def test_a_hub_that_dies_on_the_way_ends_the_crawl(hub: Hub) -> None:
    """Or else every adapter would be refused one by one."""
    with ModelScopeSource(hub.endpoint, manners=Manners(attempts=1)) as source:
        listing = source.list_adapters()
        next(listing)
        hub.faults.broken.update(hub.repos())

        with pytest.raises(SourceError, match="does not answer"):
            list(listing)


@pytest.mark.parametrize("stopped", [False, True], ids=["answers 503", "not listening"])
def test_a_hub_that_is_down_gives_one_clear_error_soon(
    tmp_path: Path, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(tmp_path, "cat")
    clock = Clock()
    monkeypatch.setattr("tenacity.nap.time", clock)
    with serve(tmp_path) as hub:
        source = ModelScopeSource(hub.endpoint)
        hub.faults.down = True
        if not stopped:
            error = fail_to_list(source)
    if stopped:
        error = fail_to_list(source)

    assert 0 < sum(clock.slept) < 5
    assert f"ModelScope at {hub.endpoint} does not answer" in error
    assert "Check the network" in error
    assert "\n" not in error


def fail_to_list(source: ModelScopeSource) -> str:
    with source, pytest.raises(SourceError) as caught:
        list(source.list_adapters())
    return str(caught.value)


def test_a_hub_that_sorts_differently_is_noticed(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on from a cursor would silently skip adapters."""
    newest_first = hub.page

    def oldest_first(number: int, size: int) -> dict[str, Any]:
        page = newest_first(1, 100)
        items = page["Models"][::-1]
        return page | {"Models": items[(number - 1) * size : number * size]}

    monkeypatch.setattr(hub, "page", oldest_first)

    with pytest.raises(SourceError, match="newest change first"):
        list(source.list_adapters(day(0)))


def test_a_hub_without_an_end_is_listed_all_the_same(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some answer their last page for every later one."""
    page = hub.page
    monkeypatch.setattr(hub, "page", lambda n, size: page(min(n, 3), size))

    assert repos(list_records(source)) == NAMES


def test_a_full_crawl_does_not_depend_on_the_order(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = hub.page

    def shuffled(number: int, size: int) -> dict[str, Any]:
        items = page(1, 100)["Models"]
        random.Random(1).shuffle(items)
        return page(number, size) | {"Models": items[(number - 1) * size : number * size]}

    monkeypatch.setattr(hub, "page", shuffled)

    assert set(repos(list_records(source))) == set(NAMES)


def test_a_hub_that_hides_pages_is_reported(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = hub.page
    monkeypatch.setattr(
        hub, "page", lambda n, size: page(n, size) | ({"Models": []} if n > 2 else {})
    )

    found = list(source.list_adapters())

    assert isinstance(found[0], Refusal)
    assert "shows none after page 2" in found[0].reason
    assert len(found) == 5


def test_a_hub_that_refuses_far_pages_lists_those_before(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or nothing would ever be listed of it."""
    answer = Handler._list

    def bounded(handler: Handler, question: dict[str, Any]) -> None:
        if question["PageNumber"] > 2:
            handler.fail(400, "page_number * page_size is too large")
        else:
            answer(handler, question)

    monkeypatch.setattr(Handler, "_list", bounded)

    refusal, *found = source.list_adapters()

    assert isinstance(refusal, Refusal)
    assert re.search(r"shows none after page 2 \(ModelScope at .*HTTP 400", refusal.reason)
    assert len(found) == 4


def test_texts_of_hostile_size_are_cut(hub: Hub, source: ModelScopeSource) -> None:
    hub.entries[0].update(
        description="a\0b" + "x" * 1_000_000, tags=[f"tag {n}" for n in range(10_000)]
    )

    record = list_records(source)[0]

    assert record.description.startswith("abx")
    assert len(record.description) == MAX_DESCRIPTION
    assert len(record.tags) == MAX_WORDS


def test_a_download_is_the_file(hub: Hub, source: ModelScopeSource, tmp_path: Path) -> None:
    path = source.download(list_records(source)[0], tmp_path / "files").path

    assert path.is_relative_to(tmp_path / "files")
    assert path.read_bytes() == (hub.folder / hub.entries[0]["file"]).read_bytes()


def test_a_file_that_is_there_is_not_fetched_again(
    hub: Hub, source: ModelScopeSource, tmp_path: Path
) -> None:
    record = list_records(source)[0]
    first = source.download(record, tmp_path)
    hub.faults.down = True

    assert source.download(record, tmp_path) == first


def test_a_cut_transfer_is_resumed_where_it_stopped(
    hub: Hub, source: ModelScopeSource, tmp_path: Path
) -> None:
    name = hub.entries[0]["file"]
    record = list_records(source)[0]
    hub.faults.cut_once.add(name)

    path = source.download(record, tmp_path).path

    assert path.read_bytes() == (hub.folder / name).read_bytes()
    ranges = [bytes_ for _, route, bytes_ in hub.requests if "FilePath" in route]
    assert ranges == [None, f"bytes={hub.size(name) // 2}-"]


@pytest.mark.parametrize("fault", ["corrupt", "wrong_sha256"])
def test_bytes_that_differ_from_the_announced_hash_are_not_kept(
    hub: Hub, source: ModelScopeSource, tmp_path: Path, fault: str
) -> None:
    getattr(hub.faults, fault).add(hub.entries[0]["file"])
    record = list_records(source)[0]

    with pytest.raises(HashMismatchError, match=r"alice/cat/cat-0\.safetensors"):
        source.download(record, tmp_path / "files")

    assert not list((tmp_path / "files").rglob("*.safetensors*"))


@pytest.mark.parametrize(
    "path", ["../../x.safetensors", "/etc/x.safetensors", "a\\..\\x.safetensors"]
)
def test_a_listed_path_never_leaves_the_target(
    hub: Hub, source: ModelScopeSource, tmp_path: Path, path: str
) -> None:
    hub.faults.listed_as[hub.entries[0]["file"]] = path
    record = list_records(source)[0]
    assert record.file.name == path

    with pytest.raises(DownloadError, match="not safe"):
        source.download(record, tmp_path / "a" / "b" / "c")

    assert not list(tmp_path.rglob("x.safetensors"))


def test_a_redirect_into_our_own_network_is_not_followed(
    hub: Hub, source: ModelScopeSource, tmp_path: Path
) -> None:
    record = list_records(source)[0]
    hub.faults.redirect[hub.entries[0]["file"]] = "https://169.254.169.254/latest/meta-data"

    with pytest.raises(AddressRefusedError, match=r"169\.254\.169\.254"):
        source.download(record, tmp_path)


def test_a_download_from_a_hub_that_is_down_fails_soon(
    hub: Hub, source: ModelScopeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = list_records(source)[0]
    hub.faults.down = True
    clock = Clock()
    monkeypatch.setattr("tenacity.nap.time", clock)

    with pytest.raises(SourceError, match=r"does not answer \(HTTP 503\)"):
        source.download(record, tmp_path)

    assert 0 < sum(clock.slept) < 8


def test_a_disk_that_refuses_is_named(source: ModelScopeSource, tmp_path: Path) -> None:
    record = list_records(source)[0]
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DownloadError, match="cannot be written"):
        source.download(record, tmp_path / "file")


def test_covers_are_fetched_from_the_hub(hub: Hub, source: ModelScopeSource) -> None:
    cover = list_records(source)[0].covers[0]

    assert (
        source.fetch_cover(cover) == (hub.folder / hub.entries[0]["covers"][0]["file"]).read_bytes()
    )


def test_a_download_says_nothing_to_the_terminal(
    hub: Hub, source: ModelScopeSource, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Progress is for who called to show."""
    record = list_records(source)[0]
    hub.faults.cut_once.add(hub.entries[0]["file"])
    source.download(record, tmp_path)

    assert capfd.readouterr() == ("", "")


def test_a_token_is_never_sent_in_the_open() -> None:
    with pytest.raises(SourceError, match="plain http"):
        ModelScopeSource("http://modelscope.example", token="secret")


def test_private_facts_are_never_served(hub: Hub) -> None:
    """The zoo's split and ground truth must not leak into what is measured."""
    served = json.dumps([hub.page(1, 100), *map(hub.detail, hub.repos())])

    assert "_split" not in served
    assert "held-out" not in served


def test_repositories_changed_in_the_same_second_are_listed_once(
    hub: Hub, source: ModelScopeSource
) -> None:
    """An import changes many at once, across pages."""
    for entry in hub.entries:
        entry["updated_at"] = FIRST_DAY

    assert sorted(repos(list_records(source))) == NAMES
    assert sorted(repos(list_records(source, day(0)))) == NAMES


def test_what_is_published_during_the_crawl_hides_nothing(
    hub: Hub, source: ModelScopeSource
) -> None:
    """New ones push others over the edge of their page, onto pages that are done."""
    listing = source.list_adapters()
    found = [next(listing)]
    for number in range(3):
        new = hub.entries[0] | {"name": f"new{number}", "updated_at": FIRST_DAY + 10**7 + number}
        hub.entries.append(new)

    found += list(listing)

    seen = [item.repo.removeprefix("alice/") for item in found]
    assert seen[:5] == NAMES
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("seed", range(3))
def test_no_adapter_is_missed_however_the_hub_changes(hub: Hub, seed: int) -> None:
    """New, changed and deleted ones at any moment, over many pages."""
    numbers = random.Random(seed)
    model = hub.entries[0]
    now = FIRST_DAY + 1000
    hub.entries[:] = [
        model | {"name": f"n{n}", "updated_at": FIRST_DAY + numbers.randrange(20)}
        for n in range(30)
    ]
    expected = set(hub.repos())
    with ModelScopeSource(hub.endpoint, page_size=4) as source:
        seen = []
        for item in source.list_adapters():
            seen.append(item.repo)
            now += 1
            chosen = numbers.choice(hub.entries)
            match numbers.randrange(4):
                case 0:
                    hub.entries.append(model | {"name": f"new{now}", "updated_at": now})
                case 1:
                    chosen["updated_at"] = now
                case 2:
                    hub.entries.remove(chosen)
                    expected.discard(f"{chosen['owner']}/{chosen['name']}")
            if len(seen) > 300:
                break

    assert expected <= set(seen)


@pytest.mark.parametrize("count", [10**6, 5 * 10**7, 10**400], ids=["1e6", "5e7", "1e400"])
def test_a_hub_that_repeats_one_page_for_ever_is_left(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """What it lists is kept; what it counts is not believed."""
    page = hub.page
    monkeypatch.setattr(hub, "page", lambda _, size: page(1, size) | {"TotalCount": count})
    found: list[AdapterRecord | Refusal] = []

    with pytest.raises(SourceError, match=r"repeats itself|more than any hub has"):
        found.extend(source.list_adapters())

    assert len(hub.requests) < 100


def test_a_hub_whose_pages_go_round_is_left_too(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = hub.page
    monkeypatch.setattr(hub, "page", lambda n, size: page(1 + n % 3, size) | {"TotalCount": 10**6})

    with pytest.raises(SourceError, match="repeats itself"):
        list(source.list_adapters())

    assert len([path for _, path, _ in hub.requests if "/models/alice/" in path]) <= 2 * len(NAMES)


def test_a_hub_that_always_pushes_more_back_is_left(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page has repositories that no page had before, changed in the last second."""

    def page(number: int, size: int) -> dict[str, Any]:
        served = len(hub.requests)
        items = [
            {"Path": "alice", "Name": f"n{served}-{n}", "LastUpdatedTime": FIRST_DAY}
            for n in range(size)
        ]
        return {"Models": items, "TotalCount": 6}

    monkeypatch.setattr(hub, "page", page)

    with pytest.raises(SourceError, match="changes faster than it can be read"):
        list(source.list_adapters(day(0)))


def test_a_hub_that_ignores_the_filter_is_left(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would list every model it has, some hundred thousand of which are no LoRA."""
    page = hub.page

    def unfiltered(number: int, size: int) -> dict[str, Any]:
        found = page(number, size)
        for item in found["Models"]:
            item["AigcType"] = None
        return found

    monkeypatch.setattr(hub, "page", unfiltered)

    with pytest.raises(SourceError, match="ignores the filter"):
        list(source.list_adapters())


def test_a_few_items_that_are_no_lora_are_left_out(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = hub.page

    def mixed(number: int, size: int) -> dict[str, Any]:
        found = page(number, size)
        for item in found["Models"]:
            item["AigcType"] = "Checkpoint" if item["Name"] == "dog" else "LoRA"
        return found

    monkeypatch.setattr(hub, "page", mixed)
    with ModelScopeSource(hub.endpoint) as source:
        assert repos(list_records(source)) == ["cat", "fox", "ice", "owl"]


def test_what_the_listing_tells_in_full_is_not_asked_for_again(
    hub: Hub, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = hub.page

    def full(number: int, size: int) -> dict[str, Any]:
        found = page(number, size)
        found["Models"] = [hub.detail(f"alice/{item['Name']}") for item in found["Models"]]
        return found

    expected = list_records(source)
    hub.requests.clear()
    monkeypatch.setattr(hub, "page", full)

    assert list_records(source) == expected
    asked = {path.rsplit("/")[-1] for _, path, _ in hub.requests if "/models/alice/" in path}
    told = {name for name in NAMES if (hub.detail(f"alice/{name}") or {})["ModelInfos"]}
    assert told
    assert not asked & told


def test_filters_leave_out_what_is_not_asked_for_unasked(hub: Hub) -> None:
    """Neither details nor files of it are fetched."""
    hub.entries[3]["base_model"] = "SDXL"
    filters = Filters(
        base_models=frozenset({"tiny"}),
        name_base=lambda words: "tiny" if any("tiny" in word for word in words) else "other",
        min_downloads=2,
        tags=frozenset({"lora"}),
    )
    with ModelScopeSource(hub.endpoint, filters=filters) as source:
        assert repos(list_records(source)) == ["fox", "owl"]

    asked = " ".join(path for _, path, _ in hub.requests)
    assert "alice/fox" in asked
    assert "alice/cat" not in asked
    assert "alice/ice" not in asked
