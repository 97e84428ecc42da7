"""The source of Hugging Face against the loopback hub."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from crawler.errors import AccessDeniedError, AddressRefusedError, SourceError
from crawler.filters import Filters
from crawler.manners import Manners
from crawler.records import AdapterRecord, Refusal
from crawler.sources.hugging_face import HuggingFaceSource
from crawler.sources.hugging_face_detail import (
    config_beside,
    has_no_adapter,
    listed_files,
    read_detail,
    read_listed,
    tree_files,
)
from crawler.sources.walking import ListedItem
from demo.hub.hugging_face import HuggingFaceHub, serve
from tests.crawler.builders import DAY_SECONDS, FIRST_DAY, add_entry

NAMES = ["cat", "dog", "fox", "ice", "owl"]
DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HuggingFaceHub]:
    """Five adapters, changed a day apart, some with one tag of LoRAs and some with others."""
    for name in NAMES:
        add_entry(tmp_path / "zoo", name)
    with serve(tmp_path / "zoo") as hub:
        yield hub


@pytest.fixture
def source(hub: HuggingFaceHub) -> Iterator[HuggingFaceSource]:
    with HuggingFaceSource(hub.endpoint, page_size=2, manners=Manners(attempts=1)) as source:
        yield source


def records(source: HuggingFaceSource, since: datetime | None = None) -> list[AdapterRecord]:
    found = list(source.list_adapters(since))
    assert [item for item in found if isinstance(item, Refusal)] == []
    return [item for item in found if isinstance(item, AdapterRecord)]


def names(found: list[AdapterRecord]) -> list[str]:
    return [record.repo.removeprefix("alice/") for record in found]


def day(number: int) -> datetime:
    return datetime.fromtimestamp(FIRST_DAY + number * DAY_SECONDS, UTC)


def details_asked(hub: HuggingFaceHub) -> list[str]:
    paths = [urlsplit(path).path for _, path, _ in hub.requests]
    return [path.removeprefix("/api/models/alice/") for path in paths if "/models/alice/" in path]


def test_every_tag_and_page_is_listed_oldest_change_first(source: HuggingFaceSource) -> None:
    found = records(source)

    assert names(found) == NAMES
    assert [record.updated_at for record in found] == [day(n) for n in range(5)]


def test_a_record_carries_what_the_hub_says(hub: HuggingFaceHub, source: HuggingFaceSource) -> None:
    record = records(source)[1]

    assert (record.hub, record.repo, record.version) == ("huggingface", "alice/dog", "")
    assert (record.name, record.author, record.downloads) == ("dog", "alice", 1)
    assert (record.trigger_words, record.licence) == (("dog",), "apache-2.0")
    assert record.base_model_words == ("AutoLoRA/demo-flux-tiny",)
    assert record.file.sha256 == hub.sha256(hub.entries[1]["file"])
    assert record.file.size == hub.size(hub.entries[1]["file"])
    assert [cover.prompt for cover in record.covers] == ["a dog on white"]
    assert record.page_url == f"{hub.endpoint}/alice/dog"


def test_one_request_tells_all_of_a_repository(
    hub: HuggingFaceHub, source: HuggingFaceSource
) -> None:
    records(source)

    assert details_asked(hub) == NAMES


def test_a_mirror_that_tells_hashes_in_the_tree_only_is_understood(
    hub: HuggingFaceHub, source: HuggingFaceSource
) -> None:
    expected = records(source)
    hub.without_blobs.update(hub.repos())

    assert records(source) == expected


def test_a_repository_that_has_lost_its_weights_is_told_of(
    hub: HuggingFaceHub, source: HuggingFaceSource
) -> None:
    hub.entries[0]["file"] = hub.entries[0]["covers"][0]["file"]

    refused, *others = source.list_adapters()

    assert refused == Refusal(
        "huggingface",
        "alice/cat",
        "the repository has no safetensors file of an adapter",
        is_empty=True,
    )
    assert len(others) == 4


def test_a_later_crawl_asks_only_for_what_changed(
    hub: HuggingFaceHub, source: HuggingFaceSource
) -> None:
    hub.entries[0]["updated_at"] = FIRST_DAY + 9 * DAY_SECONDS

    assert names(records(source, day(3))) == ["ice", "owl", "cat"]
    assert details_asked(hub) == ["ice", "owl", "cat"]


def test_a_crawl_can_stop_anywhere_and_go_on_from_its_cursor(source: HuggingFaceSource) -> None:
    listing = source.list_adapters()
    first = [next(listing) for _ in range(3)]
    assert isinstance(first[-1], AdapterRecord)

    assert names(records(source, first[-1].updated_at)) == ["fox", "ice", "owl"]


def test_one_broken_repository_ends_nothing(hub: HuggingFaceHub, source: HuggingFaceSource) -> None:
    hub.faults.error_code.add("alice/dog")
    hub.faults.broken.add("alice/ice")

    found = list(source.list_adapters())

    refused = {item.repo: item.reason for item in found if isinstance(item, Refusal)}
    assert "no model" in refused["alice/dog"]
    assert "HTTP 500" in refused["alice/ice"]
    assert names([f for f in found if isinstance(f, AdapterRecord)]) == ["cat", "fox", "owl"]


def test_a_hub_that_dies_on_the_way_ends_the_crawl(
    hub: HuggingFaceHub, source: HuggingFaceSource
) -> None:
    listing = source.list_adapters()
    next(listing)
    hub.faults.broken.update(hub.repos())

    with pytest.raises(SourceError, match="REGISTRY_HUGGING_FACE_ENDPOINT"):
        list(listing)


@pytest.mark.parametrize("gated", ["auto", "manual"])
def test_who_is_not_let_in_is_told_why(
    hub: HuggingFaceHub, source: HuggingFaceSource, tmp_path: Path, gated: str
) -> None:
    """The adapter is listed; its file and pictures are not asked for."""
    hub.entries[0]["gated"] = gated

    record = records(source)[0]

    assert gated in record.withheld
    assert "REGISTRY_HUGGING_FACE_TOKEN" in record.withheld
    assert record.covers == ()
    with pytest.raises(AccessDeniedError, match="GatedRepo"):
        source.download(record, tmp_path)


def test_who_has_a_token_may_be_let_in(hub: HuggingFaceHub, tmp_path: Path) -> None:
    hub.entries[0]["gated"] = "auto"
    with HuggingFaceSource(hub.endpoint, "tok") as source:
        record = records(source)[0]
        path = source.download(record, tmp_path).path

    assert record.withheld == ""
    assert path.read_bytes() == (hub.folder / hub.entries[0]["file"]).read_bytes()


def test_a_disabled_repository_is_listed_as_such(
    hub: HuggingFaceHub, source: HuggingFaceSource
) -> None:
    hub.entries[2]["disabled"] = True

    assert [record.withheld != "" for record in records(source)] == [n == 2 for n in range(5)]


def test_what_only_the_account_of_the_token_may_see_is_not_asked_for(hub: HuggingFaceHub) -> None:
    """A registry shows what it has to everybody who may search it."""
    hub.entries[1]["private"] = True
    with HuggingFaceSource(hub.endpoint, "tok", page_size=2) as source:
        assert names(records(source)) == ["cat", "fox", "ice", "owl"]

    assert "dog" not in details_asked(hub)


def test_what_a_listing_does_not_call_private_is_not_taken_if_it_is(
    hub: HuggingFaceHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror may tell less in a listing, and an author may change it meanwhile."""
    hub.entries[1]["private"] = True
    page = hub.page

    def silent(query: dict[str, list[str]], whim: Any) -> Any:
        items, following = page(query, whim)
        return [item | {"private": None} for item in items], following

    monkeypatch.setattr(hub, "page", silent)
    with HuggingFaceSource(hub.endpoint, "tok") as source:
        assert names(records(source)) == ["cat", "fox", "ice", "owl"]


