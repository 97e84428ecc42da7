"""`autolora claim`: what a person says that an adapter is for."""

import json
from pathlib import Path

import pytest

from encoder.base_models.families import find_family
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.cli.runner import run, run_badly, run_well

FLUX = find_family("flux.1")


def only_id() -> str:
    [adapter] = json.loads(run_well("list", "--json"))["items"]
    return str(adapter["id"])


@pytest.mark.usefixtures("environment")
def test_a_claim_that_layers_rule_out_is_said_not_to_be_believed(tmp_path: Path) -> None:
    assert FLUX is not None
    (tmp_path / "mine").mkdir()
    write_adapter(tmp_path / "mine" / "query.safetensors", make_factors(family=FLUX), metadata={})
    run_well("refresh", "--source", str(tmp_path / "mine"))

    adapter = only_id()
    said = " ".join(run_well("claim", adapter, "sdxl-1.0", "--who", "ann").split())

    assert "sdxl-1.0, by ann; not believed, for its layers rule it out" in said
    assert "not believed" not in run_well("claim", adapter, "flux.1-dev")


@pytest.mark.usefixtures("environment")
def test_the_command_takes_a_claim_and_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FLUX is not None
    factors = make_factors(names=["transformer_blocks.0.attn.to_q"], family=FLUX)
    (tmp_path / "mine").mkdir()
    write_adapter(tmp_path / "mine" / "query.safetensors", factors, metadata={})
    run_well("refresh", "--source", str(tmp_path / "mine"))

    adapter = only_id()
    said = run_well("claim", adapter, "flux.1-dev", "--who", "ann")
    shown = run_well("show", adapter)
    answer = json.loads(run_well("claim", adapter, "--withdraw", "--json"))

    for printed in (said, shown):
        assert "flux.1-dev, by ann" in printed
    assert (answer["claim"], answer["base_model"]) == (None, "unknown")
    assert "did you mean" in run_badly("claim", adapter, "flux.1-dve")
    assert run("claim", adapter).exit_code != 0

    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 54321")

    # As in a container.
    monkeypatch.setattr("registry.cli.search.getuser", no_name)
    assert "flux.1-dev, by somebody" in run_well("claim", adapter, "flux.1-dev")
