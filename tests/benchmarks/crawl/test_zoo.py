"""What a crawl is measured on: sound adapters, and a hub that says what the demo's says."""

import json
from pathlib import Path

import pytest

from benchmarks.crawl.__main__ import to_markdown
from benchmarks.crawl.hub import FixedHub
from benchmarks.crawl.measures import Figures
from benchmarks.crawl.zoo import write_large, write_many, write_small
from demo.hub.modelscope_facts import Hub
from encoder.adapter.lora_file import inspect
from encoder.adapter.safetensors_header import read_header


@pytest.mark.parametrize("base_model", ["flux.1-dev", "z-image"])
def test_large_adapters_are_what_they_are_called(tmp_path: Path, base_model: str) -> None:
    """Else a crawl would refuse what it is to fetch, and fetch what it is to refuse."""
    zoo = write_large(tmp_path / "zoo", {"a.safetensors": base_model}, 1)

    verdict = inspect(read_header(zoo / "a.safetensors"), "a.safetensors")

    assert (verdict.base_model, verdict.loadable) == (base_model, True)


def test_small_adapters_are_all_different_and_have_covers(tmp_path: Path) -> None:
    zoo = write_small(tmp_path / "zoo", 3)

    entries = json.loads((zoo / "listing.json").read_text())
    files = {(zoo / entry["file"]).read_bytes() for entry in entries}
    assert len(files) == len(entries) == 3
    assert all((zoo / cover["file"]).is_file() for entry in entries for cover in entry["covers"])


def test_a_hub_that_does_not_change_says_what_the_others_say(tmp_path: Path) -> None:
    zoo = write_many(tmp_path / "zoo", 5)
    fixed, usual = FixedHub(zoo, "http://hub"), Hub(zoo, "http://hub")

    assert fixed.page(1, 3) == usual.page(1, 3)
    assert fixed.detail("author-2/thing-2") == usual.detail("author-2/thing-2")
    assert fixed.read("one.safetensors")[:100] == usual.read("one.safetensors")[:100]


def test_the_table_has_a_figure_for_each_aim() -> None:
    told: dict[str, Figures] = {
        "memory": {"listed": 20_000, "first": 200e6, "most": 210e6},
        "curl": {
            "files": 2,
            "bytes": 4e6,
            "crawl_mb_s": 70.0,
            "curl_mb_s": 100.0,
            "ratio": 0.7,
            "crawl_cpu": 1.5,
        },
        "rate": {"adapters": 10, "a_second": 51.2, "seconds": {"fetch": 0.1}},
        "headers": {"files": 10, "bytes": 5e6, "share_of_others": 0.01, "share_of_all": 0.11},
    }

    table = to_markdown(told)

    for figure in ("0.70", "51 a second", "+10 MB", "1.0% of theirs", "11.0% of all"):
        assert figure in table
