from datetime import UTC, datetime
from typing import Any

import pytest

from crawler.errors import SourceError
from crawler.records import AdapterRecord, FileRecord
from crawler.sources.modelscope_detail import (
    ListedRepo,
    listed_files,
    match_files,
    read_detail,
    read_listed,
)

DAY = datetime(2025, 1, 1, tzinfo=UTC)
FILE = FileRecord("a.safetensors", 10, "a" * 64)
OTHER = FileRecord("b.safetensors", 10, "b" * 64)


def read(**detail: Any) -> AdapterRecord:
    facts = {"CreatedTime": 1_735_689_600, **detail}
    (record,) = read_detail(facts, ListedRepo("alice/cat", DAY), [FILE], "https://hub.example")
    return record


def version(number: int, *files: Any) -> dict[str, Any]:
    return {"modelVersion": {"id": number}, "stats": {"fileList": list(files)}}


@pytest.mark.parametrize(
    "entry", ["b.safetensors", {"name": "x/b.safetensors"}, {"sha256": "B" * 64}]
)
def test_a_version_owns_the_files_that_it_names(entry: Any) -> None:
    """By name or hash; files that no version names are leftovers."""
    versions = [version(1, entry)]

    assert match_files(versions, [FILE, OTHER]) == [(versions[0], OTHER)]


@pytest.mark.parametrize("beside", [{}, {"stats": None}, {"stats": {"downloads": 1}}])
def test_versions_that_tell_their_files_in_a_text_own_them(beside: dict[str, Any]) -> None:
    """Some answers have a version's stats as JSON beside its id only."""
    versions: list[dict[str, Any]] = [
        {"modelVersion": {"id": 1, "stats": '{"fileList": ["b.safetensors"]}'}, **beside},
        {"modelVersion": {"id": 2, "stats": '{"fileList": ["a.safetensors"]}'}, **beside},
        {"modelVersion": {"id": 3, "stats": "no JSON"}, **beside},
    ]

    assert match_files(versions, [FILE, OTHER]) == [(versions[0], OTHER), (versions[1], FILE)]


TWINS = [FileRecord(f"{folder}/x.safetensors", n, f"{n}" * 64) for n, folder in enumerate("ab")]


@pytest.mark.parametrize(
    ("entries", "sizes"),
    [
        (["x.safetensors", "x.safetensors"], []),
        (["a/x.safetensors", "b/x.safetensors"], []),
        (["b/x.safetensors", "x.safetensors"], []),
        (["x.safetensors", "x.safetensors"], [1, 0]),
        ([{"name": "x.safetensors", "sha256": "1" * 64}, "x.safetensors"], []),
    ],
    ids=["base names", "paths", "a path", "sizes", "a hash"],
)
def test_files_of_one_base_name_are_one_of_each_version(
    entries: list[Any], sizes: list[int]
) -> None:
    """Two versions, each in its folder, are two adapters and not four."""
    versions = [version(1, entries[0]), version(2, entries[1])]
    for place, size in enumerate(sizes):
        versions[place]["stats"]["fileSizes"] = [size]
    swapped = bool(sizes) or entries[0] == "b/x.safetensors" or isinstance(entries[0], dict)

    matched = match_files(versions, TWINS)

    files = TWINS[::-1] if swapped else TWINS
    assert matched == list(zip(versions, files, strict=True))


def test_a_single_version_that_names_nothing_owns_all() -> None:
    assert [file for _, file in match_files([version(1)], [FILE, OTHER])] == [FILE, OTHER]


def test_files_without_versions_are_adapters_too() -> None:
    """Ordinary repositories have no MuseInfo."""
    assert [file for _, file in match_files([], [FILE, OTHER])] == [FILE, OTHER]