def test_adapters_of_language_models_are_not_asked_for(
    hub: HuggingFaceHub, source: HuggingFaceSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of what bears the tag `lora` there is one."""
    page = hub.page

    def mixed(query: dict[str, list[str]], whim: Any) -> Any:
        items, following = page(query, whim)
        for item in items:
            if item["id"] == "alice/dog":
                item["tags"] = ["lora", "peft", "text-generation"]
        return items, following

    monkeypatch.setattr(hub, "page", mixed)

    assert names(records(source)) == ["cat", "fox", "ice", "owl"]
    assert "dog" not in details_asked(hub)


def test_the_next_page_is_asked_at_our_own_endpoint_whatever_the_hub_calls_it(
    hub: HuggingFaceHub,
) -> None:
    """A mirror passes on the hub's own addresses, and a token is for one of them alone."""
    hub.whims.always["listing"] = "other host"
    with HuggingFaceSource(hub.endpoint, "tok", page_size=2) as source:
        assert names(records(source)) == NAMES

    assert hub.whims.served["other host"] > 0
    assert {headers["Authorization"] for headers in hub.headers} == {"Bearer tok"}


def test_a_redirect_into_our_own_network_is_not_followed(
    hub: HuggingFaceHub, source: HuggingFaceSource, tmp_path: Path
) -> None:
    record = records(source)[0]
    hub.whims.always["file"] = "redirect"

    with pytest.raises(AddressRefusedError, match=r"169\.254\.169\.254"):
        source.download(record, tmp_path)


def test_a_token_is_never_sent_in_the_open() -> None:
    with pytest.raises(SourceError, match="plain http"):
        HuggingFaceSource("http://huggingface.example", token="secret")


def test_the_hub_filters_where_it_can(hub: HuggingFaceHub) -> None:
    """By an adapter's base and licence, which it knows as tags."""
    hub.entries[1]["base_model"] = "stabilityai/sdxl"
    hub.entries[2]["licence"] = "mit"
    filters = Filters(
        base_models=frozenset({"tiny"}),
        name_base=lambda words: "tiny" if any("tiny" in word for word in words) else "other",
        base_ids=("AutoLoRA/demo-flux-tiny",),
        licences=frozenset({"Apache-2.0"}),
        min_downloads=1,
    )
    with HuggingFaceSource(hub.endpoint, filters=filters) as source:
        assert names(records(source)) == ["ice", "owl"]
        hub.whims.always["listing"] = "unfiltered"
        hub_filtered = details_asked(hub)
        hub.requests.clear()
        assert names(records(source)) == ["ice", "owl"]

    assert hub_filtered == ["ice", "owl"]
    listings = [parse_qs(urlsplit(p).query) for _, p, _ in hub.requests if "filter" in p]
    assert all("license:apache-2.0" in question["filter"] for question in listings)
    assert ["base_model:adapter:AutoLoRA/demo-flux-tiny", "license:apache-2.0"] in [
        question["filter"] for question in listings
    ]


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["diffusion_pytorch_model.safetensors"], ["diffusion_pytorch_model.safetensors"]),
        (["a.safetensors", "model.safetensors"], ["a.safetensors"]),
        (["model-00001-of-00002.safetensors"], []),
        (["unet/diffusion_pytorch_model.safetensors"], []),
        (["diffusion_pytorch_model.safetensors", "model_index.json"], []),
    ],
)
def test_a_lone_file_that_is_called_as_whole_models_are_may_be_an_adapter(
    names: list[str], listed: list[str]
) -> None:
    """As FLUX.1-Turbo-Alpha's is; its header tells."""
    siblings = [{"rfilename": name, "lfs": {"sha256": "0" * 64, "size": 9}} for name in names]

    assert [file.name for file in listed_files({"siblings": siblings})] == listed


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        (["lora", "base_model:adapter:Qwen/Qwen-Image"], True),
        (["lora", "ComfyUI"], True),
        (["lora", "video-to-video"], True),
        ([*(f"t{n}" for n in range(70)), "base_model:Qwen/Qwen-Image"], True),
        (["lora", "base_model:meta-llama/Llama-3"], False),
    ],
)
def test_a_base_that_draws_is_enough(tags: list[str], wanted: bool) -> None:
    """Most LoRAs there are for language models."""
    filters = Filters(name_base=lambda words: "qwen" if "qwen/qwen-image" in words else "unknown")
    facts = {"id": "ann/a", "lastModified": "2026-01-01T00:00:00Z", "tags": tags}

    assert read_listed(facts, filters).wanted == wanted


