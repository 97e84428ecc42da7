"""One's own folders over HTTP and on their page: watched, refreshed, filled, rid of copies."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from registry.api import folder_keeper, server_events
from registry.api.forms import MOST_FIELDS
from registry.api.routes import folder_pages
from registry.db import own_folders, runs
from registry.db.adapters import Origin
from registry.own_folders import OwnFolders
from registry.refresh import pipeline
from registry.service import Registry
from tests.builders import add_adapter
from tests.encoder.builders import make_factors, write_adapter, write_tensors

PATIENCE_SECONDS = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "loras"
    folder.mkdir()
    write_adapter(folder / "fox.safetensors", make_factors(1))
    return folder


pytestmark = pytest.mark.usefixtures("trash")


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def folders_of(client: TestClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/v1/folders").json()["items"]
    return items


def settle(client: TestClient, count: int) -> None:
    """Wait until so many adapters can be found, and nothing is under way."""
    wait(
        lambda: (
            client.get("/v1/adapters").json()["total"] == count
            and all(one["finished_at"] and not one["step"] for one in folders_of(client))
        )
    )


def names(client: TestClient) -> set[str]:
    return {item["name"] for item in client.get("/v1/adapters").json()["items"]}


def test_a_folder_is_added_and_what_is_wrong_in_it_is_told(
    client: TestClient, folder: Path
) -> None:
    (folder / "broken.safetensors").write_bytes(b"<html>")

    added = client.post("/v1/folders", json={"path": str(folder)})

    assert added.status_code == 202, added.text
    settle(client, 1)
    [one] = folders_of(client)
    assert one["path"] == str(folder)
    assert one["adapters"] == 1
    assert [problem["adapter"] for problem in one["problems"]] == ["loras/broken"]
    page = client.get("/folders").text
    assert str(folder) in page
    assert "What was not taken, and why (1)" in page
    assert "1 adapter can be found" in page
    assert 'href="/?hub=folder">Show my files<' in page


def test_what_an_earlier_refresh_refused_is_still_told(client: TestClient, folder: Path) -> None:
    """The next one reads only what changed, and whoever looks later asks where the file is."""
    whole_model = {"first_stage_model.encoder.conv_in.weight": torch.zeros(4, 3, 3, 3)}
    write_tensors(folder / "merged.safetensors", whole_model, {})
    client.post("/v1/folders", json={"path": str(folder)})
    settle(client, 1)
    assert [problem["adapter"] for problem in folders_of(client)[0]["problems"]] == ["loras/merged"]
    write_adapter(folder / "owl.safetensors", make_factors(2))

    client.post("/v1/folders/refresh", json={"path": str(folder)})

    settle(client, 2)
    [problem] = folders_of(client)[0]["problems"]
    assert problem["adapter"] == "loras/merged"
    assert problem["message"].startswith("refused: is no adapter but a whole model")
    page = client.get("/folders", headers={"Accept-Language": "zh-CN"}).text
    assert "已拒绝：不是适配器，而是完整模型" in page


def test_of_many_that_were_not_taken_the_first_are_told_and_all_counted(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_folders, "MOST_REFUSED", 1)
    monkeypatch.setattr(pipeline, "MOST_PROBLEMS", 1)
    for seed in range(4):
        whole_model = {"first_stage_model.encoder.conv_in.weight": torch.full((4, 3, 3, 3), seed)}
        write_tensors(folder / f"merged{seed}.safetensors", whole_model, {})
    client.post("/v1/folders", json={"path": str(folder)})
    settle(client, 1)

    [one] = folders_of(client)
    page = client.get("/folders").text

    assert len(one["problems"]) <= 2
    assert one["problem_count"] == 4
    assert f"(the first {len(one['problems'])} of 4)" in page


def test_a_folder_that_was_only_refreshed_can_be_watched(
    client: TestClient, registry: Registry, folder: Path
) -> None:
    """Who read it by the command line is not told that there is none."""
    registry.folders.refresh(folder)

    before = client.get("/folders").text
    client.post("/folders", data={"path": str(folder)})

    assert "No folder was added yet" not in before
    assert f'name="path" value="{folder}"><code' in before
    settle(client, 1)
    assert "Read by “autolora refresh”" not in client.get("/folders").text


@pytest.mark.parametrize(("language", "seam"), [("en", ": "), ("zh", "：")])
def test_buttons_name_their_folder(
    client: TestClient, folder: Path, tmp_path: Path, language: str, seam: str
) -> None:
    """Who hears a page hears its buttons one after the other."""
    other = tmp_path / "others"
    other.mkdir()
    for one in (folder, other):
        client.post("/v1/folders", json={"path": str(one)})

    page = client.get("/folders", headers={"Accept-Language": language}).text
    buttons = re.findall(r'<button[^>]*aria-label="([^"]*)">([^<]*)</button>', page)

    named = [(label, shown) for label, shown in buttons if str(tmp_path) in label]
    assert len(named) == len({label for label, _ in named}) >= 4
    for label, shown in named:
        assert label in (f"{shown}{seam}{folder}", f"{shown}{seam}{other}")
    settle(client, 1)


def test_a_path_that_is_wrong_can_be_mended_where_it_was_written(
    client: TestClient, folder: Path
) -> None:
    """What is lost on the way to a page of an error is typed again."""
    browser = {"Accept": "text/html"}

    wrong = client.post("/folders", data={"path": f"{folder}x"}, headers=browser)
    quoted = client.post("/folders", data={"path": f'"{folder}"'}, follow_redirects=False)

    assert wrong.status_code == 422
    assert f'value="{folder}x"' in wrong.text
    assert "cannot be added: no such file or directory." in wrong.text
    assert quoted.status_code == 303
    settle(client, 1)


def test_what_changes_in_a_watched_folder_is_indexed(
    client: TestClient, registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot even be looked at keeps nobody from the others."""
    monkeypatch.setattr(folder_keeper, "SETTLED_MILLISECONDS", 300)
    monkeypatch.setattr(folder_keeper, "LOOK_SECONDS", 0.1)
    with registry.sessions.begin() as session:
        own_folders.add_folder(session, f"/{'a' * 300}")
    client.app.state.keeper.watch()  # type: ignore[attr-defined]
    client.post("/folders", data={"path": str(folder)})
    wait(lambda: names(client) == {"fox"})

    # What came before it was watched is asked for by then, and only that it changes tells of more.
    write_adapter(folder / "owl.safetensors", make_factors(2))
    wait(lambda: names(client) == {"fox", "owl"})
    write_adapter(folder / "cat.safetensors", make_factors(3))

    wait(lambda: names(client) == {"fox", "owl", "cat"})


