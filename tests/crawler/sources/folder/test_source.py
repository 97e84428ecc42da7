"""What a folder lists, and what it notices the next time."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from crawler.disk import DiskLimits
from crawler.download import MAX_HEADER_BYTES
from crawler.errors import DownloadError, FileTooLargeError, NoRoomError, SourceError
from crawler.hashed_file import hash_file
from crawler.records import (
    AdapterRecord,
    CoverRecord,
    Listed,
    Moved,
    Refusal,
    Remembered,
    Unchanged,
)
from crawler.sources.folder import FolderSource, walking
from crawler.sources.folder import source as folder_source
from crawler.sources.folder.walking import Entry
from tests.crawler.builders import image_bytes, write_adapter
from tests.crawler.sources.folder.builders import list_records

LONG_AGO = 1_000_000_000


def remember(folder: Path, *, gone: tuple[str, ...] = ()) -> dict[str, Remembered]:
    """List a folder as for the first time, and keep of it what a registry keeps."""
    return {
        record.file.name: Remembered(
            hash_file(folder / record.file.name), record.stamp, record.file.name in gone
        )
        for record in list_records(folder)
    }


def list_again(folder: Path, before: Mapping[str, Remembered]) -> list[Listed]:
    return list(FolderSource(folder).list_adapters(remembered=before))


def told(listed: list[Listed]) -> list[str]:
    """What was listed, as words: `= a` unchanged, `b < a` moved, `a` read anew, `! why`."""
    words = []
    for item in listed:
        match item:
            case Unchanged(name):
                words.append(f"= {name}")
            case Moved(old, record):
                words.append(f"{record.file.name} < {old}")
            case Refusal(_, _, reason):
                words.append(f"! {reason}")
            case AdapterRecord():
                words.append(item.file.name)
    return words


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed from now on."""
    names = []

    def hash_and_note(path: Path) -> str:
        names.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(folder_source, "hash_file", hash_and_note)
    return names


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


def test_the_oldest_is_listed_first(tmp_path: Path) -> None:
    for day, name in enumerate(["new", "old", "middle"]):
        write_adapter(tmp_path / f"{name}.safetensors", seed=day)
    for name, seconds in [("old", 1000), ("middle", 2000), ("new", 3000)]:
        os.utime(tmp_path / f"{name}.safetensors", (seconds, seconds))

    assert [record.name for record in list_records(tmp_path)] == ["old", "middle", "new"]


def test_what_is_as_it_was_is_neither_read_nor_hashed(tmp_path: Path, hashed: list[str]) -> None:
    write_adapter(tmp_path / "a.safetensors", 1)
    write_adapter(tmp_path / "sub" / "b.safetensors", 2)
    before = remember(tmp_path)

    assert told(list_again(tmp_path, before)) == ["= a.safetensors", "= sub/b.safetensors"]
    assert hashed == []


