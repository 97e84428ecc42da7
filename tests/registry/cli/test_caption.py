"""`autolora caption`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from registry.db.models import ImageCaptions
from registry.service import Registry
from tests.encoder.captions.vlm_server import GOOD, Answer, VlmServer, fails, says, well
from tests.registry.cli.runner import run, run_badly, run_well, write_folder

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def foxes(environment: None, tmp_path: Path) -> None:
    """Three adapters with a cover each, from a refresh without a model."""
    folder = write_folder(tmp_path / "zoo", 3)
    assert "Captioning covers: skipped; no vision model" in run_well(
        "refresh", "--source", str(folder)
    )


@pytest.fixture
def model(environment: None, vlm: VlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_CAPTION_ENDPOINT", vlm.url)
    monkeypatch.setenv("REGISTRY_CAPTION_MODEL", "qwen3-vl")
    monkeypatch.setenv("REGISTRY_CAPTION_CONCURRENCY", "1")


@pytest.mark.usefixtures("foxes", "model")
def test_covers_are_captioned_within_a_limit_until_all_are(vlm: VlmServer) -> None:
    assert "2 images captioned by qwen3-vl, 0 failed, 1 wait" in run_well("caption", "--limit", "2")
    assert "1 image captioned by qwen3-vl, 0 failed, 0 waiting" in run_well("caption")
    assert json.loads(run_well("caption", "--json")) == {
        "model": "qwen3-vl",
        "captioned": 0,
        "failed": 0,
        "waiting": 0,
        "given_up": 0,
    }
    assert len(vlm.requests) == 3
    found = json.loads(run_well("search", GOOD["short"], "--json"))
    assert found["results"][0]["signals"]["captions"] > 0.9


@pytest.mark.usefixtures("foxes", "model")
def test_chinese_captions_come_on_demand(vlm: VlmServer) -> None:
    run_well("caption", "--limit", "1", "--language", "zh")

    assert [request.is_chinese for request in vlm.requests] == [True]


@pytest.mark.usefixtures("foxes", "model")
def test_images_that_were_given_up_are_tried_on_demand(vlm: VlmServer) -> None:
    vlm.answer = lambda request: says("I'm sorry, but I can't help with that.")
    for _ in range(3):
        result = run("caption")
    assert result.exit_code == 0, "odd pictures are daily bread"
    assert "the model refuses" in result.stderr
    assert "3 were given up; --again tries anew" in result.stdout

    vlm.answer = well
    assert "0 images captioned" in run_well("caption")
    assert "3 images captioned" in run_well("caption", "--again")


@pytest.mark.usefixtures("foxes", "model")
def test_a_model_that_cannot_be_used_is_one_line(vlm: VlmServer) -> None:
    vlm.answer = lambda request: fails(404, "model 'qwen3-vl' not found")

    result = run("caption")

    assert result.exit_code == 1
    assert "model 'qwen3-vl' not found; see that REGISTRY_CAPTION_ENDPOINT" in result.stderr
    assert "Traceback" not in result.output


def test_without_a_model_it_says_what_to_set() -> None:
    assert "set REGISTRY_CAPTION_ENDPOINT and REGISTRY_CAPTION_MODEL" in run_badly("caption")


@pytest.mark.usefixtures("model")
def test_a_language_that_is_none_is_refused() -> None:
    assert "--language is 'fr'; it is one of en, zh." in run_badly("caption", "--language", "fr")


@pytest.mark.usefixtures("foxes", "model")
def test_ctrl_c_keeps_what_came_and_was_sent_and_ends_with_one_line(
    registry: Registry, vlm: VlmServer
) -> None:
    vlm.answer = lambda request: Answer(body=well(request).body, delay_seconds=0.5)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-m", "registry", "caption"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while len(vlm.requests) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    finally:
        process.kill()

    assert process.returncode == 130, errors
    assert "stopped. What was done is kept" in errors
    assert "Traceback" not in errors
    with registry.sessions() as session:
        stored = session.scalar(select(func.count()).select_from(ImageCaptions)) or 0
    assert stored >= 2, "what had come, and what had been sent"
    assert json.loads(run_well("caption", "--json"))["captioned"] == 3 - stored