def test_what_takes_the_place_of_a_watched_folder_is_watched(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a drive does that is mounted on it."""
    monkeypatch.setattr(folder_keeper, "SETTLED_MILLISECONDS", 300)
    monkeypatch.setattr(folder_keeper, "LOOK_SECONDS", 0.1)
    client.app.state.keeper.watch()  # type: ignore[attr-defined]
    client.post("/folders", data={"path": str(folder)})
    settle(client, 1)
    write_adapter(folder / "owl.safetensors", make_factors(2))
    wait(lambda: names(client) == {"fox", "owl"})
    drive = folder.with_name("drive")
    drive.mkdir()

    folder.rename(folder.with_name("beneath"))
    drive.rename(folder)
    wait(lambda: names(client) == set())
    write_adapter(folder / "cat.safetensors", make_factors(3))

    wait(lambda: names(client) == {"cat"})


def test_a_folder_that_another_process_is_at_is_looked_at_when_that_is_done(
    client: TestClient, engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came after that one had listed it is in no other refresh."""
    monkeypatch.setattr(folder_keeper, "AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(runs, "PATIENCE_SECONDS", 1)
    tried: list[Path] = []
    refresh = OwnFolders.refresh

    def count(self: OwnFolders, path: Path, *args: Any, **options: Any) -> None:
        tried.append(path)
        refresh(self, path, *args, **options)

    monkeypatch.setattr(OwnFolders, "refresh", count)
    with runs.only_one(engine, Origin("folder", str(folder))):
        client.post("/v1/folders", json={"path": str(folder)})
        wait(lambda: len(tried) > 1)

    settle(client, 1)
    assert folders_of(client)[0]["problem"] is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("relative", "the whole path"),
        ("/there/is/none", "no such file"),
        ("/", "this registry's own files"),
        ("~nobody-of-this-name", "home directory"),
    ],
)
def test_what_is_no_folder_to_watch_is_refused(
    client: TestClient, registry: Registry, path: str, why: str
) -> None:
    registry.settings.home.mkdir(exist_ok=True)

    answer = client.post("/v1/folders", json={"path": path})

    assert answer.status_code == 422
    assert why in answer.json()["detail"]
    assert folders_of(client) == []


