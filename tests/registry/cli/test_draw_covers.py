"""`autolora draw-covers`."""

import json
from pathlib import Path

import pytest

from tests.encoder.builders import make_factors, write_adapter
from tests.registry.cli.runner import run_badly, run_well
from tests.registry.fusion.builders import save_tiny_base

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def bare(environment: None, tmp_path: Path) -> None:
    """Two adapters without a cover."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    for seed in (1, 2):
        write_adapter(folder / f"fox {seed}.safetensors", make_factors(seed))
    run_well("refresh", "--source", str(folder))


@pytest.mark.usefixtures("bare")
def test_covers_are_drawn_within_a_limit_until_all_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "0 covers drawn, 0 failed, 0 wait" in run_well("draw-covers")
    assert "REGISTRY_BASE_MODELS" in run_badly("draw-covers", "--base-model", "demo-flux-tiny")
    save_tiny_base(tmp_path / "base")
    bases = {"demo-flux-tiny": str(tmp_path / "base")}
    monkeypatch.setenv("REGISTRY_BASE_MODELS", json.dumps(bases))

    assert "1 covers drawn, 0 failed, 1 wait" in run_well("draw-covers", "--limit", "1")
    said = run_well("draw-covers", "--base-model", "demo-flux-tiny", "--json")
    assert json.loads(said) == {"drawn": 1, "failed": 0, "waiting": 0}
