"""PEFT's config beside an adapter on the hub: without its alpha the adapter draws otherwise."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crawler.manners import Manners
from crawler.peft_config import MAX_CONFIG_BYTES, find_configs
from crawler.records import AdapterRecord, Refusal
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from tests.crawler.builders import add_entry

# One whose detail names its files, and one that keeps them to the list of all files.
IN_DETAIL, IN_LIST = "alpha", "cat"
CONFIG = json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 16})


@contextmanager
def hub_with(folder: Path, config: bytes | None, name: str = IN_LIST) -> Iterator[Hub]:
    """A hub with one adapter and what lies beside it, and another adapter with nothing."""
    beside = {}
    if config is not None:
        (folder / "config").write_bytes(config)
        beside = {"adapter_config.json": "config"}
    add_entry(folder, name, beside=beside)
    add_entry(folder, "dog")
    with serve(folder) as hub:
        yield hub


def crawl(hub: Hub) -> tuple[dict[str, AdapterRecord], dict[str, str]]:
    """Return records, and reasons for refusals, by the repository's name."""
    with ModelScopeSource(hub.endpoint, manners=Manners(attempts=2)) as source:
        found = list(source.list_adapters())
    records = {item.repo[6:]: item for item in found if isinstance(item, AdapterRecord)}
    return records, {item.repo[6:]: item.reason for item in found if isinstance(item, Refusal)}


def asked_for(hub: Hub, what: str) -> list[str]:
    return [path for _, path, _ in hub.requests if what in path]


def test_the_two_kinds_of_repositories_are_what_they_are_taken_for(tmp_path: Path) -> None:
    add_entry(tmp_path, IN_DETAIL)
    add_entry(tmp_path, IN_LIST)
    with serve(tmp_path) as hub:
        details = [hub.detail(f"alice/{name}") for name in (IN_DETAIL, IN_LIST)]

    assert [bool(detail and detail["ModelInfos"]) for detail in details] == [True, False]


def test_a_config_beside_the_only_file_is_taken_as_it_is_written(tmp_path: Path) -> None:
    with hub_with(tmp_path, CONFIG.encode()) as hub:
        records, refused = crawl(hub)

    assert refused == {}
    assert records[IN_LIST].file.peft_config == CONFIG
    assert records["dog"].file.peft_config == ""
    assert len(asked_for(hub, "adapter_config.json")) == 1


def test_where_there_is_none_nothing_is_asked(tmp_path: Path) -> None:
    add_entry(tmp_path, IN_LIST)
    add_entry(tmp_path, IN_DETAIL)
    with serve(tmp_path) as hub:
        records, _ = crawl(hub)

    assert {record.file.peft_config for record in records.values()} == {""}
    assert asked_for(hub, "FilePath=") == []
    assert asked_for(hub, f"{IN_DETAIL}/repo/files") == []


def test_pefts_own_name_has_the_list_of_all_files_looked_at(tmp_path: Path) -> None:
    """The detail names weights only, and PEFT writes no weights without a config."""
    with hub_with(tmp_path, CONFIG.encode(), IN_DETAIL) as hub:
        hub.faults.listed_as[hub.entries[0]["file"]] = "adapter_model.safetensors"
        records, refused = crawl(hub)

    assert refused == {}
    assert records[IN_DETAIL].file.name == "adapter_model.safetensors"
    assert records[IN_DETAIL].file.peft_config == CONFIG


@pytest.mark.parametrize(
    ("names", "configs"),
    [
        ({"a.safetensors", "b.safetensors", "adapter_config.json"}, {}),
        (
            {"adapter_model.safetensors", "b.safetensors", "adapter_config.json"},
            {"adapter_model.safetensors": "adapter_config.json"},
        ),
        (
            {"1/x.safetensors", "1/adapter_config.json", "2/x.safetensors"},
            {"1/x.safetensors": "1/adapter_config.json"},
        ),
        ({"1/x.safetensors", "adapter_config.json"}, {}),
        ({"adapter_config.json"}, {}),
    ],
)
def test_a_config_belongs_to_pefts_file_or_to_the_only_one_of_its_folder(
    names: set[str], configs: dict[str, str]
) -> None:
    assert find_configs(names) == configs


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b"{" + b" " * MAX_CONFIG_BYTES + b"}", "is larger than 1 MB"),
        ('{"r": "caf\xe9"}'.encode("latin-1"), "is not text in UTF-8"),
    ],
)
def test_without_a_config_that_can_be_read_a_repository_is_refused_by_itself(
    tmp_path: Path, config: bytes, said: str
) -> None:
    """Taken without it, it would draw something else."""
    with hub_with(tmp_path, config) as hub:
        records, refused = crawl(hub)

    assert list(records) == ["dog"]
    assert said in refused[IN_LIST]
    assert "adapter_config.json" in refused[IN_LIST]


def test_a_config_that_is_cut_once_is_asked_for_again(tmp_path: Path) -> None:
    with hub_with(tmp_path, CONFIG.encode()) as hub:
        hub.faults.cut_once.add("config")
        records, refused = crawl(hub)

    assert refused == {}
    assert records[IN_LIST].file.peft_config == CONFIG


def test_a_config_that_has_vanished_refuses_its_repository(tmp_path: Path) -> None:
    with hub_with(tmp_path, CONFIG.encode()) as hub:
        hub.faults.redirect["config"] = f"{hub.endpoint}/nowhere"
        records, refused = crawl(hub)

    assert list(records) == ["dog"]
    assert "has no such thing" in refused[IN_LIST]