def test_the_home_of_the_registry_is_not_watched(client: TestClient, registry: Registry) -> None:
    inner = registry.settings.home / "blobs"
    inner.mkdir(parents=True, exist_ok=True)

    answer = client.post("/v1/folders", json={"path": str(inner)})

    assert answer.status_code == 422


def test_a_file_that_is_dropped_is_indexed_and_a_second_of_its_name_is_not_lost(
    client: TestClient, registry: Registry, tmp_path: Path
) -> None:
    one = write_adapter(tmp_path / "one.safetensors", make_factors(3)).read_bytes()
    other = write_adapter(tmp_path / "two.safetensors", make_factors(4)).read_bytes()

    sent = client.post("/v1/folders/files", params={"name": "ink.safetensors"}, content=one)
    again = client.post("/v1/folders/files", params={"name": "ink.safetensors"}, content=one)
    clash = client.post("/v1/folders/files", params={"name": "ink.safetensors"}, content=other)

    assert (sent.status_code, again.status_code, clash.status_code) == (202, 202, 422)
    settle(client, 1)
    assert names(client) == {"ink"}
    kept = registry.folders.dropped
    assert kept.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in kept.iterdir()] == ["ink.safetensors"]
    assert (kept / "ink.safetensors").read_bytes() == one


@pytest.mark.parametrize("kept", [0, 1000])
def test_a_file_that_came_cut_off_gives_way_to_the_whole_one(
    client: TestClient, folder: Path, kept: int
) -> None:
    """Nobody could send it again under its name."""
    fox = (folder / "fox.safetensors").read_bytes()
    cut = client.post("/v1/folders/files", params={"name": "ink.safetensors"}, content=fox[:kept])

    whole = client.post("/v1/folders/files", params={"name": "ink.safetensors"}, content=fox)

    assert (cut.status_code, whole.status_code) == (202, 202)
    settle(client, 1)
    assert names(client) == {"ink"}


def test_a_name_of_signs_that_do_not_print_is_taken_as_it_is(
    client: TestClient, registry: Registry, folder: Path
) -> None:
    """Chinese spaces and joined emoji are in names that people give."""
    name, fox = "猫\u3000👩\u200d🎨.safetensors", (folder / "fox.safetensors").read_bytes()

    sent = client.post("/v1/folders/files", params={"name": name}, content=fox)

    assert sent.status_code == 202, sent.text
    assert [path.name for path in registry.folders.dropped.iterdir()] == [name]
    other = folder.rename(folder.with_name("我的\u3000文件"))
    client.post("/v1/folders", json={"path": str(other)})
    settle(client, 2)
    # Its buttons name the folder that it is.
    assert client.get("/folders").text.count(f'name="path" value="{other}"') == 2


def test_what_a_killed_server_left_of_a_file_goes_with_the_next_one(
    client: TestClient, registry: Registry, folder: Path
) -> None:
    """One that is being sent meanwhile stays."""
    dropped = registry.folders.dropped
    dropped.mkdir(parents=True)
    left, sent = dropped / ".1.partial", dropped / ".2.partial"
    left.touch()
    sent.touch()
    os.utime(left, (0, 0))
    fox = (folder / "fox.safetensors").read_bytes()

    client.post("/v1/folders/files", params={"name": "fox.safetensors"}, content=fox)

    assert {path.name for path in dropped.iterdir()} == {sent.name, "fox.safetensors"}


