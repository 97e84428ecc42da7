"""The folder that search without captions is measured in."""

import json
from pathlib import Path

from benchmarks.search.described import FILE, to_table, write_folder
from crawler.sources.folder import FolderSource


def test_what_is_right_is_there_and_what_is_nowhere_is_not() -> None:
    told = json.loads(FILE.read_text(encoding="utf-8"))
    names = [adapter["name"] for adapter in told["adapters"]]

    assert len(set(names)) == len(names)
    for questions in told["questions"].values():
        assert all(question["right"] for question in questions)
        assert {name for question in questions for name in question["right"]} <= {*names}
    asked = [question["text"] for some in told["questions"].values() for question in some]
    assert len({*asked, *told["absent"]}) == len(asked) + len(told["absent"])


def test_the_folder_is_read_as_it_is_described(tmp_path: Path) -> None:
    told = json.loads(FILE.read_text(encoding="utf-8"))["adapters"][:5]

    write_folder(tmp_path, told)

    records = sorted(FolderSource(tmp_path).list_adapters(), key=lambda r: r.file.name)  # type: ignore[union-attr]
    assert [record.name for record in records] == [adapter["name"] for adapter in told]  # type: ignore[union-attr]
    assert [list(record.tags) for record in records] == [adapter["tags"] for adapter in told]  # type: ignore[union-attr]


def test_the_table_has_a_row_for_each_way_and_set() -> None:
    row = {"questions": 2, "mrr": 0.5, "english": 0.25, "chinese": 0.75, "bands": {"fits": 1}}
    bands = {"fits": 1, "perhaps": 0, "probably not": 1, "not found": 0}
    results = {"words alone": {"first": row | {"bands": bands}}}

    assert "| first | 2 | words alone | 0.500 | 0.250 | 0.750 | 1 | 0 | 1 | 0 |" in to_table(
        results
    )