def test_inodes_that_change_with_a_mount_are_no_change(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT and FUSE make them up; a file that comes may have the one that another had."""
    write_adapter(tmp_path / "a.safetensors", 1)
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "a.png").write_bytes(image_bytes(kind="PNG"))
    os.utime(tmp_path / "a.safetensors", (LONG_AGO, LONG_AGO))
    before = remember(tmp_path)
    write_adapter(tmp_path / "b.safetensors", 2)
    os.utime(tmp_path / "b.safetensors", (LONG_AGO, LONG_AGO))
    shift = (tmp_path / "a.safetensors").stat().st_ino - (tmp_path / "b.safetensors").stat().st_ino

    def remounted(path: Path, facts: os.stat_result) -> Entry:
        kept = {name: getattr(facts, name) for name in ("st_size", "st_mtime_ns", "st_ctime_ns")}
        return Entry(
            path, cast(os.stat_result, SimpleNamespace(st_ino=facts.st_ino + shift, **kept))
        )

    monkeypatch.setattr(walking, "Entry", remounted)

    assert sorted(told(list_again(tmp_path, before))) == ["= a.safetensors", "b.safetensors"]
    assert hashed == []


def test_a_file_that_came_with_an_old_time_is_noticed(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a.safetensors", 1)
    before = remember(tmp_path)
    write_adapter(tmp_path / "b.safetensors", 2)
    os.utime(tmp_path / "b.safetensors", (LONG_AGO, LONG_AGO))

    assert told(list_again(tmp_path, before)) == ["b.safetensors", "= a.safetensors"]


def test_other_bytes_of_the_same_length_and_time_are_noticed(
    tmp_path: Path, hashed: list[str]
) -> None:
    write_adapter(tmp_path / "a.safetensors", 1)
    os.utime(tmp_path / "a.safetensors", (LONG_AGO, LONG_AGO))
    before = remember(tmp_path)
    write_adapter(tmp_path / "other" / "a.safetensors", 2)
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "other/a.safetensors").read_bytes())
    (tmp_path / "other/a.safetensors").unlink()
    os.utime(tmp_path / "a.safetensors", (LONG_AGO, LONG_AGO))

    (listed,) = list_again(tmp_path, before)

    assert isinstance(listed, AdapterRecord)
    assert listed.file.sha256 == hash_file(tmp_path / "a.safetensors")
    assert listed.file.sha256 != before["a.safetensors"].sha256
    assert hashed == ["a.safetensors"]


def test_a_renamed_folder_moves_its_files_without_hashing(
    tmp_path: Path, hashed: list[str]
) -> None:
    for seed in range(3):
        write_adapter(tmp_path / "old" / f"{seed}.safetensors", seed)
    before = remember(tmp_path)
    (tmp_path / "old").rename(tmp_path / "new")

    listed = list_again(tmp_path, before)

    assert told(listed) == [f"new/{n}.safetensors < old/{n}.safetensors" for n in range(3)]
    hashes = [item.record.file.sha256 for item in listed if isinstance(item, Moved)]
    assert hashes == [kept.sha256 for kept in before.values()]
    assert hashed == []


def test_a_copy_whose_source_is_deleted_has_moved(tmp_path: Path, hashed: list[str]) -> None:
    """As between two disks; and only what has the size of something missing is hashed."""
    write_adapter(tmp_path / "a.safetensors", 1)
    before = remember(tmp_path)
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").unlink()
    (tmp_path / "b.safetensors").write_bytes(data)
    write_adapter(tmp_path / "c.safetensors", 2, {"ss_output_name": "of another size"})

    listed = list_again(tmp_path, before)

    assert told(listed) == ["b.safetensors < a.safetensors", "c.safetensors"]
    assert hashed == ["b.safetensors"]


def test_a_copy_beside_its_source_is_a_file_of_its_own(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a.safetensors", 1)
    before = remember(tmp_path)
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    os.link(tmp_path / "a.safetensors", tmp_path / "c.safetensors")

    listed = told(list_again(tmp_path, before))

    # A second name changes the entry of the first, which is looked at.
    assert sorted(listed) == ["a.safetensors", "b.safetensors", "c.safetensors"]


def test_a_name_that_was_taken_over_leads_to_the_file_that_moved(tmp_path: Path) -> None:
    """A trainer's `last` becomes `first`, and another file `last`."""
    write_adapter(tmp_path / "last.safetensors", 1)
    before = remember(tmp_path)
    (tmp_path / "last.safetensors").rename(tmp_path / "first.safetensors")
    write_adapter(tmp_path / "last.safetensors", 2)

    listed = list_again(tmp_path, before)

    assert told(listed) == ["first.safetensors < last.safetensors", "last.safetensors"]


def test_files_that_change_places_stay_under_their_names(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a.safetensors", 1)
    write_adapter(tmp_path / "b.safetensors", 2)
    before = remember(tmp_path)
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        (tmp_path / f"{old}.safetensors").rename(tmp_path / f"{new}.safetensors")

    assert sorted(told(list_again(tmp_path, before))) == ["a.safetensors", "b.safetensors"]


def test_what_was_gone_and_is_back_is_described_without_hashing(
    tmp_path: Path, hashed: list[str]
) -> None:
    write_adapter(tmp_path / "a.safetensors", 1)
    before = remember(tmp_path, gone=("a.safetensors",))

    (listed,) = list_again(tmp_path, before)

    assert isinstance(listed, AdapterRecord)
    assert listed.file.sha256 == before["a.safetensors"].sha256
    assert hashed == []


@pytest.mark.parametrize(
    "name", ["a.json", "a.txt", "a.civitai.info", "a.metadata.json", "a.preview.png", "README.md"]
)
def test_a_sidecar_that_comes_later_is_read_and_the_file_not_hashed(
    tmp_path: Path, name: str, hashed: list[str]
) -> None:
    write_adapter(tmp_path / "a.safetensors", 1)
    before = remember(tmp_path)
    (tmp_path / name).write_text("{}")

    assert told(list_again(tmp_path, before))[0] == "a.safetensors"
    assert hashed == []


def test_a_file_that_comes_beside_another_takes_the_card_from_it(
    tmp_path: Path, hashed: list[str]
) -> None:
    """It is one's, and nobody knows whose."""
    write_adapter(tmp_path / "a.safetensors", 1)
    (tmp_path / "README.md").write_text("---\ninstance_prompt: zqx\n---\n")
    before = remember(tmp_path)
    write_adapter(tmp_path / "b.safetensors", 2)

    listed = list_again(tmp_path, before)

    words = {one.name: one.trigger_words for one in listed if isinstance(one, AdapterRecord)}
    assert words == {"a": (), "b": ()}
    assert hashed == []


def test_without_stamps_all_is_read_again(tmp_path: Path, hashed: list[str]) -> None:
    write_adapter(tmp_path / "a.safetensors", 1)
    before = {name: replace(kept, stamp=None) for name, kept in remember(tmp_path).items()}

    assert told(list_again(tmp_path, before)) == ["a.safetensors"]
    assert hashed == ["a.safetensors"]


def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    write_adapter(tmp_path / "elsewhere" / "b.safetensors", 2)
    folder = tmp_path / "in"
    write_adapter(folder / "sub" / "a.safetensors", 1)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "linked-again").symlink_to(tmp_path / "elsewhere")
    (folder / "aaa").symlink_to(folder / "sub")
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "sub" / "itself").symlink_to(folder / "sub" / "itself")

    listed = list(FolderSource(folder).list_adapters())

    names = [item.file.name for item in listed if isinstance(item, AdapterRecord)]
    assert sorted(names) == ["linked/b.safetensors", "sub/a.safetensors"]
    assert len(told(listed)) == 3, "the link to itself is told of"