# Ends at the moment at which the file that is sent gets its name.
KILLED = """
import os, signal, sys
from registry.config import Settings
from registry.service import Registry

def look(event, facts):
    if event == "os.rename" and str(facts[1]).endswith("fox.safetensors"):
        os.kill(os.getpid(), signal.SIGKILL)

with Registry(Settings()) as registry:
    partial = registry.folders.begin_file("fox.safetensors", 3)
    registry.folders.add_to_file("fox.safetensors", partial, b"fox")
    sys.addaudithook(look)
    registry.folders.keep_file("fox.safetensors", partial)
"""


def test_a_file_has_its_name_only_where_it_is_indexed_after_a_kill(
    registry: Registry, database_url: str
) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[4]),
        "REGISTRY_HOME": str(registry.settings.home),
        "REGISTRY_DATABASE_URL": database_url,
    }
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL

    assert registry.folders.paths() == [registry.folders.dropped]


@pytest.fixture
def moved(client: TestClient, registry: Registry, folder: Path) -> Path:
    """Where dropped files lie by now, for the home was moved, or restored to another place."""
    fox = (folder / "fox.safetensors").read_bytes()
    client.post("/v1/folders/files", params={"name": "fox.safetensors"}, content=fox)
    settle(client, 1)
    home = folder.with_name("another home")
    home.mkdir()
    registry.folders.dropped.rename(home / "dropped")
    registry.settings.home = home
    return registry.folders.dropped


def test_dropped_files_are_listed_once_after_their_home_was_moved(
    client: TestClient, registry: Registry, folder: Path, moved: Path
) -> None:
    [fox] = client.get("/v1/adapters").json()["items"]
    owl = write_adapter(folder / "owl.safetensors", make_factors(2)).read_bytes()

    client.post("/v1/folders/files", params={"name": "owl.safetensors"}, content=owl)
    settle(client, 2)

    assert names(client) == {"fox", "owl"}
    assert fox["id"] in {item["id"] for item in client.get("/v1/adapters").json()["items"]}
    assert registry.folders.paths() == [moved]


def test_dropped_files_are_looked_at_where_they_are_after_their_home_was_moved(
    client: TestClient, registry: Registry, moved: Path
) -> None:
    """Without anybody who drops another one."""
    write_adapter(moved / "owl.safetensors", make_factors(2))

    client.app.state.keeper.watch()  # type: ignore[attr-defined]

    wait(lambda: names(client) == {"fox", "owl"})
    assert registry.folders.paths() == [moved]


def test_a_folder_on_a_disk_that_is_away_is_not_taken_for_that_of_a_moved_home(
    registry: Registry, folder: Path
) -> None:
    """It is called the same, and comes back."""
    away = folder / "dropped"
    with registry.sessions.begin() as session:
        own_folders.add_folder(session, str(away))
    registry.folders.dropped.mkdir(parents=True)
    (registry.folders.dropped / "fox.safetensors").touch()

    registry.folders.bring_dropped()

    assert registry.folders.paths() == [away]


