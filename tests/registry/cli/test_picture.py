"""`autolora search --picture`: what a picture names, here or missing."""

import json
from pathlib import Path

import pytest

from registry.service import Registry
from tests.builders import add_adapter
from tests.crawler.pictures.builders import png
from tests.registry.cli.runner import run_badly, run_well

pytestmark = pytest.mark.usefixtures("environment")

SHA = "ab" * 32
PARAMETERS = f'a fox <lora:ink:0.8>\nSteps: 20, Lora hashes: "ink: {SHA[:12]}, gone: {"0" * 12}"'


@pytest.fixture
def picture(registry: Registry, tmp_path: Path) -> Path:
    with registry.sessions.begin() as session:
        add_adapter(session, file_sha256=SHA, name="[red]Ink")
    path = tmp_path / "a.png"
    path.write_bytes(png(parameters=PARAMETERS))
    return path


def test_what_a_picture_names(picture: Path) -> None:
    printed = run_well("search", "--picture", str(picture))

    assert "[red]Ink" in printed
    assert "hash (at 0.8)" in printed
    assert f"not here: gone {'0' * 12}" in printed
    assert "prompt: a fox" in printed


def test_as_json(picture: Path) -> None:
    answer = json.loads(run_well("search", "--picture", str(picture), "--json"))

    assert [by["way"] for result in answer["results"] for by in result["found_by"]] == ["hash"]
    assert [named["name"] for named in answer["missing"]] == ["gone"]


def test_a_picture_of_nothing_here(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())

    assert "Nothing here made this picture" in run_well("search", "--picture", str(path))


def test_what_is_no_picture(registry: Registry, tmp_path: Path, picture: Path) -> None:
    (tmp_path / "b.png").write_text("hello")

    assert "no image" in run_badly("search", "--picture", str(tmp_path / "b.png"))
    assert "cannot be read" in run_badly("search", "--picture", str(tmp_path / "c.png"))
    assert "leave the text out" in run_badly("search", "fox", "--picture", str(picture))


def test_what_a_picture_is_not_asked_with_is_said(picture: Path) -> None:
    """Its list has one order and one page; what asks for another must not count for nothing."""
    for words in (["--sort", "name"], ["--seed", "1"], ["--page", "2"], ["--cursor", "abc"]):
        said = run_badly("search", "--picture", str(picture), *words)
        assert "leave the order, page and cursor out" in said
    assert run_well("search", "--picture", str(picture), "--limit", "1")
