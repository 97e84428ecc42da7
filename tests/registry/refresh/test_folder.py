"""A folder as people have it: what an ordinary refresh notices, and what it keeps."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session, sessionmaker

from crawler.hashed_file import hash_file
from crawler.sources.folder import source as folder_source
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.models import Adapter, Caption, Cover
from registry.refresh.pipeline import STEPS, Pipeline
from registry.refresh.sources import open_source
from registry.refresh.steps.crawl import CrawlStep
from registry.text.cached_encoder import load_cached_text_encoder
from tests.builders import TEXT_ENCODER
from tests.crawler.builders import image_bytes
from tests.encoder.builders import make_factors, write_adapter

LONG_AGO = 1_000_000_000


class Folder:
    """A folder of adapters, and the registry that is refreshed from it."""

    def __init__(
        self,
        path: Path,
        settings: Settings,
        sessions: sessionmaker[Session],
        *,
        make: bool = True,
    ) -> None:
        self.path, self._settings, self.sessions = path, settings, sessions
        blobs = BlobStore(settings.blobs)
        self._pipeline = Pipeline(sessions, blobs, settings, load_cached_text_encoder(TEXT_ENCODER))
        if make:
            path.mkdir()

    def add(self, path_name: str, seed: int, **sidecar: object) -> Path:
        path = self.path / f"{path_name}.safetensors"
        path.parent.mkdir(exist_ok=True, parents=True)
        write_adapter(path, make_factors(seed))
        if sidecar:
            path.with_suffix(".json").write_text(json.dumps(sidecar))
        return path

    def refresh(
        self, *, full: bool = False, force: bool = False, crawl_only: bool = False
    ) -> list[str]:
        """Run an ordinary refresh; return what was wrong."""
        steps = (CrawlStep,) if crawl_only else STEPS
        source = open_source(str(self.path), self._settings)
        progress = self._pipeline.refresh(source, full=full, force=force, steps=steps)
        outcomes = [step.outcome for step in progress if step.outcome is not None]
        return [f"{one.adapter}: {one.message}" for one in outcomes if not one.ok]

    def adapters(self) -> dict[str, Adapter]:
        """Return what is there, by the path of its file."""
        with self.sessions() as session:
            there = session.scalars(select(Adapter).where(Adapter.state != "gone"))
            return {adapter.file_name.removesuffix(".safetensors"): adapter for adapter in there}

    def states(self) -> Counter[str]:
        with self.sessions() as session:
            return Counter(session.scalars(select(Adapter.state)))

    def captions(self, adapter_id: int) -> list[str]:
        with self.sessions() as session:
            return list(
                session.scalars(
                    select(Caption.text).join(Cover).where(Cover.adapter_id == adapter_id)
                )
            )


@pytest.fixture
def folder(tmp_path: Path, settings: Settings, sessions: sessionmaker[Session]) -> Folder:
    return Folder(tmp_path / "loras", settings, sessions)


def test_new_files_with_old_times_are_taken_and_deleted_ones_go(folder: Folder) -> None:
    folder.add("a", 1)
    assert folder.refresh() == []
    old = folder.add("sub/b", 2)
    os.utime(old, (LONG_AGO, LONG_AGO))
    assert folder.refresh() == []
    assert {name: a.state for name, a in folder.adapters().items()} == {
        "a": "ready",
        "sub/b": "ready",
    }

    (folder.path / "a.safetensors").unlink()
    assert folder.refresh() == []

    assert folder.adapters().keys() == {"sub/b"}


def test_a_moved_file_keeps_its_adapter_and_its_captions(folder: Folder) -> None:
    folder.add("a", 1, prompt="a red fox")
    (folder.path / "a.png").write_bytes(image_bytes(kind="PNG"))
    folder.refresh()
    before = folder.adapters()["a"]
    assert folder.captions(before.id) == ["a red fox"]
    (folder.path / "new").mkdir()
    for suffix in ("safetensors", "json", "png"):
        (folder.path / f"a.{suffix}").rename(folder.path / "new" / f"b.{suffix}")

    assert folder.refresh() == []

    after = folder.adapters()["new/b"]
    assert (after.id, after.state, after.repo) == (before.id, "ready", "loras/new/b")
    assert after.file_sha256 == before.file_sha256
    assert folder.captions(after.id) == ["a red fox"]
    assert folder.states() == {"ready": 1}


def test_a_file_moved_onto_another_takes_its_place(folder: Folder) -> None:
    folder.add("a", 1)
    folder.add("b", 2)
    folder.refresh()
    before = folder.adapters()
    (folder.path / "a.safetensors").replace(folder.path / "b.safetensors")

    assert folder.refresh() == []

    assert {name: a.id for name, a in folder.adapters().items()} == {"b": before["a"].id}
    assert folder.states() == {"ready": 1, "gone": 1}


def test_files_that_take_each_others_names_stay_who_they_are(folder: Folder) -> None:
    """The older goes aside, and the newer takes its name."""
    folder.add("style", 1)
    folder.add("style_new", 2)
    folder.refresh()
    before = {name: adapter.id for name, adapter in folder.adapters().items()}
    (folder.path / "style.safetensors").rename(folder.path / "style_old.safetensors")
    (folder.path / "style_new.safetensors").rename(folder.path / "style.safetensors")

    assert folder.refresh() == []

    after = {name: adapter.id for name, adapter in folder.adapters().items()}
    assert after == {"style_old": before["style"], "style": before["style_new"]}
    assert folder.states() == {"ready": 2}


def test_a_name_that_was_deleted_long_ago_may_be_taken(folder: Folder) -> None:
    """And the adapter that comes back later, under another name, is the one that it was."""
    folder.add("a", 1)
    b = folder.add("b", 2)
    folder.refresh()
    before, data = folder.adapters(), b.read_bytes()
    b.unlink()
    folder.refresh()
    (folder.path / "a.safetensors").rename(b)
    assert folder.refresh() == []
    (folder.path / "c.safetensors").write_bytes(data)
    assert folder.refresh() == []

    after = folder.adapters()
    assert after["b"].id == before["a"].id
    assert after["b"].state == after["c"].state == "ready"
    assert after["c"].file_sha256 == before["b"].file_sha256


def test_changed_bytes_are_read_whatever_the_time_says(folder: Folder) -> None:
    path = folder.add("a", 1)
    os.utime(path, (LONG_AGO, LONG_AGO))
    folder.refresh()
    before = folder.adapters()["a"]
    folder.add("a", 2)
    os.utime(path, (LONG_AGO, LONG_AGO))

    assert folder.refresh() == []

    after = folder.adapters()["a"]
    assert after.id == before.id
    assert after.state == "ready"
    assert after.file_sha256 != before.file_sha256


def test_a_sidecar_and_a_preview_that_come_later_are_taken(folder: Folder) -> None:
    folder.add("a", 1)
    folder.refresh()
    (folder.path / "a.json").write_text(
        json.dumps({"activation text": "zqx, blu", "preferred weight": 0.6})
    )
    (folder.path / "a.preview.png").write_bytes(image_bytes(1, kind="PNG"))
    folder.refresh()
    adapter = folder.adapters()["a"]
    assert (adapter.trigger_words, adapter.state) == (["zqx", "blu"], "ready")
    first = cover_of(folder, adapter.id)

    (folder.path / "a.preview.png").write_bytes(image_bytes(2, kind="PNG"))
    assert folder.refresh() == []

    assert cover_of(folder, adapter.id) != first


def cover_of(folder: Folder, adapter_id: int) -> str:
    with folder.sessions() as session:
        return session.scalars(select(Cover.sha256).where(Cover.adapter_id == adapter_id)).one()


def test_a_folder_that_did_not_change_is_not_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        folder.add(f"fox{seed}", seed, name=f"Fox {seed}")
    folder.refresh()
    read: list[str] = []
    monkeypatch.setattr(folder_source, "describe", lambda file, *_: read.append(file.name))
    monkeypatch.setattr(folder_source, "hash_file", lambda path: read.append(path.name))

    assert folder.refresh() == []

    assert read == []
    assert folder.states() == {"ready": 3}


def test_noting_that_nothing_changed_takes_the_same_number_of_queries(folder: Folder) -> None:
    """However many files there are."""
    counts = []
    for count in (2, 12):
        for seed in range(count):
            folder.add(f"fox{seed}", seed)
        folder.refresh(crawl_only=True)
        with counted(folder) as queries:
            folder.refresh(crawl_only=True)
        counts.append(len(queries))

    assert counts[0] == counts[1]


class counted:  # noqa: N801 (read as a word of a sentence)
    """The statements that are sent meanwhile."""

    def __init__(self, folder: Folder) -> None:
        with folder.sessions() as session:
            self._engine = session.get_bind()
        self._sent: list[str] = []

    def __enter__(self) -> list[str]:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self._sent

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, *told: object) -> None:
        self._sent.append(str(told[2]))


def test_an_emptied_folder_empties_nothing_at_once(folder: Folder) -> None:
    """It may not be mounted."""
    for seed in range(15):
        folder.add(f"fox{seed}", seed)
    folder.refresh(crawl_only=True)
    for path in folder.path.iterdir():
        path.rename(folder.path.parent / path.name)

    [problem] = folder.refresh(crawl_only=True)

    assert folder.states() == {"listed": 15}
    assert "15 of 15 adapters are not listed any more" in problem
    assert "mounted" in problem
    assert "`autolora refresh --force`" in problem
    for seed in range(15):
        name = f"fox{seed}.safetensors"
        (folder.path.parent / name).rename(folder.path / name)
    assert folder.refresh(crawl_only=True) == []
    assert folder.states() == {"listed": 15}


@pytest.mark.parametrize("force", [True, False])
def test_a_second_refresh_or_force_retires_what_is_missing_and_it_comes_back(
    folder: Folder, force: bool
) -> None:
    for seed in range(15):
        folder.add(f"fox{seed}", seed)
    folder.refresh()
    ids = {name: adapter.id for name, adapter in folder.adapters().items()}
    away = folder.path.with_name("away")
    folder.path.rename(away)
    folder.path.mkdir()
    if not force:
        assert folder.refresh()
    assert folder.refresh(force=force) == []
    assert folder.states() == {"gone": 15}

    folder.path.rmdir()
    away.rename(folder.path)
    assert folder.refresh() == []

    assert folder.states() == {"ready": 15}
    assert {name: adapter.id for name, adapter in folder.adapters().items()} == ids


def test_many_files_that_moved_at_once_are_not_missing(folder: Folder) -> None:
    for seed in range(15):
        folder.add(f"old/fox{seed}", seed)
    folder.refresh(crawl_only=True)
    ids = {adapter.id for adapter in folder.adapters().values()}
    (folder.path / "old").rename(folder.path / "new")

    assert folder.refresh(crawl_only=True) == []

    assert {adapter.id for adapter in folder.adapters().values()} == ids
    assert all(name.startswith("new/") for name in folder.adapters())


def test_bad_files_are_told_in_the_words_of_inspect_and_cost_themselves(folder: Folder) -> None:
    good = folder.add("good", 1)
    write = {
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
        "page": b"<!DOCTYPE html><html></html>",
        "cut": good.read_bytes()[:-100],
        "model": b"GGUF" + bytes(60),
    }
    for name, data in write.items():
        (folder.path / f"{name}.safetensors").write_bytes(data)
    (folder.path / "old.pt").write_bytes(b"PK\x03\x04" + bytes(60))
    (folder.path / "good.json").write_text("[]")
    Path(os.fsdecode(bytes(folder.path) + b"/caf\xe9.safetensors")).write_bytes(b"")

    problems = sorted(folder.refresh())

    said = dict(problem.split(": ", 1) for problem in problems)
    assert "Git LFS pointer" in said["loras/pointer"]
    assert "web page" in said["loras/page"]
    assert "bytes of data, the file has" in said["loras/cut"]
    assert "GGUF" in said["loras/model"]
    assert "Convert it to safetensors: python -c" in said["loras/old.pt"]
    assert "holds a list" in said["loras/good"]
    assert "not UTF-8" in said["loras/caf\\xe9"]
    assert len(said) == 7
    assert {name: a.state for name, a in folder.adapters().items()} == {"good": "ready"}
    assert sorted(folder.refresh()) == problems, "until they are mended"


def test_a_file_that_cannot_be_read_today_has_not_vanished(folder: Folder) -> None:
    path = folder.add("a", 1)
    folder.refresh()
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")

    assert folder.refresh()

    assert folder.states() == {"ready": 1}


def test_what_lies_in_a_folder_that_cannot_be_opened_has_not_vanished(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.add("closed.v1/a", 1)
    folder.add("b", 2)
    folder.add("c", 3)
    folder.refresh()
    (folder.path / "c.safetensors").unlink()
    scandir = os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "closed.v1":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        assert folder.refresh() == ["loras/closed.v1: cannot be read: Permission denied"]

    assert folder.adapters().keys() == {"closed.v1/a", "b"}


def test_a_broken_sidecar_keeps_no_deleted_folder_of_the_same_name(folder: Folder) -> None:
    folder.add("style/a", 1)
    folder.add("style", 2)
    (folder.path / "style.json").write_text("[]")
    folder.refresh(crawl_only=True)
    (folder.path / "style/a.safetensors").unlink()
    (folder.path / "style").rmdir()

    assert "holds a list" in "".join(folder.refresh(crawl_only=True))

    assert folder.adapters().keys() == {"style"}


def test_what_lies_behind_a_link_to_what_is_not_mounted_has_not_vanished(
    folder: Folder, tmp_path: Path
) -> None:
    (tmp_path / "drive").mkdir()
    (folder.path / "linked").symlink_to(tmp_path / "drive")
    folder.add("linked/a", 1)
    folder.refresh(crawl_only=True)
    (tmp_path / "drive").rename(tmp_path / "away")

    assert folder.refresh(crawl_only=True) == ["loras/linked: is a link that leads to nothing"]

    assert folder.adapters().keys() == {"linked/a"}


def test_a_full_refresh_looks_at_everything(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.add("a", 1)
    folder.refresh()
    looked_at: list[str] = []

    def hash_and_note(path: Path) -> str:
        looked_at.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(folder_source, "hash_file", hash_and_note)

    assert folder.refresh(full=True) == []

    assert looked_at == ["a.safetensors"]
    assert folder.states() == {"ready": 1}


def test_a_folder_in_another_lists_its_files_once_whichever_is_refreshed(
    folder: Folder, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    """As `autolora refresh --source` may be told of both, in turns, and of deeper ones."""
    folder.add("a", 1)
    for name in ("styles/b", "styles/ink/c", ".kept/d"):
        folder.add(name, 2, trigger_words=["zqx"])
    (folder.path / "styles/b.png").write_bytes(image_bytes(kind="PNG"))
    inner, deep, hidden = (
        Folder(folder.path / name, settings, sessions, make=False)
        for name in ("styles", "styles/ink", ".kept")
    )
    hidden.refresh()
    inner.refresh()
    ids = {name: one.id for name, one in inner.adapters().items()}
    assert ids.keys() == {"b", "ink/c", "d"}

    assert folder.refresh() == []
    assert {one.repo: one.state for one in folder.adapters().values()} == {
        "loras/a": "ready",
        "loras/styles/b": "ready",
        "loras/styles/ink/c": "ready",
        ".kept/d": "ready",
    }
    assert folder.adapters()["styles/b"].id == ids["b"]
    assert folder.refresh() == []

    assert deep.refresh() == []
    assert folder.adapters().keys() == {"a", "styles/b", "c", "d"}
    assert folder.adapters()["c"].id == ids["ink/c"]
    assert folder.states() == {"ready": 4}

    (folder.path / "styles/ink/c.safetensors").unlink()
    assert folder.refresh() == []
    assert folder.states() == {"ready": 3, "gone": 1}


def test_files_that_two_folders_listed_at_once_are_one_afterwards(
    folder: Folder, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    folder.add("styles/b", 2)
    folder.refresh()
    inner = Folder(folder.path / "styles", settings, sessions, make=False)
    with sessions.begin() as session:
        # As though both had begun before either listed anything.
        session.execute(update(Adapter).values(endpoint=str(folder.path / "elsewhere")))
    inner.refresh()
    with sessions.begin() as session:
        first = update(Adapter).where(Adapter.file_name == "styles/b.safetensors")
        session.execute(first.values(endpoint=str(folder.path)))
    assert folder.states() == {"ready": 2}

    assert folder.refresh() == []

    assert folder.states() == {"ready": 1, "gone": 1}
    assert folder.adapters().keys() == {"styles/b"}
