"""Commands for weight encoders."""

import json
from pathlib import Path

import pytest

from registry.service import Registry
from tests.registry.cli.runner import run_badly, run_well, write_folder
from tests.registry.conftest import save_checkpoint

pytestmark = pytest.mark.usefixtures("environment")


def test_the_life_of_an_encoder(registry: Registry, tmp_path: Path) -> None:
    first, second = (save_checkpoint(registry, name) for name in ("first", "second"))
    run_well("refresh", "--source", str(write_folder(tmp_path / "zoo", 2)))

    assert "first is registered for demo-flux-tiny" in run_well("encoders", "add", str(first))
    assert "first is active" in run_well("encoders", "promote", "first")
    run_well("encoders", "add", str(second))
    run_well("encoders", "backfill", "second")
    assert "second is active" in run_well("encoders", "promote", "second")
    assert "first is active again" in run_well("encoders", "rollback")
    listed = {row["name"]: row for row in json.loads(run_well("encoders", "list", "--json"))}

    assert {name: row["active"] for name, row in listed.items()} == {"first": True, "second": False}
    assert "first" in run_well("encoders", "list")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"x" * 100)
    assert "cannot be registered" in run_badly("encoders", "add", str(bad))
    assert "cannot be registered" in run_badly("encoders", "add", str(tmp_path / "none"))
    assert "There are: " in run_badly("encoders", "promote", "third")
