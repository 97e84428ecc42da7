"""The step of a refresh that captions covers: skipped, within its bounds, beside outages."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from crawler.sources.folder import FolderSource
from registry.config import Settings
from registry.db import jobs
from registry.db.models import Caption, Cover
from registry.refresh.pipeline import Pipeline, StepProgress
from registry.service import Registry
from tests.encoder.captions.vlm_server import GOOD, Answer, VlmServer, fails, well
from tests.registry.cli.runner import write_folder

OFF = {"caption_endpoint": None, "caption_model": None, "caption_folder": None}


def refresh(registry: Registry, folder: Path, **settings: object) -> list[StepProgress]:
    changed = registry.settings.model_copy(update=settings)
    pipeline = Pipeline(registry.sessions, registry.blobs, changed, registry.text_encoder)
    return list(pipeline.refresh(FolderSource(folder)))


def problems(progress: list[StepProgress]) -> list[str]:
    outcomes = [step.outcome for step in progress if step.outcome is not None]
    return [outcome.message for outcome in outcomes if not outcome.ok]


def caption_texts(registry: Registry, source: str) -> list[str]:
    with registry.sessions() as session:
        return sorted(session.scalars(select(Caption.text).where(Caption.source == source)))


def test_a_refresh_captions_covers_and_all_is_searchable_at_once(
    registry: Registry, vlm: VlmServer, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "zoo", 2)

    progress = refresh(registry, folder, caption_endpoint=vlm.url, caption_model="qwen3-vl")

    assert problems(progress) == []
    totals = {step.step.name: step.total for step in progress}
    # Two prompts are one text; six captions are three.
    assert (totals["caption"], totals["encode"]) == (2, 8)
    assert caption_texts(registry, "vlm") == sorted([*GOOD.values()] * 2)
    [run] = registry.runs()
    assert run.counts["caption"] == {"ok": 2, "failed": 0}
    assert run.counts["skipped"] == []
    found = registry.search("a fox in the snow, in ink")
    assert len(found.results) == 2
    assert refresh(registry, folder, caption_endpoint=vlm.url, caption_model="qwen3-vl")
    assert len(vlm.requests) == 2, "once is enough"


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ({}, "no vision model is set up; set REGISTRY_CAPTION_ENDPOINT and"),
        ({"caption_model": "qwen3-vl"}, "no vision model is set up"),
        ({"caption_endpoint": "http://127.0.0.1:1/v1"}, "REGISTRY_CAPTION_MODEL has to name"),
        (
            {"caption_endpoint": "http://127.0.0.1:1/v1", "caption_folder": Path("/models/vl")},
            "are both set",
        ),
    ],
)
def test_without_a_model_it_is_skipped_and_prompts_are_taken_all_the_same(
    named: dict[str, object], line: str, registry: Registry, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "zoo", 1)

    progress = refresh(registry, folder, **(OFF | named))

    assert problems(progress) == []
    [run] = registry.runs()
    [skipped] = run.counts["skipped"]
    assert skipped["step"] == "caption"
    assert line in skipped["message"]
    assert caption_texts(registry, "hub") == ["a red fox"]


def test_an_outage_of_the_model_is_one_problem_and_no_failure_of_the_refresh(
    registry: Registry, vlm: VlmServer, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "zoo", 2)
    vlm.answer = lambda request: fails(401, "invalid key")

    progress = refresh(registry, folder, caption_endpoint=vlm.url, caption_model="qwen3-vl")

    [problem] = problems(progress)
    assert "invalid key; set REGISTRY_CAPTION_TOKEN" in problem
    [run] = registry.runs()
    assert (run.state, run.error) == ("done", None)
    assert sum(registry.base_models().values()) == 2, "they are found by their prompts"


def test_an_address_that_is_none_is_one_problem(registry: Registry, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "zoo", 1)

    progress = refresh(
        registry, folder, caption_endpoint="localhost:8000", caption_model="qwen3-vl"
    )

    [problem] = problems(progress)
    assert "not an http address" in problem


def test_a_refresh_costs_no_more_than_its_limit(
    registry: Registry, vlm: VlmServer, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "zoo", 3)
    options = {"caption_endpoint": vlm.url, "caption_model": "qwen3-vl"}

    progress = refresh(registry, folder, **options, caption_limit=2, caption_languages=["en", "zh"])

    assert {step.step.name: step.total for step in progress}["caption"] == 4
    assert [request.is_chinese for request in vlm.requests] == [False] * 2 + [True] * 2


def test_prompts_are_cleaned_and_kept_as_they_were(registry: Registry, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "zoo", 1)
    prompt = "masterpiece, (a red fox:1.2) BREAK snow, <lora:ink:0.8>, score_9"
    (folder / "fox0.json").write_text(f'{{"name": "Fox", "prompt": "{prompt}"}}')

    refresh(registry, folder, **OFF)

    assert caption_texts(registry, "hub") == ["a red fox, snow"]
    with registry.sessions() as session:
        [kept] = session.scalars(select(Cover.prompt))
    assert kept is not None
    assert kept.startswith("masterpiece, (a red fox:1.2) BREAK snow")


def test_prompts_are_cleaned_anew_by_other_rules(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "zoo", 1)
    with monkeypatch.context() as patch:
        patch.setattr("registry.refresh.captioning.CLEANING_VERSION", "clean-0")
        refresh(registry, folder, **OFF)

    refresh(registry, folder, **OFF)

    with registry.sessions() as session:
        versions = list(session.scalars(select(Caption.prompt_version)))
    assert versions == ["clean-1"]


def test_settings_of_the_environment_are_understood(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_CAPTION_LANGUAGES", '["en", "zh"]')
    monkeypatch.setenv("REGISTRY_CAPTION_TOKEN", "secret")
    monkeypatch.setenv("REGISTRY_CAPTION_ENDPOINT", "http://127.0.0.1:8000/v1")

    read = Settings()

    assert read.caption_languages == ["en", "zh"]
    assert "secret" not in repr(read)


@pytest.mark.timeout(900)
def test_workers_caption_and_each_image_is_asked_about_once(
    registry: Registry, vlm: VlmServer, tmp_path: Path
) -> None:
    """On machines with a GPU: they need the settings, and the refresh knows of them."""
    folder = write_folder(tmp_path / "zoo", 6)
    vlm.answer = lambda request: Answer(body=well(request).body, delay_seconds=0.05)
    with worker(registry, vlm, tmp_path / "one"), worker(registry, vlm, tmp_path / "two"):
        while count_workers(registry) < 2:
            time.sleep(0.05)
        # It is there that the key is, not here.
        progress = refresh(
            registry, folder, caption_endpoint="http://127.0.0.1:9/v1", caption_model="qwen3-vl"
        )

    assert problems(progress) == []
    assert registry.runs()[0].counts["caption"] == {"ok": 6, "failed": 0}
    assert len(vlm.requests) == 6
    assert len(caption_texts(registry, "vlm")) == 18


@contextmanager
def worker(registry: Registry, vlm: VlmServer, home: Path) -> Iterator[None]:
    """Run `autolora worker --queue caption` with the registry's blobs."""
    home.mkdir()
    (home / "blobs").symlink_to(registry.settings.blobs)
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "OMP_NUM_THREADS": "1",
        "REGISTRY_HOME": str(home),
        "REGISTRY_DATABASE_URL": str(registry.settings.database_url),
        "REGISTRY_CAPTION_ENDPOINT": vlm.url,
        "REGISTRY_CAPTION_MODEL": "qwen3-vl",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "registry", "worker", "--queue", "caption"],
        env=environment,
        cwd=home,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def count_workers(registry: Registry) -> int:
    with registry.sessions() as session:
        return sum(worker.alive for worker in jobs.list_workers(session))
