"""Commands that bring in adapters."""

import json
import socket
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from demo.hub import civitai, modelscope
from registry.cli.progress import show_refresh
from registry.db.adapters import Origin
from registry.db.runs import start_run
from registry.refresh.pipeline import StepProgress
from registry.service import Registry
from tests.crawler.builders import add_entry
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.cli.runner import run, run_badly, run_well, write_folder

pytestmark = pytest.mark.usefixtures("environment")


def test_refresh_from_a_folder_until_it_can_be_found(registry: Registry, tmp_path: Path) -> None:
    """The whole way: files, verdicts, covers, captions, index, search. Twice changes nothing."""
    folder = write_folder(tmp_path / "zoo", 2)
    (folder / "broken.safetensors").write_bytes(b"not at all")

    first = run("refresh", "--source", str(folder))
    again = json.loads(run_well("refresh", "--source", str(folder), "--json"))

    assert first.exit_code == 0, first.output
    assert "2 adapters ready" in first.stdout
    assert " fetched, " in first.stdout
    assert "for each of 2 indexed" in first.stdout
    assert "broken" in first.stderr
    assert (again["ready"], again["bytes_per_adapter"]) == (2, None)
    assert "Fox 1" in run_well("search", "a red fox")
    found = json.loads(run_well("search", "fx1", "--json"))["results"][0]
    assert (found["exact"], found["adapter"]["name"]) == (True, "Fox 1")
    assert "Safe" not in run_well("inspect", str(folder / "fox1.safetensors"))


def test_another_refresh_that_begins_meanwhile_is_not_told_of(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may go on with the same folder at once, since it waits for its turn."""
    folder = write_folder(tmp_path / "zoo", 1)

    def show(steps: Iterable[StepProgress]) -> dict[str, Counter[str]]:
        counts = show_refresh(steps)
        with registry.sessions.begin() as session:
            start_run(session, Origin("folder", str(folder)))
        return counts

    monkeypatch.setattr("registry.cli.refresh.show_refresh", show)

    told = run_well("refresh", "--source", str(folder))

    assert "for each of 1 indexed" in told


def test_how_to_convert_pickles_is_told_once(registry: Registry, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "zoo", 0)
    for name in ("a.pt", "b.pt", "c.ckpt"):
        (folder / name).write_bytes(b"PK\x03\x04" + bytes(100))

    told = run("refresh", "--source", str(folder)).stderr

    assert told.count("Convert it to safetensors") == 1
    assert "zoo/a.pt: is a pickle" in told
    assert "zoo/b.pt: as zoo/a.pt, above" in told
    assert "zoo/c.ckpt: as zoo/a.pt, above" in told


def test_several_hubs_feed_one_registry(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What both list is one result; what one withholds says why; filters leave out the rest."""
    zoo = tmp_path / "zoo"
    for number, name in enumerate(("cat", "dog", "fox")):
        entry = add_entry(zoo, name)
        write_adapter(zoo / entry["file"], make_factors(number))
    with modelscope.serve(zoo) as hub, civitai.serve(zoo) as other:
        del hub.entries[2]
        monkeypatch.setenv("REGISTRY_MODELSCOPE_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("REGISTRY_CIVITAI_ENDPOINT", other.endpoint)
        run_well("refresh")
        run_well("refresh", "--source", other.endpoint, "--min-downloads", "1")

    assert "Also listed: 2 as 3 at civitai" in run_well("search", "the dog")
    assert json.loads(run_well("search", "the cat", "--json"))["results"][0]["also"] == []
    [fox] = json.loads(run_well("list", "--state", "listed", "--json"))["items"]
    assert (fox["name"], fox["hub"]) == ("The fox", "civitai")
    assert "REGISTRY_CIVITAI_TOKEN" in fox["refusal"]
    assert "Civitai gives files" in run_well("list", "--state", "listed")


def test_a_checkpoint_that_is_not_there_is_a_failure_and_the_rest_goes_on(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs it from a script hears of a setting that counts for nothing."""
    monkeypatch.setenv("REGISTRY_ENCODER_CHECKPOINT", str(tmp_path / "none.safetensors"))

    result = run("refresh", "--source", str(write_folder(tmp_path / "zoo", 1)))

    assert result.exit_code == 1
    assert "REGISTRY_ENCODER_CHECKPOINT" in result.stderr
    assert "1 adapter ready" in result.stdout


def test_a_base_model_that_is_not_known_is_one_line(registry: Registry) -> None:
    assert "'fluks'" in run_badly("crawl", "--base-model", "fluks")


def test_an_option_s_base_model_counts_for_the_layers_too(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hubs are wrong about it; the file is refused, and looked at again when all is asked for."""
    zoo = tmp_path / "zoo"
    entry = add_entry(zoo, "cat", base_model="black-forest-labs/FLUX.1-dev")
    write_adapter(zoo / entry["file"], make_factors(0))
    with modelscope.serve(zoo) as hub:
        monkeypatch.setenv("REGISTRY_MODELSCOPE_ENDPOINT", hub.endpoint)

        run_well("refresh", "--base-model", "flux.1-dev")

        [cat] = json.loads(run_well("list", "--state", "refused", "--json"))["items"]
        assert "--base-model or REGISTRY_CRAWL_BASE_MODELS asks for flux.1-dev" in cat["refusal"]
        run_well("refresh")
    assert "The cat" in run_well("list", "--state", "ready")


def test_a_hub_that_is_down_is_one_line_and_a_failure(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("REGISTRY_MODELSCOPE_ENDPOINT", endpoint)

    result = run("crawl")

    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert registry.runs(limit=1)[0].state == "failed"