def test_a_link_to_a_file_elsewhere_is_followed_and_one_to_nothing_told(tmp_path: Path) -> None:
    write_adapter(tmp_path / "outside.safetensors")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / "broken.safetensors").symlink_to(tmp_path / "nothing")

    source = FolderSource(folder)
    problem, record = source.list_adapters()

    assert isinstance(problem, Refusal)
    assert (problem.repo, problem.reason) == ("in/broken", "is a link that leads to nothing")
    assert isinstance(record, AdapterRecord)
    copied = source.download(record, tmp_path / "out").path
    assert copied.read_bytes() == (tmp_path / "outside.safetensors").read_bytes()


@pytest.mark.parametrize("sidecar", ["a.txt", "a.json", "README.md"])
def test_a_sidecar_that_leads_elsewhere_is_not_read(tmp_path: Path, sidecar: str) -> None:
    """A stranger's folder must not have a file of this machine shown as a description."""
    (tmp_path / "secret").write_text('{"description": "secret"}')
    folder = tmp_path / "in"
    write_adapter(folder / "a.safetensors")
    (folder / sidecar).symlink_to(tmp_path / "secret")

    record, problem = FolderSource(folder).list_adapters()

    assert isinstance(record, AdapterRecord)
    assert record.description == ""
    assert told([problem]) == [f"! {sidecar} is a link that leads elsewhere; it was not read"]


