"""`autolora draw-covers`."""

import json
from pathlib import Path

import pytest

from tests.encoder.builders import make_factors, write_adapter
from tests.registry.cli.runner import run_badly, run_well

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
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "0 covers drawn, 0 failed, 0 waiting" in run_well("draw-covers")
    assert "REGISTRY_BASE_MODELS" in run_badly("draw-covers", "--base-model", "demo-flux-tiny")
    bases = {"demo-flux-tiny": str(base_folder)}
    monkeypatch.setenv("REGISTRY_BASE_MODELS", json.dumps(bases))

    assert "1 cover drawn, 0 failed, 1 waiting" in run_well("draw-covers", "--limit", "1")
    said = run_well("draw-covers", "--base-model", "demo-flux-tiny", "--json")
    assert json.loads(said) == {"drawn": 1, "failed": 0, "waiting": 0}
