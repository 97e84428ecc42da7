"""Files that Civitai has lost, from the mirrors that an archive knows, against loopback hubs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crawler.disk import DiskLimits
from crawler.errors import GoneError, NoRoomError, SourceError
from crawler.manners import Manners
from crawler.records import AdapterRecord
from crawler.sources import civarchive as archive_source
from crawler.sources.civitai import CivitaiSource
from demo.hub import civarchive, civitai
from demo.hub.civarchive import CivArchiveHub
from demo.hub.civitai import CivitaiHub
from demo.hub.whims import Whim
from tests.crawler.builders import add_entry

NAMES = ("cat", "dog")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[CivitaiHub]:
    """A Civitai that lists two models; the first one's file goes once it is listed."""
    for name in NAMES:
        add_entry(tmp_path / "zoo", name)
    with civitai.serve(tmp_path / "zoo") as hub:
        yield hub


@pytest.fixture
def archive(hub: CivitaiHub) -> Iterator[CivArchiveHub]:
    with civarchive.serve(hub.folder) as archive:
        yield archive


@pytest.fixture
def source(hub: CivitaiHub, archive: CivArchiveHub) -> Iterator[CivitaiSource]:
    with open_source(hub, archive) as source:
        yield source


def open_source(hub: CivitaiHub, archive: CivArchiveHub | None, **more: Any) -> CivitaiSource:
    address = f"{archive.endpoint}/api" if archive else None
    return CivitaiSource(hub.endpoint, "tok", manners=Manners(attempts=1), archive=address, **more)


def lost(hub: CivitaiHub, source: CivitaiSource) -> AdapterRecord:
    """Return what was listed of the first model, which is gone now."""
    record = next(item for item in source.list_adapters() if isinstance(item, AdapterRecord))
    del hub.entries[0]
    return record


def asked(hub: CivArchiveHub) -> list[str]:
    return [path.removeprefix("/api/").partition("/")[0] for _, path, _ in hub.requests]


def test_a_lost_file_comes_from_a_mirror(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path
) -> None:
    record = lost(hub, source)
    header = source.read_header(record)
    fetched = source.download(record, tmp_path / "files")

    data = (hub.folder / archive.entries[0]["file"]).read_bytes()
    assert fetched.path.read_bytes() == data
    assert fetched.sha256() == record.file.sha256
    assert header.size == len(data)
    # The archive is asked once for both, and Civitai's own address in its answer by nobody.
    assert [path.partition("/")[0] for path in asked(archive)] == ["sha256", "", ""]


def test_a_file_whose_model_alone_is_known_is_asked_for_by_that(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path
) -> None:
    archive.entries[0]["by_model"] = True

    assert source.download(lost(hub, source), tmp_path / "files").path.is_file()
    assert asked(archive)[:2] == ["sha256", "models"]


def test_an_archive_is_not_asked_about_what_the_hub_has(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path
) -> None:
    for record in source.list_adapters():
        assert isinstance(record, AdapterRecord)
        source.download(record, tmp_path / "files")

    assert archive.requests == []


def test_an_archive_is_not_asked_for_what_its_author_has_archived(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path
) -> None:
    record = next(item for item in source.list_adapters() if isinstance(item, AdapterRecord))
    hub.entries[0]["mode"] = "Archived"

    for fetch in (source.read_header, lambda record: source.download(record, tmp_path)):
        with pytest.raises(GoneError, match="HTTP 410"):
            fetch(record)

    assert archive.requests == []


def test_without_an_archive_or_a_hash_what_is_gone_is_gone(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path
) -> None:
    record = lost(hub, source)
    nameless = replace(record, file=replace(record.file, sha256=None))
    with open_source(hub, None) as alone, pytest.raises(GoneError, match="Civitai at"):
        alone.download(record, tmp_path / "files")
    with pytest.raises(GoneError, match="Civitai at"):
        source.download(nameless, tmp_path / "files")

    assert archive.requests == []


def test_what_the_archive_does_not_know_either_is_asked_about_once(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path
) -> None:
    archive.entries.clear()
    record = lost(hub, source)
    for _ in range(2):
        with pytest.raises(GoneError, match="CivArchive"):
            source.download(record, tmp_path / "files")

    assert asked(archive) == ["sha256"]