def test_a_licence_with_a_name_of_its_own_is_not_asked_of_the_hub(hub: HuggingFaceHub) -> None:
    """The hub knows it as "other", and would list nothing."""
    hub.entries[0]["licence"] = "flux-1-dev-non-commercial-license"
    filters = Filters(licences=frozenset({"flux-1-dev-non-commercial-license"}))

    with HuggingFaceSource(hub.endpoint, filters=filters) as source:
        listed = records(source)

    assert len(listed) == 1
    assert not any("license" in path for _, path, _ in hub.requests)


def test_what_the_hub_knows_by_another_name_has_not_vanished(hub: HuggingFaceHub) -> None:
    """It lists a base as it was asked for, and cards write it in many ways."""
    filters = Filters(
        base_models=frozenset({"flux.1-dev"}),
        name_base=lambda words: "flux.1-dev",
        base_ids=("black-forest-labs/FLUX.1-dev",),
    )
    with HuggingFaceSource(hub.endpoint) as source:
        [first, *_] = records(source)
    with HuggingFaceSource(hub.endpoint, filters=filters) as source:
        for words, listed in (("black-forest-labs/flux.1-dev", True), ("FLUX.1-dev", False)):
            record = replace(first, base_model_words=(words,))
            assert source.wants(record)
            assert source.would_list(record) == listed


