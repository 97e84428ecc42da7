from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crawler.download import download_folder, place, safe_relative_path
from crawler.errors import DownloadError
from crawler.records import AdapterRecord, FileRecord

DAY = datetime(2025, 1, 1, tzinfo=UTC)
RECORD = AdapterRecord(
    hub="modelscope",
    repo="alice/cat",
    version="",
    name="cat",
    author="alice",
    description="",
    trigger_words=(),
    tags=(),
    base_model_words=(),
    licence=None,
    mature=None,
    downloads=0,
    created_at=DAY,
    updated_at=DAY,
    file=FileRecord("cat.safetensors", None, "a" * 64),
    covers=(),
    page_url="",
)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../../x", "/x", "a\\b", "C:x", "a\0b", "a\nb", "x" * 250, "猫" * 85],
)
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(DownloadError, match="not safe"):
        safe_relative_path(name)


@pytest.mark.parametrize("name", ["x", "a/b.safetensors", "猫.safetensors", "a b..c", "./x"])
def test_safe_names_stay(name: str) -> None:
    assert safe_relative_path(name) == Path(name)


def test_equal_names_with_other_bytes_do_not_share_a_folder(tmp_path: Path) -> None:
    """One would go on with the other's partial transfer."""
    other = replace(RECORD, file=FileRecord("cat.safetensors", None, "b" * 64))

    assert download_folder(RECORD, tmp_path) != download_folder(other, tmp_path)
    assert download_folder(RECORD, tmp_path) == download_folder(RECORD, tmp_path)


def test_a_link_inside_the_target_leads_nowhere(tmp_path: Path) -> None:
    folder = download_folder(RECORD, tmp_path)
    folder.mkdir()
    (folder / "sub").symlink_to(tmp_path)
    record = replace(RECORD, file=replace(RECORD.file, name="sub/x.safetensors"))

    with pytest.raises(DownloadError, match="leads out"):
        place(record, tmp_path)