def test_an_archive_is_asked_about_so_many_files_only(
    hub: CivitaiHub,
    archive: CivArchiveHub,
    source: CivitaiSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive_source, "MOST_FILES", 1)
    record = lost(hub, source)
    source.download(record, tmp_path / "files")
    other = replace(record, file=replace(record.file, sha256="0" * 64))

    with pytest.raises(GoneError, match="next time"):
        source.download(other, tmp_path / "files")

    assert asked(archive).count("sha256") == 1


@pytest.mark.parametrize(
    ("answer", "whim"),
    [
        ("files", "error"), ("files", "cut"), ("files", "nulls"), ("files", "error body"),
        ("files", "redirect"), ("files", "wrong hash"), ("files", "other host"),
        ("file", "error"), ("file", "cut"), ("file", "damaged"), ("file", "redirect"),
        ("file", "error body"),
    ],
)  # fmt: skip
def test_whatever_an_archive_does_the_file_is_gone_and_nothing_of_it_is_kept(
    hub: CivitaiHub,
    archive: CivArchiveHub,
    source: CivitaiSource,
    tmp_path: Path,
    answer: str,
    whim: Whim,
) -> None:
    record = lost(hub, source)
    archive.whims.always[answer] = whim

    with pytest.raises(GoneError, match="Civitai at"):
        source.download(record, tmp_path / "files")

    assert archive.whims.served[whim] > 0
    assert not list((tmp_path / "files").rglob("*.safetensors"))


@pytest.mark.parametrize("whim", ["drip", "unknown fields"])
def test_a_slow_archive_and_one_that_says_more_do_no_harm(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path, whim: Whim
) -> None:
    archive.whims.drip_seconds = 0.05
    archive.whims.always["files"] = whim

    assert source.download(lost(hub, source), tmp_path / "files").path.is_file()


@pytest.mark.parametrize(
    "mirror",
    [
        "http://127.0.0.1:1/file", "https://169.254.169.254/file", "file:///etc/passwd",
        "https://localhost/file", "ftp://elsewhere.example/file", "https://[::1/file", "", 7, None,
        {"url": "https://elsewhere.example"},
        "https://civitai.red/api/download/models/1",
    ],
)  # fmt: skip
def test_a_mirror_leads_out_to_the_internet_or_nowhere(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path, mirror: Any
) -> None:
    record = lost(hub, source)
    archive.entries[0]["mirrors"] = [mirror]

    with pytest.raises(GoneError, match="no mirror that gives it"):
        source.download(record, tmp_path / "files")


def test_the_next_mirror_is_tried_and_only_so_many(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path
) -> None:
    record, good = lost(hub, source), f"{archive.endpoint}/mirror/100"
    other = f"{archive.endpoint}/mirror/101"
    archive.entries[0]["mirrors"] = [other, "https://127.0.0.1/", good]

    assert source.download(record, tmp_path / "files").sha256() == record.file.sha256

    with open_source(hub, archive) as again:
        archive.entries[0]["mirrors"] = [f"{other}?{n}" for n in range(5)] + [good]
        archive.requests.clear()
        with pytest.raises(GoneError):
            again.download(record, tmp_path / "more")
    assert len(asked(archive)) == 1 + archive_source.MOST_MIRRORS


def test_no_token_goes_to_the_archive_or_a_mirror(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path
) -> None:
    source.download(lost(hub, source), tmp_path / "files")

    assert archive.headers
    assert not any("authorization" in map(str.lower, sent) for sent in archive.headers)


def test_a_full_disk_is_no_fault_of_a_mirror(
    hub: CivitaiHub, archive: CivArchiveHub, tmp_path: Path
) -> None:
    full = DiskLimits(reserved_bytes=10**9, usage=lambda _: (10**12, 0, 10**9))
    with open_source(hub, archive, limits=full) as source, pytest.raises(NoRoomError):
        source.download(lost(hub, source), tmp_path / "files")


def test_an_archive_that_is_down_is_left_alone_after_some_tries(
    hub: CivitaiHub, archive: CivArchiveHub, source: CivitaiSource, tmp_path: Path
) -> None:
    """And the hub itself is not thought to rest."""
    record = lost(hub, source)
    archive.faults.down = True
    for number in range(10):
        other = replace(record, file=replace(record.file, sha256=f"{number:064x}"))
        with pytest.raises(SourceError) as caught:
            source.download(other, tmp_path / "files")
        assert type(caught.value) is GoneError

    assert len(archive.requests) < 20