def test_pefts_config_comes_along(hub: HuggingFaceHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """How strong such an adapter is stands nowhere else."""
    detail, file_at = hub.detail, hub.file_at
    (hub.folder / "config.json").write_text('{"r": 4, "lora_alpha": 8}')

    def with_config(repo: str, whim: Any = None) -> dict[str, Any] | None:
        facts = detail(repo, whim)
        assert facts is not None
        facts["siblings"].append({"rfilename": "adapter_config.json"})
        return facts

    monkeypatch.setattr(hub, "detail", with_config)
    monkeypatch.setattr(
        hub,
        "file_at",
        lambda repo, path: "config.json" if path.endswith(".json") else file_at(repo, path),
    )
    with HuggingFaceSource(hub.endpoint) as source:
        found = records(source)

    assert {record.file.peft_config for record in found} == {'{"r": 4, "lora_alpha": 8}'}


# What the hub says, without the hub.


def sibling(name: Any, sha256: Any = "A" * 64, size: Any = 10) -> dict[str, Any]:
    return {"rfilename": name, "lfs": {"sha256": sha256, "size": size}}


def read(detail: dict[str, Any]) -> AdapterRecord:
    files = listed_files({"siblings": [sibling("a.safetensors")]})
    (record,) = read_detail(
        detail, ListedItem("alice/cat", DAY), files, "https://hub.example", has_token=False
    )
    return record


def test_only_files_that_may_be_adapters_count() -> None:
    """Weights of whole models, pickles and what has no hash are not fetched."""
    kept = ["a.safetensors", "pytorch_lora_weights.safetensors", "x/adapter_model.safetensors"]
    left = [
        sibling("model.safetensors"),
        sibling("unet/diffusion_pytorch_model.fp16.safetensors"),
        sibling("model-00001-of-00002.safetensors"),
        sibling("a.bin"),
        sibling("b.safetensors", sha256=None),
        sibling("c.safetensors", sha256="short"),
        sibling(None),
        sibling(["list"]),
        None,
        "text",
        {"rfilename": "d.safetensors", "lfs": "x"},
    ]

    files = listed_files({"siblings": [*left, *map(sibling, kept)]})

    assert [file.name for file in files] == kept
    assert {(file.sha256, file.size) for file in files} == {("a" * 64, 10)}


@pytest.mark.parametrize(
    ("names", "empty"),
    [
        (["README.md", "images/1.png"], True),
        (["model_index.json", "unet/diffusion_pytorch_model.safetensors"], True),
        (["a.safetensors"], False),
        (["model.safetensors"], False),
        ([], False),
    ],
)
def test_a_repository_has_no_adapter_where_none_of_its_files_may_be_one(
    names: list[str], empty: bool
) -> None:
    """Whether their hashes are told or not."""
    assert has_no_adapter({"siblings": [{"rfilename": name} for name in names]}) is empty


def test_files_of_one_name_in_two_folders_have_two_names() -> None:
    """As of epochs: two results that are called the same cannot be told apart."""
    paths = ["e5/ink.safetensors", "e9/ink.safetensors", "other.safetensors"]
    files = listed_files({"siblings": list(map(sibling, paths))})

    found = read_detail(
        {}, ListedItem("alice/cat", DAY), files, "https://hub.example", has_token=False
    )

    assert [r.name for r in found] == ["cat (e5/ink)", "cat (e9/ink)", "cat (other)"]


def test_the_tree_says_the_same() -> None:
    item = {"type": "file", "path": "a.safetensors", "size": 134, "lfs": {"oid": "b" * 64}}

    assert [(file.name, file.sha256) for file in tree_files([item, None, 7])] == [
        ("a.safetensors", "b" * 64)
    ]
    assert tree_files({"error": "x"}) == []


@pytest.mark.parametrize(
    ("card", "prompt", "words"),
    [
        ({"instance_prompt": "zqx, blue fox"}, None, ("zqx", "blue fox")),
        ({"instance_prompt": ["zqx", None, 7]}, None, ("zqx",)),
        (
            {"instance_prompt": None, "widget": [{"text": "-", "output": {"url": "i.png"}}]},
            None,
            (),
        ),
        ({"widget": [{"text": "a fox", "output": {"url": "i.png"}}]}, "a fox", ()),
        ({"widget": [{"text": {"x": 1}, "output": {"url": "i.png"}}]}, None, ()),
    ],
)
def test_cards_say_words_and_prompts(
    card: dict[str, Any], prompt: str | None, words: tuple[str, ...]
) -> None:
    record = read({"cardData": card})

    assert record.trigger_words == words
    assert [cover.prompt for cover in record.covers] == ([prompt] if "widget" in card else [])


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("images/a b.png", "https://hub.example/alice/cat/resolve/main/images/a b.png"),
        ("https://cdn.example/x.png", "https://cdn.example/x.png"),
        ("data:image/png;base64,AAAA", None),
        ("file:///etc/passwd", None),
        ("video.MP4", None),
        ("https://[bad", None),
        (7, None),
        ("", None),
    ],
)
def test_covers_are_web_addresses_of_pictures(url: Any, address: str | None) -> None:
    record = read({"cardData": {"widget": [{"output": {"url": url}}]}})

    assert [cover.url for cover in record.covers] == ([address] if address else [])


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({"cardData": {"base_model": "a/b"}}, ("a/b",)),
        ({"cardData": {"base_model": ["a/b", "c/d", None]}}, ("a/b", "c/d")),
        ({"tags": ["base_model:a/b", "base_model:adapter:a/b", "lora"]}, ("a/b",)),
        ({"cardData": {"base_model": {"x": 1}}}, ()),
        ({}, ()),
    ],
)
def test_the_base_is_found_in_card_and_tags(detail: dict[str, Any], words: tuple[str, ...]) -> None:
    assert read(detail).base_model_words == words