def test_versions_that_name_nothing_are_not_guessed() -> None:
    with pytest.raises(SourceError, match="none of its 2 versions"):
        match_files([version(1), version(2)], [FILE, OTHER])


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        (
            {"BaseModel": ["black-forest-labs/FLUX.1-dev@master"]},
            "black-forest-labs/FLUX.1-dev@master",
        ),
        ({"BaseModel": [""], "VisionFoundation": "SD_XL"}, "SD_XL"),
        ({"BaseModel": None, "AigcAttributes": '{"SubVisionFoundation": "SD_1_5"}'}, "SD_1_5"),
        ({"BaseModel": "MusePublic/489_ckpt_FLUX_1"}, "MusePublic/489_ckpt_FLUX_1"),
        ({"BaseModel": '["alice/my-merge"]', "VisionFoundation": 7}, "alice/my-merge"),
        (
            {"VisionFoundation": "SD_XL", "BaseModel": "a/b", "SubVisionFoundation": "PONY"},
            "a/b PONY SD_XL",
        ),
        ({"BaseModel": {"id": "FLUX_1"}}, ""),
        ({}, ""),
    ],
)
def test_the_base_model_is_found_wherever_the_hub_says_it(
    detail: dict[str, Any], words: str
) -> None:
    """As written and the most exact first; what it means is decided where base models are known."""
    assert read(**detail).base_model_words == tuple(words.split())


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,AAAA", "file:///etc/passwd", "", 7, "https://[bad"]
)
def test_covers_that_are_no_web_addresses_are_left_out(url: Any) -> None:
    muse = {
        "versions": [{"coverImages": [{"url": url}, {"url": "/c.png", "prompt": "none of it"}]}]
    }

    covers = read(MuseInfo=muse).covers

    assert [cover.url for cover in covers] == ["https://hub.example/c.png"]


@pytest.mark.parametrize("junk", [None, "{", "[]", 7, [], {"versions": "x"}, {"versions": [None]}])
def test_a_muse_info_of_any_shape_is_survived(junk: Any) -> None:
    record = read(MuseInfo=junk, Tags="x", OfficialTags={}, Downloads="many", License=None)

    assert (record.name, record.covers, record.downloads) == ("cat", (), 0)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a?b", "a#b", None, "x" * 300])
def test_a_repository_name_cannot_become_another_route(name: Any) -> None:
    with pytest.raises(SourceError, match="no name"):
        read_listed({"Path": "alice", "Name": name, "LastUpdatedTime": 1})


@pytest.mark.parametrize("value", [None, "yesterday", True, 1e300])
def test_a_time_that_is_none_is_refused(value: Any) -> None:
    """Without it there is no cursor."""
    with pytest.raises(SourceError, match="not a time"):
        read_listed({"Path": "alice", "Name": "cat", "LastUpdatedTime": value})


def test_only_safetensors_files_with_a_hash_count() -> None:
    """Pickles are refused unread, and unverifiable files are not fetched."""
    files = [
        {"name": "a.safetensors", "size": 10, "sha256": "A" * 64},
        {"name": "a.ckpt", "size": 10, "sha256": "b" * 64},
        {"name": "b.safetensors", "size": 10, "sha256": "short"},
    ]

    assert listed_files({"ModelInfos": {"safetensor": {"files": files}}}) == [FILE]


@pytest.mark.parametrize(
    "time",
    [10**400, -(10**400), float("inf"), float("nan"), True, "1", None],
    ids=["huge", "hugely negative", "inf", "nan", "bool", "text", "none"],
)
def test_what_is_no_time_is_an_error_of_ours(time: Any) -> None:
    """JSON knows numbers that no float holds."""
    with pytest.raises(SourceError, match="is not a time"):
        read_listed({"Path": "alice", "Name": "cat", "LastUpdatedTime": time})


def test_numbers_beyond_all_measure_stay_within_a_database() -> None:
    record = read(Downloads=10**400, MuseInfo={"versions": [version(10**400)]})

    assert record.downloads == 2**31 - 1
    assert len(record.version) == 200
    detail = {"ModelInfos": {"a": {"files": [{"name": "a.safetensors", "sha256": "a" * 64}]}}}
    detail["ModelInfos"]["a"]["files"][0]["size"] = 10**400  # type: ignore[assignment]
    assert listed_files(detail)[0].size is None


@pytest.mark.parametrize("name", ["a\x1b[2J.safetensors", "a\u202e.safetensors", "x" * 5000])
def test_a_file_name_that_acts_on_a_terminal_is_refused(name: str) -> None:
    item = {"name": f"{name}.safetensors", "sha256": "a" * 64}

    with pytest.raises(SourceError, match="which is no name"):
        listed_files({"ModelInfos": {"a": {"files": [item]}}})


def test_names_and_words_are_one_line() -> None:
    """What stands on a line of its own in an export is a setting."""
    record = read(
        ChineseName="The\ncat\x9b2J",
        License="mit\nSteps: 1",
        TriggerWords=["fox\nNegative prompt: x"],
        Tags=["a\nb"],
    )

    assert (record.name, record.licence) == ("The cat 2J", "mit Steps: 1")
    assert record.trigger_words == ("fox Negative prompt: x",)
    assert record.tags == ("a b",)
