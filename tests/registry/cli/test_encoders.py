"""Commands for weight encoders."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from registry.db.encoder_models import Encoder, EncoderPromotion, Sketch, WeightEmbedding
from registry.db.promotion import promote
from registry.service import Registry
from registry.upkeep.checkup import check_up
from tests.builders import add_adapter, add_encoder, axis
from tests.registry.cli.runner import run, run_badly, run_well, write_folder
from tests.registry.conftest import GOOD, save_checkpoint

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


def test_a_backfill_that_is_not_finished_is_told_of(registry: Registry) -> None:
    """Who was stopped in it finds the way on; one that was replaced has no more to do."""
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, embedding=axis(0))
        session.add(Sketch(file_sha256=adapter.file_sha256, version="1", data=b""))
        stopped = add_encoder(session, name="stopped", active=False, metrics=GOOD)
        number = stopped.id

    def told() -> tuple[str, list[str]]:
        warned = [f.what for f in check_up(registry.settings) if f.what == "encoder stopped"]
        return run("encoders", "list").stderr.strip(), warned

    goes_on = "1 file is still to embed by stopped: `autolora encoders backfill stopped` goes on"
    assert told() == (f"{goes_on} there", ["encoder stopped"])
    [finding] = [f for f in check_up(registry.settings) if f.what == "encoder stopped"]
    assert finding.said.endswith("`autolora encoders remove stopped` gives it up")
    with registry.sessions.begin() as session:
        session.add(EncoderPromotion(base_model="x", encoder_id=number, kind="promoted"))
    assert told() == ("", [])


def test_an_encoder_is_removed_with_what_it_embedded(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, embedding=axis(0))
        first = session.scalars(select(Encoder)).one()
        second = add_encoder(session, name="second", active=False, metrics=GOOD)
        session.add(
            WeightEmbedding(
                file_sha256=adapter.file_sha256, encoder_id=second.id, embedding=axis(1)
            )
        )
        name, first.metrics = first.name, GOOD

    assert "There are: " in run_badly("encoders", "remove", "third")
    assert "is active for" in run_badly("encoders", "remove", name, "--force")
    with registry.sessions.begin() as session:
        promote(session, "second")
    assert "is what `autolora encoders rollback" in run_badly("encoders", "remove", name)
    said = run_well("encoders", "remove", name, "--force")

    assert said == f"{name} is removed, and 1 embedding with it\n"
    listed = json.loads(run_well("encoders", "list", "--json"))
    assert [row["name"] for row in listed] == ["second"]