@pytest.mark.parametrize(
    "name",
    ["../ink.safetensors", "a/b.safetensors", "a\\b.safetensors", ".safetensors", "ink.ckpt",
     "a\nb.safetensors", "C:ink.safetensors", "a\u202eb.safetensors",
     # More bytes than a file system takes, if not more letters.
     f"{'猫' * 90}.safetensors"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_not_taken(
    client: TestClient, registry: Registry, name: str
) -> None:
    answer = client.post("/v1/folders/files", params={"name": name}, content=b"x")

    assert answer.status_code == 422
    assert not registry.folders.dropped.exists() or not [*registry.folders.dropped.iterdir()]


def test_a_file_that_is_too_large_is_refused_before_it_comes(
    client: TestClient, registry: Registry
) -> None:
    registry.settings.max_file_bytes = 10

    answer = client.post("/v1/folders/files", params={"name": "a.safetensors"}, content=b"x" * 11)

    assert answer.status_code == 413
    assert not [*registry.folders.dropped.glob("*")]


@pytest.mark.parametrize("reserved_bytes", [None, 0])
def test_a_file_that_does_not_tell_its_size_stops_where_the_disk_has_no_more_room(
    client: TestClient, registry: Registry, small_disk: Path, reserved_bytes: int | None
) -> None:
    """PostgreSQL shares the disk, and cannot even start on a full one."""
    registry.settings.reserved_bytes = reserved_bytes
    registry.settings.home.mkdir(exist_ok=True)
    registry.folders.dropped.symlink_to(small_disk)

    answer = client.post(
        "/v1/folders/files",
        params={"name": "a.safetensors"},
        content=(b"x" * 100_000 for _ in range(20)),
    )

    assert answer.status_code == 507
    assert not [*small_disk.iterdir()]


def test_copies_go_to_the_trash_and_from_search(
    client: TestClient, folder: Path, trash: Path
) -> None:
    (folder / "old").mkdir()
    copy = folder / "old" / "fox again.safetensors"
    copy.write_bytes((folder / "fox.safetensors").read_bytes())
    half = {name: (down, up / 2) for name, (down, up) in make_factors(1).items()}
    write_adapter(folder / "half.safetensors", half)
    write_adapter(folder / "owl.safetensors", make_factors(2))
    client.post("/v1/folders", json={"path": str(folder)})
    settle(client, 4)

    [group] = client.get("/v1/folders/copies").json()["groups"]
    kinds = {Path(one["path"]).name: one["kind"] for one in group}
    assert set(kinds) == {"fox.safetensors", "fox again.safetensors", "half.safetensors"}
    assert "strength" in kinds.values()
    page = client.get("/folders/copies").text
    assert str(copy) in page

    # All that do the same but the first can be ticked at once; the weaker one is left to a person.
    ticked = re.findall(r'value="(\d+)" checked', client.get("/folders/copies?ticked=yes").text)
    exact = {"file", "tensors", "change"}
    assert ticked == [str(one["adapter_id"]) for one in group[1:] if one["kind"] in exact]
    # Nothing happens without a word, and no adapter goes with its last copy.
    nothing = client.post("/folders/trash", data={})
    assert (nothing.status_code, "Tick what shall go" in nothing.text) == (422, True)
    numbers = [str(one["adapter_id"]) for one in group]
    all_ = client.post(
        "/folders/trash", data={"adapter": numbers}, headers={"accept-language": "zh"}
    )
    assert (all_.status_code, "请至少保留一个" in all_.text) == (422, True)
    assert re.findall(r'value="(\d+)" checked', all_.text) == numbers
    assert copy.exists()

    number = next(one["adapter_id"] for one in group if one["path"] == str(copy))
    moved = client.post("/folders/trash", data={"adapter": [str(number)]})
    assert "Moved to the trash: 1<" in moved.text

    assert [path.name for path in trash.iterdir()] == ["fox again.safetensors"]
    assert not copy.exists()
    assert (folder / "fox.safetensors").exists()
    settle(client, 3)

    # A page of before, which Back shows again, still offers what is the only one by now.
    (folder / "half.safetensors").unlink()
    kept = next(one["adapter_id"] for one in group if Path(one["path"]).name == "fox.safetensors")
    last = client.post("/folders/trash", data={"adapter": [str(kept)]})
    assert (last.status_code, "has no copy by now" in last.text) == (422, True)
    assert (folder / "fox.safetensors").exists()


def test_a_folder_in_a_watched_one_is_told_to_be_part_of_it(
    client: TestClient, folder: Path
) -> None:
    inner, hidden = folder / "inner", folder / ".hidden"
    inner.mkdir()
    hidden.mkdir()
    client.post("/v1/folders", json={"path": str(folder)})

    answer = client.post("/v1/folders", json={"path": str(inner)})
    page = client.post("/folders", data={"path": str(inner)}, headers={"accept-language": "zh"})

    assert answer.status_code == 422
    assert f"it is part of {folder}, which is watched already" in answer.json()["detail"]
    assert f"它在已监视的 {folder} 之内" in page.text
    # Nobody looks into hidden ones: that is no part of it.
    assert client.post("/v1/folders", json={"path": str(hidden)}).status_code == 202
    settle(client, 1)


def test_a_folder_takes_those_in_it_along_and_lists_each_file_once(
    client: TestClient, folder: Path
) -> None:
    inner = folder / "inner"
    inner.mkdir()
    write_adapter(inner / "owl.safetensors", make_factors(2))
    client.post("/v1/folders", json={"path": str(inner)})
    settle(client, 1)
    [owl] = client.get("/v1/adapters").json()["items"]

    client.post("/v1/folders", json={"path": str(folder)})
    settle(client, 2)

    assert [(one["path"], one["adapters"]) for one in folders_of(client)] == [(str(folder), 2)]
    assert names(client) == {"fox", "owl"}
    again = client.get(f"/v1/adapters/{owl['id']}").json()
    assert (again["name"], again["repo"]) == ("owl", "loras/inner/owl")

    # Watched no more, the outer one leaves the inner to whoever adds it.
    client.delete("/v1/folders", params={"path": str(folder)})
    client.post("/v1/folders", json={"path": str(inner)})
    settle(client, 2)
    assert [(one["path"], one["adapters"]) for one in folders_of(client)] == [(str(inner), 1)]
    assert client.get(f"/v1/adapters/{owl['id']}").json()["repo"] == "inner/owl"


def test_all_copies_that_a_page_shows_can_be_ticked(
    client: TestClient, registry: Registry, tmp_path: Path
) -> None:
    """A form of more fields is refused: who ticked thousands of them could throw away none."""
    with registry.sessions.begin() as session:
        for number in range(MOST_FIELDS + 5):
            name = f"{number}.safetensors"
            (tmp_path / name).touch()
            add_adapter(
                session,
                hub="folder",
                endpoint=str(tmp_path),
                repo=name,
                file_name=name,
                file_sha256="of all",
            )

    page = client.get("/folders/copies?ticked=yes").text
    shown = re.findall(r'name="adapter" value="(\d+)"', page)
    ticked = re.findall(r'value="(\d+)" checked', page)
    sent = client.post("/folders/trash", data={"adapter": shown})

    assert (len(shown), len(ticked)) == (MOST_FIELDS, MOST_FIELDS - 1)
    assert "have gone: 5<" in page
    # Understood, and refused for what the files are: others than were indexed.
    assert (sent.status_code, "changed since it was indexed" in sent.text) == (409, True)


def test_a_file_of_two_names_is_no_copy_of_itself(client: TestClient, folder: Path) -> None:
    """By a link or a hard link: one file, to be kept."""
    (folder / "a link.safetensors").symlink_to("fox.safetensors")
    (folder / "hard.safetensors").hardlink_to(folder / "fox.safetensors")
    copy = folder / "inner" / "owl.safetensors"
    copy.parent.mkdir()
    copy.write_bytes((folder / "fox.safetensors").read_bytes())
    client.post("/v1/folders", json={"path": str(folder)})
    settle(client, 4)

    [group] = client.get("/v1/folders/copies").json()["groups"]
    paths = [one["path"] for one in group]
    assert len(paths) == 2
    assert str(copy) in paths
    assert str(folder / "a link.safetensors") not in paths
    copy.unlink()
    assert client.get("/v1/folders/copies").json()["groups"] == []


def test_copies_are_told_by_what_they_are_to_a_file_that_is_there(
    client: TestClient, registry: Registry, folder: Path, tmp_path: Path
) -> None:
    """One on a drive that is not plugged in is nothing to keep in place of its only copy here."""
    drive = tmp_path / "drive"
    drive.mkdir()
    last = (folder / "fox.safetensors").rename(drive / "epoch10.safetensors")
    noise = make_factors(2)
    nearly = {name: (a, b + noise[name][1] * 0.1) for name, (a, b) in make_factors(1).items()}
    write_adapter(folder / "epoch9.safetensors", nearly)
    for one in (drive, folder):
        registry.folders.refresh(one)
    (folder / "epoch10.safetensors").write_bytes(last.read_bytes())
    registry.folders.refresh(folder)
    last.unlink()

    [group] = client.get("/v1/folders/copies").json()["groups"]
    page = client.get("/folders/copies?ticked=yes").text

    told = [(Path(one["path"]).name, one["kind"]) for one in group]
    assert told == [("epoch9.safetensors", "file"), ("epoch10.safetensors", "near")]
    assert "checked" not in page


def test_what_changed_since_it_was_indexed_is_not_thrown_away(
    client: TestClient, folder: Path
) -> None:
    client.post("/v1/folders", json={"path": str(folder)})
    settle(client, 1)
    [item] = client.get("/v1/adapters").json()["items"]
    write_adapter(folder / "fox.safetensors", make_factors(9))

    answer = client.post("/v1/folders/trash", json={"adapters": [item["id"]]})

    assert answer.status_code == 409
    assert "has changed" in answer.json()["detail"]
    assert (folder / "fox.safetensors").exists()


def test_a_folder_is_watched_no_more_and_keeps_its_adapters(
    client: TestClient, folder: Path
) -> None:
    client.post("/v1/folders", json={"path": str(folder)})
    settle(client, 1)

    client.post("/folders/remove", data={"path": str(folder)})

    assert folders_of(client) == []
    assert names(client) == {"fox"}
    assert client.post("/v1/folders/refresh", json={"path": str(folder)}).status_code == 404


def test_a_path_that_the_database_could_not_keep_is_not_watched(client: TestClient) -> None:
    assert client.delete("/v1/folders", params={"path": "/a\0"}).status_code == 404
    assert client.post("/folders/remove", data={"path": "/a\0"}).status_code == 404


def test_what_waits_says_for_which_folders(
    client: TestClient, engine: Engine, tmp_path: Path
) -> None:
    paths = [str(tmp_path / name) for name in ("first", "second", "third")]
    # Another process is at the first one.
    with runs.only_one(engine, Origin("folder", paths[0])):
        for path in paths:
            Path(path).mkdir()
            client.post("/v1/folders", json={"path": path})

        waits_for = {one["path"]: one["waits_for"] for one in folders_of(client)}
        page = client.get("/folders").text

    assert [waits_for[path] for path in paths] == [[], paths[:1], paths[:2]]
    assert f"Waits for {paths[0]}<" in page
    assert f"Waits for {paths[0]} and 1 more<" in page
    settle(client, 0)
    assert [one["waits_for"] for one in folders_of(client)] == [[], [], []]


def test_how_far_a_refresh_is_is_told_unless_it_was_killed(
    client: TestClient, registry: Registry, engine: Engine, folder: Path
) -> None:
    origin = Origin("folder", str(folder))
    with runs.only_one(engine, origin):
        with registry.sessions.begin() as session:
            own_folders.add_folder(session, str(folder))
            run_id = runs.start_run(session, origin)
            runs.tell(session, run_id, "read", 1, 2)

        [told] = folders_of(client)
        assert (told["step"], told["done"], told["total"]) == ("read", 1, 2)
        assert client.get("/v1/runs").json()["items"][0]["state"] == "running"
        page = client.get("/").text
        assert "1 / 2" in page
        # Not by itself where there are no scripts: what is in its fields would be lost.
        page = client.get("/folders").text
        assert '<a href="">Reload to see how far it is</a>' in page
        assert "http-equiv" not in page

    # Whoever was at it let go, and its row is open still.
    assert folders_of(client)[0]["step"] is None
    assert "Reload to see" not in client.get("/folders").text
    run = client.get("/v1/runs").json()["items"][0]
    assert (run["state"], run["step"]) == ("interrupted", None)
    [hub] = client.get("/v1/status").json()["hubs"]
    assert hub["last_state"] == "interrupted"
    assert "interrupted" in client.get("/status").text
    assert client.get("/indexing/events").text == "event: last\ndata: \n\n"


def test_the_page_is_told_of_a_refresh_until_it_is_over(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_pages, "BEGIN_SECONDS", 0)
    monkeypatch.setattr(server_events, "LOOK_AT_PART_SECONDS", 0.05)
    client.post("/v1/folders", json={"path": str(folder)})

    answer = client.get("/folders/events")

    assert answer.headers["content-type"].startswith("text/event-stream")
    *before, last = answer.text.removesuffix("\n\n").split("\n\n")
    assert before
    assert all(event.startswith("event: changed\n") for event in before)
    assert last.startswith("event: last\n")
    assert str(folder) in last
    assert "1 adapter can be found" in last
    # There is nothing to wait for.
    assert client.get("/folders/events").text.startswith("event: last\n")