def test_other_licences_are_named() -> None:
    assert read({"cardData": {"license": "other", "license_name": "flux"}}).licence == "flux"
    assert read({"cardData": {"license": "other"}}).licence == "other"
    assert read({"cardData": {"license": ["mit", "apache-2.0"]}}).licence == "mit, apache-2.0"
    assert read({"cardData": None}).licence is None


def test_what_is_not_for_all_is_mature_and_of_the_rest_nothing_is_known() -> None:
    assert read({"tags": ["not-for-all-audiences"]}).mature is True
    assert read({"tags": ["lora"]}).mature is None


@pytest.mark.parametrize("junk", [None, "x", 7, [], {}, [None], {"a": {}}, True])
def test_fields_of_any_kind_are_survived(junk: Any) -> None:
    fields = ("cardData", "tags", "siblings", "downloads", "createdAt", "gated", "disabled")

    assert read(dict.fromkeys(fields, junk)).created_at == DAY
    card = dict.fromkeys(("base_model", "instance_prompt", "license", "tags", "widget"), junk)
    assert read({"cardData": card}).repo == "alice/cat"


def test_a_config_belongs_to_pefts_file_or_to_the_only_one() -> None:
    siblings = [sibling("a.safetensors"), sibling("b.safetensors"), {"rfilename": ["x"]}]
    siblings += [sibling("x/adapter_model.safetensors"), {"rfilename": "x/adapter_config.json"}]
    detail = {"siblings": [*siblings, {"rfilename": "adapter_config.json"}]}
    files = listed_files(detail)

    assert [config_beside(detail, file) for file in files] == [
        "", "", "x/adapter_config.json",
    ]  # fmt: skip