def test_sidecars_beside_what_weights_are_linked_to_are_read(tmp_path: Path) -> None:
    """Hugging Face's cache is made of such links."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    write_adapter(blobs / "1.safetensors")
    (blobs / "2").write_text("---\ninstance_prompt: zqx\n---\n")
    snapshot.mkdir(parents=True)
    (snapshot / "pytorch_lora_weights.safetensors").symlink_to(blobs / "1.safetensors")
    (snapshot / "README.md").symlink_to(blobs / "2")

    (record,) = list_records(snapshot)

    assert record.trigger_words == ("zqx",)


def test_pictures_beside_what_weights_are_linked_to_are_covers(tmp_path: Path) -> None:
    """Where the sidecars of such weights are read, so are their pictures; others' are not."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    write_adapter(blobs / "1.safetensors")
    (blobs / "2").write_text("---\nwidget:\n- output: {url: images/fox.png}\n---\n")
    for seed, name in enumerate(("3", "4")):
        (blobs / name).write_bytes(image_bytes(seed, kind="PNG"))
    (snapshot / "images").mkdir(parents=True)
    for name, blob in (
        ("ink.safetensors", "1.safetensors"),
        ("README.md", "2"),
        ("ink.png", "3"),
        ("images/fox.png", "4"),
    ):
        (snapshot / name).symlink_to(blobs / blob)
    source = FolderSource(snapshot)

    (record,) = list_records(snapshot)

    pictures = [source.fetch_cover(cover) for cover in record.covers]
    assert pictures == [image_bytes(seed, kind="PNG") for seed in (0, 1)]
    (tmp_path / "secret.png").write_bytes(image_bytes(kind="PNG"))
    (snapshot / "ink.png").unlink()
    (snapshot / "ink.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(SourceError, match="outside"):
        source.fetch_cover(record.covers[0])


def test_a_name_that_is_not_utf8_costs_itself_only(tmp_path: Path) -> None:
    write_adapter(tmp_path / "good.safetensors", 1)
    data = (tmp_path / "good.safetensors").read_bytes()
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.safetensors")).write_bytes(data)
    bad = Path(os.fsdecode(bytes(tmp_path) + b"/dir\xff"))
    bad.mkdir()
    (bad / "a.safetensors").write_bytes(data)

    listed = list(FolderSource(tmp_path).list_adapters())

    problems = [item for item in listed if isinstance(item, Refusal)]
    assert sorted(problem.repo for problem in problems) == [
        f"{tmp_path.name}/caf\\xe9",
        f"{tmp_path.name}/dir\\xff/a",
    ]
    assert all("not UTF-8" in problem.reason for problem in problems)
    assert told(listed)[-1] == "good.safetensors"


@pytest.mark.parametrize(
    "name",
    ["a:b\\c", "x" * 240, "\u732b " * 20, "a#b?c%20",
     # Of input methods and of phones: spaces that do not print, joined, private and coming emoji.
     "\u732b\u3000\u72d0", "a\u00a0b", "\U0001f469\u200d\U0001f3a8", "\ue000", "\U0001fae9"],
)  # fmt: skip
def test_any_name_that_the_file_system_takes_can_be_copied(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    write_adapter(folder / f"{name}.safetensors")
    (folder / f"{name}.png").write_bytes(image_bytes(kind="PNG"))
    source = FolderSource(folder)
    (record,) = list_records(folder)

    path = source.download(record, tmp_path / "out").path

    assert record.name.isprintable()
    assert record.name
    assert path.read_bytes() == (folder / f"{name}.safetensors").read_bytes()
    assert source.fetch_cover(record.covers[0]) == image_bytes(kind="PNG")


def test_an_unreadable_folder_inside_is_told_and_what_is_in_it_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_adapter(tmp_path / "a.safetensors", 1)
    write_adapter(tmp_path / "closed.v1" / "b.safetensors", 2)
    scandir = os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        # Root, who runs tests in containers, may open everything.
        if path.name == "closed.v1":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    problem, record = FolderSource(tmp_path).list_adapters()

    assert isinstance(problem, Refusal)
    assert problem.repo == f"{tmp_path.name}/closed.v1"
    assert problem.reason == "cannot be read: Permission denied"
    assert isinstance(record, AdapterRecord)


def test_pickles_are_told_of_unless_they_are_a_trainers_state_or_converted(tmp_path: Path) -> None:
    write_adapter(tmp_path / "done.safetensors")
    for name in ("style.pt", "done.ckpt", "optimizer.bin", "tokenizer.bin", "old.bin"):
        (tmp_path / name).write_bytes(b"PK\x03\x04" if name != "tokenizer.bin" else b"words")
    (tmp_path / "old.bin").write_bytes(b"\x80\x02}q")
    # Half a download, or what a site answered in its place.
    (tmp_path / "broken.ckpt").write_bytes(b"<html>")
    source = FolderSource(tmp_path, explain=lambda path: f"explained {path.name}")

    listed = told(list(source.list_adapters()))

    told_of = ["broken.ckpt", "old.bin", "style.pt"]
    assert listed == [*(f"! explained {name}" for name in told_of), "done.safetensors"]


def test_a_short_name_of_the_format_is_told_of(tmp_path: Path) -> None:
    """ComfyUI and Forge take it for safetensors, and a file that is not seen puzzles people."""
    for name in ("a.sft", "b.SFT", "b.safetensors"):
        write_adapter(tmp_path / name)

    listed = list(FolderSource(tmp_path).list_adapters())

    assert told(listed) == [
        "! is called .sft: rename it to .safetensors, and it is read", "b.safetensors"
    ]  # fmt: skip


@pytest.mark.parametrize("rest", ["a.safetensors.aria2", "a.safetensors.ST"])
def test_what_is_still_being_downloaded_waits_and_has_not_vanished(
    tmp_path: Path, rest: str
) -> None:
    """aria2 gives a file its full size at once: it is read without an error, and half is zeros."""
    write_adapter(tmp_path / "a.safetensors")
    write_adapter(tmp_path / "b.safetensors")
    before = remember(tmp_path)
    (tmp_path / rest).write_bytes(b"\0\1")
    # Its bytes turn up elsewhere as well: that is a copy, and nothing moved.
    (tmp_path / "c.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    # Given up by a browser, perhaps long ago: it says nothing of the file.
    (tmp_path / "b.safetensors.part").write_bytes(b"")

    waiting = f"! is still being downloaded: {rest} lies beside it"
    assert told(list_again(tmp_path, before)) == [waiting, "= b.safetensors", "c.safetensors"]
    (tmp_path / rest).unlink()
    assert "= a.safetensors" in told(list_again(tmp_path, before))


def test_a_download_is_a_copy(tmp_path: Path) -> None:
    write_adapter(tmp_path / "in" / "a.safetensors")
    (record,) = list_records(tmp_path / "in")

    path = FolderSource(tmp_path / "in").download(record, tmp_path / "out").path

    assert path.read_bytes() == (tmp_path / "in" / "a.safetensors").read_bytes()


def test_a_file_that_changed_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "in" / "a.safetensors", seed=1)
    (record,) = list_records(tmp_path / "in")
    write_adapter(tmp_path / "in" / "a.safetensors", seed=2)

    with pytest.raises(DownloadError, match="has changed since it was listed"):
        FolderSource(tmp_path / "in").download(record, tmp_path / "out")

    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_the_start_of_a_file_is_shown_before_it_is_copied(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a.safetensors")
    (tmp_path / "huge.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    [record] = [r for r in FolderSource(tmp_path).list_adapters() if isinstance(r, AdapterRecord)]
    whole = (tmp_path / "a.safetensors").read_bytes()
    source = FolderSource(tmp_path)

    header = source.read_header(record)

    assert (header.size, header.sha256) == (len(whole), None)
    assert header.data == whole[: 8 + int.from_bytes(whole[:8], "little")]
    huge = replace(record, file=replace(record.file, name="huge.safetensors"))
    assert source.read_header(huge).data == b"\xff" * 8 + b"{}"
    outside = replace(record, file=replace(record.file, name="../x.safetensors"))
    with pytest.raises(DownloadError, match="leads out"):
        source.read_header(outside)


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


def test_a_header_that_is_not_read_is_not_listed_either(tmp_path: Path) -> None:
    """One of 84 MB would take 1.3 GB to parse."""
    header = b'{"__metadata__": {"modelspec.title": "Ink"}}'.ljust(MAX_HEADER_BYTES + 8)
    content = len(header).to_bytes(8, "little") + header
    (tmp_path / "a.safetensors").write_bytes(content)

    [refusal] = FolderSource(tmp_path).list_adapters()

    assert isinstance(refusal, Refusal)
    assert refusal.reason == "has a header of 10,000,008 bytes; 10,000,000 are read"


def test_the_picture_beside_a_file_is_its_cover(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a b.safetensors")
    (tmp_path / "a b.png").write_bytes(image_bytes(kind="PNG"))
    (record,) = list_records(tmp_path)

    data = FolderSource(tmp_path).fetch_cover(record.covers[0])

    assert data == (tmp_path / "a b.png").read_bytes()


def test_pictures_are_covers_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a.safetensors")
    for name, kind in (("a.thumb.jpg", "JPEG"), ("a.webp", "WEBP"), ("a.preview.gif", "GIF")):
        (tmp_path / name).write_bytes(image_bytes(kind=kind))

    [record] = list_records(tmp_path)

    names = [cover.url.partition("#")[0].rpartition("/")[2] for cover in record.covers]
    assert names == ["a.preview.gif", "a.webp", "a.thumb.jpg"]


def test_a_picture_that_cannot_be_read_is_asked_for_again(tmp_path: Path) -> None:
    """A mount that is away for a moment must not cost a cover and its captions."""
    write_adapter(tmp_path / "a.safetensors")
    picture = tmp_path / "a.png"
    picture.write_bytes(image_bytes(kind="PNG"))
    (record,) = list_records(tmp_path)
    picture.unlink()

    with pytest.raises(SourceError, match="No such file") as caught:
        FolderSource(tmp_path).fetch_cover(record.covers[0])

    assert caught.value.retryable


def test_a_cover_outside_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="outside"):
        FolderSource(tmp_path).fetch_cover(CoverRecord("file:///etc/passwd", None))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        list(FolderSource(tmp_path / "nowhere").list_adapters())


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\u202eb", "a\nb", "a\u2028b"])
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


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (DiskLimits(max_file_bytes=100), FileTooLargeError),
        (DiskLimits(usage=lambda _: (10**12, 0, 100)), NoRoomError),
    ],
)
def test_what_may_not_be_had_leaves_nothing_behind(
    tmp_path: Path, limits: DiskLimits, error: type[Exception]
) -> None:
    write_adapter(tmp_path / "in" / "a.safetensors")
    (record,) = list_records(tmp_path / "in")

    with pytest.raises(error):
        FolderSource(tmp_path / "in", limits).download(record, tmp_path / "out")

    assert not list((tmp_path / "out").rglob("*"))
