import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crawler.errors import DownloadError, HashMismatchError, SourceError
from crawler.records import AdapterRecord, CoverRecord, Refusal
from crawler.sources.folder import FolderSource
from tests.crawler.builders import image_bytes, write_adapter


def list_records(folder: Path, since: datetime | None = None) -> list[AdapterRecord]:
    found = list(FolderSource(folder).list_adapters(since))
    assert all(isinstance(item, AdapterRecord) for item in found)
    return [item for item in found if isinstance(item, AdapterRecord)]


def test_facts_come_from_sidecar_then_header_then_name(tmp_path: Path) -> None:
    write_adapter(
        tmp_path / "sub" / "a.safetensors",
        metadata={
            "ss_output_name": "From header",
            "ss_base_model_version": "flux1",
            "modelspec.trigger_phrase": "zap",
        },
    )
    write_adapter(tmp_path / "b.safetensors", metadata={"ss_output_name": "Overruled"})
    (tmp_path / "b.json").write_text(json.dumps({"name": "From sidecar", "base_model": "SDXL 1.0"}))
    write_adapter(tmp_path / "c.safetensors")

    records = {record.file.name: record for record in list_records(tmp_path)}

    assert {name: record.name for name, record in records.items()} == {
        "sub/a.safetensors": "From header",
        "b.safetensors": "From sidecar",
        "c.safetensors": "c",
    }
    assert [records[name].base_model_words for name in sorted(records)] == [
        ("SDXL 1.0",),
        (),
        ("flux1",),
    ]
    assert records["sub/a.safetensors"].trigger_words == ("zap",)


def test_only_what_changed_is_listed_oldest_first(tmp_path: Path) -> None:
    for day, name in enumerate(["new", "old", "middle"]):
        write_adapter(tmp_path / f"{name}.safetensors", seed=day)
    for name, seconds in [("old", 1000), ("middle", 2000), ("new", 3000)]:
        os.utime(tmp_path / f"{name}.safetensors", (seconds, seconds))

    records = list_records(tmp_path, datetime.fromtimestamp(2000, UTC))

    assert [record.name for record in records] == ["middle", "new"]


def test_a_download_is_a_verified_copy(tmp_path: Path) -> None:
    write_adapter(tmp_path / "in" / "a.safetensors")
    (record,) = list_records(tmp_path / "in")

    path = FolderSource(tmp_path / "in").download(record, tmp_path / "out")

    assert path.read_bytes() == (tmp_path / "in" / "a.safetensors").read_bytes()


def test_a_file_that_changed_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "in" / "a.safetensors", seed=1)
    (record,) = list_records(tmp_path / "in")
    write_adapter(tmp_path / "in" / "a.safetensors", seed=2)

    with pytest.raises(HashMismatchError):
        FolderSource(tmp_path / "in").download(record, tmp_path / "out")

    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_a_file_that_has_gone_is_named(tmp_path: Path) -> None:
    write_adapter(tmp_path / "in" / "a.safetensors")
    (record,) = list_records(tmp_path / "in")
    (tmp_path / "in" / "a.safetensors").unlink()

    with pytest.raises(DownloadError, match="no longer there"):
        FolderSource(tmp_path / "in").download(record, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_one_broken_file_ends_nothing(tmp_path: Path, content: bytes) -> None:
    write_adapter(tmp_path / "good.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(content)

    found = list(FolderSource(tmp_path).list_adapters())

    assert sorted(type(item).__name__ for item in found) == ["AdapterRecord", "Refusal"]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "outside.safetensors")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")

    (found,) = FolderSource(tmp_path / "in").list_adapters()

    assert isinstance(found, Refusal)
    assert "leads out" in found.reason


def test_the_picture_beside_a_file_is_its_cover(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a b.safetensors")
    (tmp_path / "a b.png").write_bytes(image_bytes(kind="PNG"))
    (record,) = list_records(tmp_path)

    data = FolderSource(tmp_path).fetch_cover(record.covers[0])

    assert data == (tmp_path / "a b.png").read_bytes()


def test_a_cover_outside_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="outside"):
        FolderSource(tmp_path).fetch_cover(CoverRecord("file:///etc/passwd", None))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        list(FolderSource(tmp_path / "nowhere").list_adapters())


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\u202eb", "a\nb"])
def test_a_file_name_that_acts_on_a_terminal_is_refused_by_itself(
    tmp_path: Path, name: str
) -> None:
    write_adapter(tmp_path / "good.safetensors")
    write_adapter(tmp_path / f"{name}.safetensors")

    found = list(FolderSource(tmp_path).list_adapters())

    [refused] = [item for item in found if isinstance(item, Refusal)]
    assert "rename it" in refused.reason
    assert refused.repo.isprintable()
    assert len(found) == 2
