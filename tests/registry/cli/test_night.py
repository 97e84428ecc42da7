"""Commands for nights, and for how the registry is."""

import json
import threading
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from queue import Queue

import pytest
from sqlalchemy import func, select

from registry.cli.night import nights_done
from registry.db.models import Cover
from registry.service import Registry
from tests.registry.cli.runner import run, run_badly, run_well, write_folder

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(autouse=True)
def folder(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What nights refresh, and nothing else."""
    folder = write_folder(tmp_path / "zoo", 2)
    (folder / "broken.safetensors").write_bytes(b"not at all")
    monkeypatch.setenv("REGISTRY_SOURCES", json.dumps([str(folder)]))
    return folder


def test_a_night_is_done_once_and_told(registry: Registry, folder: Path) -> None:
    # Far from now: between the two no other night begins.
    hour = f"{datetime.now(UTC) + timedelta(hours=12):%H:00}"
    first = json.loads(run_well("night", "--at", hour, "--json"))
    again = json.loads(run_well("night", "--at", hour, "--json"))

    assert first["state"] == "done"
    assert first["report"]["states"]["ready"] == 2
    assert again == first
    more = run_well("night", "--now")
    assert "100%" in more
    told = json.loads(run_well("runs", "--json"))
    assert [night["state"] for night in told["nights"]] == ["done", "done"]
    assert [run["endpoint"] for run in told["runs"]] == [str(folder)] * 2
    [second, first_run] = told["runs"]
    assert first_run["bytes_per_adapter"] == round(first_run["fetched_bytes"] / 2)
    assert second["bytes_per_adapter"] is None
    assert str(folder)[-10:] in run_well("runs")


def test_what_failed_in_a_refresh_is_named_with_its_reason(
    registry: Registry, folder: Path
) -> None:
    run_well("night", "--now")

    listed, told = run("runs"), run_well("runs", "--problems")

    assert "`autolora runs --problems`" in listed.stderr
    assert "broken" not in listed.stdout
    [line] = [line for line in told.splitlines() if "zoo/broken" in line]
    assert line.endswith(": is not safetensors: no JSON where its header should be")
    assert f"refresh 1, {folder}:" in told


def test_why_a_source_failed_has_a_line_of_its_own(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a column it takes ten lines of ten letters each."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("REGISTRY_MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("REGISTRY_SOURCES", '["http://127.0.0.1:9"]')
    night = run("night", "--now")
    why = "ModelScope at http://127.0.0.1:9 does not answer"

    lines = run_well("runs").splitlines()

    assert [line for line in night.stderr.splitlines() if why in line]
    assert [line for line in lines if line.startswith(f"refresh 1: {why}")]
    assert [line for line in lines if line.startswith("night 20") and why in line]


def test_the_status_tells_what_is_here_and_what_was_refused(registry: Registry) -> None:
    run_well("night", "--now")

    status, people = json.loads(run_well("status", "--json")), run_well("status")

    assert status["states"]["ready"] == 2
    assert status["waiting"] == {"fetch": 0, "read": 0, "encode": 0, "embed": 0}
    assert status["last_night"]["state"] == "done"
    assert "2 ready" in people
    assert "workers: 0" in people


def test_the_status_tells_how_many_images_wait_for_captions(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_well("night", "--now")
    monkeypatch.setenv("REGISTRY_CAPTION_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("REGISTRY_CAPTION_MODEL", "a-model")

    with registry.sessions() as session:
        images = session.scalar(select(func.count(Cover.sha256.distinct())))

    assert images
    assert json.loads(run_well("status", "--json"))["waiting"]["caption"] == images


def test_the_status_of_an_empty_registry(registry: Registry) -> None:
    said = run_well("status")

    assert "adapters: none" in said
    assert "last night: none" in said


def test_a_night_of_which_a_source_failed_exits_so_and_names_it(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a refresh does: who has it run by cron hears of it so."""
    monkeypatch.setenv("REGISTRY_SOURCES", json.dumps(["/no/such/folder", str(folder)]))

    night, as_json = run("night", "--now"), run("night", "--now", "--json")

    assert (night.exit_code, as_json.exit_code) == (1, 1)
    for result in (night, as_json):
        [line] = [line for line in result.stderr.splitlines() if "failed" in line]
        assert "1 of 2 sources failed: /no/such/folder: " in line
        assert str(folder) not in line
    report = json.loads(as_json.stdout)
    assert report["state"] == "done"
    assert report["report"]["states"]["ready"] == 2


def test_an_unknown_queue_is_refused(registry: Registry) -> None:
    assert "fetch, read, caption, embed" in run_badly("worker", "--queue", "nonsense")


def test_another_hour_adds_no_night(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due at an hour that has passed was not missed if the night had another one."""
    run_well("night", "--now")
    told: Queue[bool] = Queue()
    is_night_over = registry.is_night_over

    def look(due_at: datetime, *, is_missed: bool) -> bool:
        told.put(is_night_over(due_at, is_missed=is_missed))
        return True

    monkeypatch.setattr(registry, "is_night_over", look)
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).time()
    with nights_done(registry, an_hour_ago):
        assert told.get(timeout=60)


# It is a process of its own, which imports torch.
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("foreign_folder")
def test_a_server_has_its_nights_done(registry: Registry) -> None:
    """By our own code, whatever the folder at hand holds."""
    with nights_done(registry, time(3)):
        waiting = threading.Event()
        for _ in range(600):
            if [night.state for night in registry.nights()] == ["done"]:
                break
            waiting.wait(0.5)

    assert [night.state for night in registry.nights()] == ["done"]
