"""`autolora settings`: every value, where it was said, and no secret."""

import json
from pathlib import Path

import pytest

from registry.config import Settings
from tests.registry.cli.runner import run_well


@pytest.fixture(autouse=True)
def said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://me:hush@db.example/lora")
    monkeypatch.setenv("registry_port", "8123")
    monkeypatch.setenv("COLUMNS", "200")
    lines = ["REGISTRY_TOKEN=hush", "REGISTRY_URL=https://loras.example"]
    lines += ["REGISTRY_COMFYUI_URL=http://ann:hush@gpu:8188"]
    Path(".env").write_text("\n".join(lines), encoding="utf-8")


def test_each_setting_has_its_value_and_source() -> None:
    answer = json.loads(run_well("settings", "--json"))

    assert len(answer) == len(Settings.model_fields)
    assert answer["REGISTRY_PORT"] == {"value": 8123, "source": "environment"}
    assert answer["REGISTRY_COMFYUI_URL"]["value"] == "http://gpu:8188"
    assert answer["REGISTRY_URL"] == {"value": "https://loras.example", "source": ".env"}
    assert answer["REGISTRY_HOST"] == {"value": "127.0.0.1", "source": "default"}


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_secrets_are_not_shown(words: list[str]) -> None:
    printed = run_well("settings", *words)

    assert "hush" not in printed
    assert printed.count("***") == 2
    assert "REGISTRY_DATABASE_URL" in printed
