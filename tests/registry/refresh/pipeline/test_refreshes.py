"""From a hub on loopback to adapters that can be found: what is done, and what is done no more."""

import shutil
from collections import Counter
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from crawler.sources.folder import FolderSource
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope_facts import Hub
from registry.db.encoder_models import Sketch, WeightEmbedding
from registry.db.models import Adapter, CrawlCursor, File
from registry.refresh.pipeline import Pipeline
from tests.crawler.builders import DAY_SECONDS, FIRST_DAY
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.refresh.pipeline.facts import (
    EVERYTHING,
    NAMES,
    NAMES_OF_STEPS,
    downloads,
    failures,
    get_adapter,
    last_run,
    row_counts,
    states,
)


def test_a_refresh_makes_every_adapter_ready(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session]
) -> None:
    progress = list(pipeline.refresh(source))

    assert failures(progress) == {}
    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    assert row_counts(sessions) == EVERYTHING
    counted = Counter(step.step.name for step in progress if step.outcome)
    assert counted == dict.fromkeys(NAMES_OF_STEPS, 4)
    totals = {step.step.name: step.total for step in progress}
    assert totals == dict.fromkeys(NAMES_OF_STEPS, 4) | {"crawl": None, "caption": 0, "describe": 0}
    cat = get_adapter(sessions, "cat")
    assert cat.words.split()[:2] == ["the", "cat"]
    assert cat.base_model == "demo-flux-tiny"
    assert cat.trigger_words == ["cat"]
    run = last_run(sessions)
    assert (run.state, run.error) == ("done", None)
    done = {name: {"ok": 4, "failed": 0} for name in NAMES_OF_STEPS}
    [skipped] = run.counts["skipped"]
    assert skipped["step"] == "caption"
    assert "set REGISTRY_CAPTION_ENDPOINT and REGISTRY_CAPTION_MODEL" in skipped["message"]
    assert run.counts == done | {"skipped": [skipped], "problems": []}


def test_a_second_refresh_has_nothing_to_do(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    list(pipeline.refresh(source))
    before = get_adapter(sessions, "owl").changed_at
    hub.requests.clear()

    progress = list(pipeline.refresh(source))

    assert {step.step.name for step in progress if step.outcome} == {"crawl"}  # the seam
    assert downloads(hub) == []
    assert row_counts(sessions) == EVERYTHING
    assert get_adapter(sessions, "owl").changed_at == before


def test_only_what_changed_is_listed(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    list(pipeline.refresh(source))
    entry = hub.entries[0]
    entry["description"] = "一只由冰做成的猫"
    entry["updated_at"] = FIRST_DAY + 30 * DAY_SECONDS
    hub.requests.clear()

    progress = list(pipeline.refresh(source))

    listed = {
        step.outcome.adapter for step in progress if step.outcome and step.step.name == "crawl"
    }
    assert "alice/dog" not in {name.split("@")[0] for name in listed}
    cat = get_adapter(sessions, "cat")
    assert cat.description == "一只由冰做成的猫"
    assert "猫" in cat.words.split()
    assert cat.state == "ready", "its file is the same"
    assert downloads(hub) == []
    with sessions() as session:
        assert (
            session.get_one(CrawlCursor, ("modelscope", hub.endpoint)).updated_since.timestamp()
            == (entry["updated_at"])
        )


def test_a_new_file_of_an_adapter_replaces_the_old_one(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    list(pipeline.refresh(source))
    before = get_adapter(sessions, "cat").file_sha256
    write_adapter(hub.folder / hub.entries[0]["file"], make_factors(999))
    hub._sha256.clear()
    hub.entries[0]["updated_at"] = FIRST_DAY + 30 * DAY_SECONDS

    assert failures(list(pipeline.refresh(source))) == {}

    cat = get_adapter(sessions, "cat")
    assert cat.state == "ready"
    assert cat.file_sha256 not in (None, before)


def test_two_folders_are_two_origins(
    pipeline: Pipeline, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """A full crawl of one must not take the other's adapters for vanished, nor its cursor."""
    folders = [tmp_path / "mine", tmp_path / "theirs"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        write_adapter(folder / "fox.safetensors", make_factors(number))
    for folder in folders:
        assert failures(list(pipeline.refresh(FolderSource(folder), full=True))) == {}

    with sessions() as session:
        found = session.execute(select(Adapter.endpoint, Adapter.state)).all()
        assert sorted(found) == [(str(folder), "ready") for folder in folders]
        assert len(session.scalars(select(CrawlCursor)).all()) == 2


def test_one_file_under_two_names_is_kept_and_embedded_once(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    first, second = (hub.folder / entry["file"] for entry in hub.entries[:2])
    shutil.copyfile(first, second)

    assert failures(list(pipeline.refresh(source))) == {}

    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    shared = {File: 3, Sketch: 3, WeightEmbedding: 3}
    assert row_counts(sessions) == EVERYTHING | shared
    assert len([path for path in downloads(hub) if "cat" in path or "dog" in path]) == 1


def test_what_vanished_is_marked_gone_by_a_full_crawl_and_may_return(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    list(pipeline.refresh(source))
    removed = hub.entries.pop(1)

    list(pipeline.refresh(source))
    assert states(sessions)["dog"] == "ready", "an incremental crawl cannot tell"

    progress = list(pipeline.refresh(source, full=True))
    assert states(sessions) == {"cat": "ready", "dog": "gone", "fox": "ready", "owl": "ready"}
    assert "gone from its hub" in [step.outcome.message for step in progress if step.outcome]
    assert row_counts(sessions) == EVERYTHING, "its facts stay"

    hub.entries.append(removed)
    list(pipeline.refresh(source))
    assert states(sessions)["dog"] == "ready", "what a hub shows again needs no full crawl"


def test_an_adapter_of_another_base_model_is_found_without_weights(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    """No encoder, no gates: its captions and words still say what it does."""
    from encoder.base_models.families import find_family

    flux = find_family("flux.1-dev")
    assert flux is not None
    name = "single_transformer_blocks.0.attn.to_q"
    factors = make_factors(5, names=[name], family=flux)
    path = hub.folder / hub.entries[0]["file"]
    write_adapter(path, factors, metadata={"ss_base_model_version": "flux1"})
    hub.entries[0]["base_model"] = "black-forest-labs/FLUX.1-schnell"

    list(pipeline.refresh(source))

    cat = get_adapter(sessions, "cat")
    assert cat.state == "ready"
    assert cat.base_model == "flux.1-schnell", "the file tells the family, the hub the variant"
    assert row_counts(sessions)[WeightEmbedding] == 3


def test_the_file_knows_better_than_the_hub_what_it_loads_into(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    hub.entries[0]["base_model"] = "stabilityai/stable-diffusion-xl-base-1.0"

    list(pipeline.refresh(source))

    assert get_adapter(sessions, "cat").base_model == "demo-flux-tiny"
