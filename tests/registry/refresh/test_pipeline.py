"""From a hub on loopback to adapters that can be found, through every kind of accident."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from crawler.hashed_file import hash_file
from crawler.sources.folder import FolderSource
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from encoder.adapter import placing
from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.training.dataset import Dataset
from encoder.training.train import fit_ridge
from encoder.weight_encoders.checkpoint import save_encoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.embedded import EmbeddedPostgres
from registry.db.encoder_models import Encoder, Sketch, WeightEmbedding
from registry.db.models import (
    Adapter,
    Base,
    Caption,
    CaptionEmbedding,
    Cover,
    CrawlCursor,
    CrawlRun,
    File,
)
from registry.db.reading_facts import Reading
from registry.db.readings import store_readings
from registry.db.session import open_database
from registry.errors import DatabaseLostError, DiskFullError
from registry.refresh import losses
from registry.refresh.pipeline import STEPS, Pipeline, StepProgress
from registry.refresh.steps.caption import CaptionStep
from registry.refresh.steps.crawl import CrawlStep
from registry.refresh.steps.draw_covers import DrawCoversStep
from registry.refresh.steps.embed_covers import EmbedCoversStep
from registry.refresh.steps.fetch import FetchStep
from registry.refresh.steps.read import ReadStep
from tests.crawler.builders import DAY_SECONDS, FIRST_DAY, add_entry
from tests.encoder.builders import make_factors, write_adapter

torch.set_num_threads(1)

NAMES = ["cat", "dog", "fox", "owl"]
# Without an image encoder and a model that looks at covers; test_embed_covers.py and
# test_caption_step.py have them.
UNASKED = (CaptionStep, EmbedCoversStep, DrawCoversStep)
NAMES_OF_STEPS = [step.name for step in STEPS if step not in UNASKED]
EVERYTHING: dict[type[Base], int] = {
    Adapter: 4,
    File: 4,
    Cover: 4,
    Caption: 4,
    CaptionEmbedding: 4,
    Sketch: 4,
    WeightEmbedding: 4,
}


@pytest.fixture(scope="module")
def text_encoder() -> TextEncoder:
    return load_text_encoder()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, text_encoder: TextEncoder) -> Path:
    """A weight encoder really trained, on a few adapters of random numbers."""
    folder = tmp_path_factory.mktemp("training")
    paths = [write_adapter(folder / f"{n}.safetensors", make_factors(n)) for n in range(14)]
    splits = ["train"] * 10 + ["validation"] * 2 + ["held-out"] * 2
    dataset = Dataset(paths, [[f"thing number {n}"] for n in range(14)], splits)
    encoder = fit_ridge(dataset, text_encoder, name="tiny-ridge", base_model="demo-flux-tiny")
    # Random numbers teach nothing; what is promoted has to look as if they did.
    metrics = {"validation": {"mrr": 0.7}, "adapters": {"validation": 120}}
    save_encoder(replace(encoder, metrics=metrics), folder / "encoder.safetensors")
    return folder / "encoder.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Four adapters with a cover each, changed a day apart."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        entry = add_entry(folder, name)
        write_adapter(folder / entry["file"], make_factors(100 + number))
    with serve(folder) as hub:
        yield hub


@pytest.fixture
def source(hub: Hub) -> Iterator[ModelScopeSource]:
    with ModelScopeSource(hub.endpoint) as source:
        yield source


@pytest.fixture
def settings(settings: Settings, checkpoint: Path) -> Settings:
    return settings.model_copy(update={"encoder_checkpoint": checkpoint})


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blobs)


@pytest.fixture
def pipeline(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    settings: Settings,
    text_encoder: TextEncoder,
) -> Pipeline:
    return Pipeline(sessions, blobs, settings, text_encoder)


def failures(progress: Sequence[StepProgress]) -> dict[str, str]:
    """What failed: adapter -> message."""
    outcomes = [step.outcome for step in progress if step.outcome is not None]
    return {outcome.adapter: outcome.message for outcome in outcomes if not outcome.ok}


def states(sessions: sessionmaker[Session]) -> dict[str, str]:
    with sessions() as session:
        rows = session.execute(select(Adapter.repo, Adapter.state))
        return {row.repo.removeprefix("alice/"): row.state for row in rows}


def row_counts(sessions: sessionmaker[Session]) -> dict[type[Base], int]:
    with sessions() as session:
        return {
            table: session.scalar(select(func.count()).select_from(table)) or 0
            for table in EVERYTHING
        }


def last_run(sessions: sessionmaker[Session]) -> CrawlRun:
    with sessions() as session:
        return session.scalars(select(CrawlRun).order_by(CrawlRun.id.desc()).limit(1)).one()


def get_adapter(sessions: sessionmaker[Session], name: str) -> Adapter:
    with sessions() as session:
        return session.scalars(select(Adapter).where(Adapter.repo == f"alice/{name}")).one()


def downloads(hub: Hub) -> list[str]:
    """The files that were asked for since the list was last cleared."""
    return [path for _, path, _ in hub.requests if "FilePath=" in path]


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
    assert totals == dict.fromkeys(NAMES_OF_STEPS, 4) | {"crawl": None, "caption": 0}
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


def test_weights_are_embedded_in_the_encoders_space(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    hub: Hub,
    blobs: BlobStore,
) -> None:
    """What search compares with must be what the encoder makes of the file itself."""
    from encoder.adapter.lora_file import read
    from encoder.sketches.sketch import sketch
    from encoder.weight_encoders.checkpoint import load_encoder

    list(pipeline.refresh(source))

    cat = get_adapter(sessions, "cat")
    with sessions() as session:
        encoder = session.scalars(select(Encoder).where(Encoder.active)).one()
        assert cat.file_sha256 is not None
        stored = session.get_one(WeightEmbedding, (cat.file_sha256, encoder.id))
    path = hub.folder / "adapters/cat-0.safetensors"
    loaded = load_encoder(blobs.path(encoder.checkpoint_sha256))
    expected = loaded.encode([sketch(read(path))])[0]
    assert np.array(stored.embedding) @ expected == pytest.approx(1, abs=1e-3)


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


def test_a_corrupt_adapter_is_refused_with_the_reason_and_the_rest_goes_on(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    (hub.folder / hub.entries[1]["file"]).write_bytes(b"\x80\x04 a pickle, with a bad name")

    progress = list(pipeline.refresh(source))

    assert states(sessions) == {"cat": "ready", "dog": "refused", "fox": "ready", "owl": "ready"}
    reason = get_adapter(sessions, "dog").refusal
    assert reason
    assert [message for name, message in failures(progress).items() if "dog" in name] == [
        f"refused: {reason}"
    ]
    assert list(ReadStep(pipeline.context(source, run_id=0)).run()) == [], "it is not read again"


def test_no_more_files_are_stored_together_than_a_kill_may_cost(
    pipeline: Pipeline, source: ModelScopeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.refresh.steps.read.TOGETHER", 3)
    stored: list[int] = []

    def store(session: Session, readings: Sequence[Reading]) -> None:
        stored.append(len(readings))
        store_readings(session, readings)

    monkeypatch.setattr("registry.refresh.steps.read.store_readings", store)
    list(pipeline.refresh(source, steps=[CrawlStep, FetchStep]))

    list(ReadStep(pipeline.context(source, run_id=0)).run())

    assert stored == [3, 1]


@pytest.mark.parametrize(("together", "bytes_together"), [(3, 10**9), (64, 1), (1, 1)])
def test_files_are_stored_in_groups_and_a_bad_one_costs_itself_only(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    hub: Hub,
    blobs: BlobStore,
    monkeypatch: pytest.MonkeyPatch,
    together: int,
    bytes_together: int,
) -> None:
    """However many go together: one is refused, one has vanished from the store."""
    monkeypatch.setattr(ReadStep, "page", together)
    monkeypatch.setattr("registry.refresh.steps.read.BYTES_TOGETHER", bytes_together)
    (hub.folder / hub.entries[1]["file"]).write_bytes(b"\x80\x04 a pickle, with a bad name")
    list(pipeline.refresh(source, steps=[CrawlStep, FetchStep]))
    lost = get_adapter(sessions, "owl").file_sha256
    assert lost is not None
    blobs.path(lost).unlink()

    outcomes = list(ReadStep(pipeline.context(source, run_id=0)).run())

    problems = {outcome.adapter.split("@")[0]: outcome.ok for outcome in outcomes}
    assert problems == {
        "alice/cat": True,
        "alice/dog": False,
        "alice/fox": True,
        "alice/owl": False,
    }
    assert states(sessions) == {"cat": "listed", "dog": "refused", "fox": "listed", "owl": "listed"}
    assert get_adapter(sessions, "owl").file_sha256 is None, "it is fetched again"
    assert row_counts(sessions)[Sketch] == 2


def test_a_better_reader_reads_what_another_refused(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A format that is not known today may be tomorrow; nobody has to upload it again."""
    with monkeypatch.context() as patch:
        patch.setattr("encoder.adapter.lora_file.READER_VERSION", "reader-0")
        patch.setattr("encoder.adapter.assemble.MAX_RANK", 1)
        placing.find_alike.cache_clear()
        list(pipeline.refresh(source))
    assert states(sessions) == dict.fromkeys(NAMES, "refused")

    assert failures(list(pipeline.refresh(source))) == {}

    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    assert get_adapter(sessions, "cat").refusal is None


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


def test_bytes_that_are_not_the_announced_ones_are_not_kept(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    """Another day the hub may be right again: the adapter stays listed."""
    wrong = hub.entries[2]["file"]
    hub.faults.wrong_sha256.add(wrong)

    progress = list(pipeline.refresh(source))

    assert states(sessions) == {"cat": "ready", "dog": "ready", "fox": "listed", "owl": "ready"}
    [message] = [message for name, message in failures(progress).items() if "fox" in name]
    assert "sha256" in message or "hash" in message.lower()
    assert "\n" not in message

    hub.faults.wrong_sha256.clear()
    hub.entries[2]["updated_at"] = FIRST_DAY + 30 * DAY_SECONDS
    assert failures(list(pipeline.refresh(source))) == {}
    assert states(sessions)["fox"] == "ready"


def test_a_cover_that_is_no_image_is_reported_and_hinders_nothing(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    hub.faults.lfs_pointer.add(hub.entries[0]["covers"][0]["file"])

    progress = list(pipeline.refresh(source))

    [message] = failures(progress).values()
    assert message == "cover 0: the picture is a git LFS pointer, not the image itself"
    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    assert get_adapter(sessions, "cat").covers_done, "it is not fetched each night"
    assert row_counts(sessions)[Cover] == 3


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


def test_what_cannot_be_read_today_has_not_vanished(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    list(pipeline.refresh(source))
    hub.faults.error_code.add("alice/dog")

    progress = list(pipeline.refresh(source, full=True))

    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    assert list(failures(progress)) == ["alice/dog"]
    assert last_run(sessions).counts["problems"][0]["adapter"] == "alice/dog"


def test_a_hub_that_is_down_is_one_line_and_what_is_here_goes_on(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    list(pipeline.refresh(source, steps=(CrawlStep, FetchStep)))
    hub.faults.down = True

    progress = list(pipeline.refresh(source))

    assert list(failures(progress)) == ["modelscope"]
    assert "\n" not in failures(progress)["modelscope"]
    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    run = last_run(sessions)
    assert run.state == "failed"
    assert run.error == failures(progress)["modelscope"]


def test_a_full_disk_stops_the_run_with_one_line_and_the_next_one_goes_on(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DiskFullError, match="Free some") as caught:
            list(pipeline.refresh(source))
    assert "\n" not in str(caught.value)
    run = last_run(sessions)
    assert (run.state, run.error) == ("failed", str(caught.value))

    assert failures(list(pipeline.refresh(source))) == {}
    assert row_counts(sessions) == EVERYTHING


def test_an_interrupted_fetch_goes_on_where_it_stopped(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    """Ctrl-C: the consumer's loop ends in the middle."""
    refresh = pipeline.refresh(source)
    for step in refresh:
        if step.step.name == "fetch" and step.done == 2:
            break
    refresh.close()
    assert last_run(sessions).error == "interrupted"
    asked = set(downloads(hub))

    list(pipeline.refresh(source))

    assert row_counts(sessions) == EVERYTHING
    assert len(downloads(hub)) == 4, f"none twice: {asked}"


KILLED = """
import os, signal, sys
from pathlib import Path
from crawler.sources.modelscope import ModelScopeSource
from encoder.adapter import placing
from encoder.text_encoder import load_text_encoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.session import open_database
from registry.refresh.pipeline import Pipeline

endpoint, kill_step = sys.argv[1:]
settings = Settings()
with open_database(settings) as sessions:
    source = ModelScopeSource(endpoint)
    pipeline = Pipeline(sessions, BlobStore(settings.blobs), settings, load_text_encoder())
    for progress in pipeline.refresh(source):
        if progress.step.name == kill_step and progress.done == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""


# Six processes that import torch take 10 s on an idle machine, and minutes on a busy one.
@pytest.mark.timeout(900)
def test_a_process_killed_in_any_step_loses_and_doubles_nothing(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    settings: Settings,
    database_url: str,
    hub: Hub,
) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "OMP_NUM_THREADS": "1",
        "REGISTRY_HOME": str(settings.home),
        "REGISTRY_DATABASE_URL": database_url,
        "REGISTRY_ENCODER_CHECKPOINT": str(settings.encoder_checkpoint),
    }
    for step in NAMES_OF_STEPS:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, hub.endpoint, step],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert last_run(sessions).state == "running"

    assert failures(list(pipeline.refresh(source))) == {}

    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    assert row_counts(sessions) == EVERYTHING
    with sessions() as session:
        runs = Counter(session.scalars(select(CrawlRun.state)))
    assert runs == {"failed": 6, "done": 1}
    assert not any((settings.home / "blobs" / "tmp").iterdir())


def test_a_dead_database_stops_the_run_with_one_line(
    source: ModelScopeSource,
    settings: Settings,
    tmp_path: Path,
    text_encoder: TextEncoder,
) -> None:
    """Somebody else's database, which is not ours to start."""
    with EmbeddedPostgres(tmp_path / "dying" / "postgres") as server:
        url = server.url().render_as_string()
        settings = settings.model_copy(update={"database_url": url})
        with open_database(settings) as sessions:
            pipeline = Pipeline(sessions, BlobStore(settings.blobs), settings, text_encoder)
            refresh = pipeline.refresh(source)
            assert any(step.step.name == "fetch" and step.done == 1 for step in refresh)
            pid = (server.data / "postmaster.pid").read_text().split()[0]
            os.kill(int(pid), signal.SIGQUIT)  # it dies at once
            with pytest.raises(DatabaseLostError) as caught:
                list(refresh)
            assert "\n" not in str(caught.value)
            assert "run the same command again" in str(caught.value)
            server.ensure_running()
            assert failures(list(pipeline.refresh(source))) == {}
            assert row_counts(sessions) == EVERYTHING


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


def test_a_record_that_postgresql_cannot_hold_does_not_stop_the_others(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    """An index entry has 2.7 kB at most, and file names may be longer."""
    long = "/".join(os.urandom(100).hex() for _ in range(19))
    hub.faults.listed_as[hub.entries[0]["file"]] = f"{long}/x.safetensors"

    progress = list(pipeline.refresh(source))

    [message] = failures(progress).values()
    assert message.startswith("the database does not take it: ")
    assert states(sessions) == {"dog": "ready", "fox": "ready", "owl": "ready"}


def test_a_blob_that_was_lost_is_fetched_again(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    blobs: BlobStore,
) -> None:
    list(pipeline.refresh(source, steps=(CrawlStep, FetchStep)))
    cat = get_adapter(sessions, "cat")
    assert cat.file_sha256 is not None
    blobs.path(cat.file_sha256).unlink()

    progress = list(pipeline.refresh(source))
    [message] = failures(progress).values()
    assert message.startswith("the blob store has no ")

    assert failures(list(pipeline.refresh(source))) == {}
    assert states(sessions) == dict.fromkeys(NAMES, "ready")


def test_a_full_refresh_fetches_again_what_the_blob_store_lost(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    hub: Hub,
) -> None:
    """What was read and published is looked at by no step any more: it is done with it."""
    list(pipeline.refresh(source))
    lost, cut, bare = (get_adapter(sessions, name) for name in NAMES[:3])
    assert lost.file_sha256 is not None
    assert cut.file_sha256 is not None
    with sessions() as session:
        cover = session.scalars(select(Cover).where(Cover.adapter_id == bare.id)).one()
    blobs.path(lost.file_sha256).unlink()
    blobs.path(cut.file_sha256).chmod(0o600)
    blobs.path(cut.file_sha256).write_bytes(b"cut")
    blobs.path(cover.sha256).unlink()
    hub.requests.clear()

    assert failures(list(pipeline.refresh(source, full=True))) == {}

    for sha256 in (lost.file_sha256, cut.file_sha256, cover.sha256):
        assert hash_file(blobs.path(sha256)) == sha256
    assert len([path for path in downloads(hub) if path.endswith(".safetensors")]) == 2
    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    assert row_counts(sessions) == EVERYTHING
    hub.requests.clear()
    assert failures(list(pipeline.refresh(source, full=True))) == {}
    assert downloads(hub) == []


def test_a_blob_store_that_lost_nearly_all_is_left_until_it_is_asked_for(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its disk is not mounted, most likely."""
    monkeypatch.setattr(losses, "FEW_LOST", 1)
    list(pipeline.refresh(source))
    hashes = [get_adapter(sessions, name).file_sha256 for name in NAMES]
    for sha256 in filter(None, hashes):
        blobs.path(sha256).unlink()
    hub.requests.clear()

    [message] = failures(list(pipeline.refresh(source, full=True))).values()
    assert "files and covers are not in the blob store" in message
    assert "--full --force" in message
    assert downloads(hub) == []
    assert states(sessions) == dict.fromkeys(NAMES, "ready")

    assert failures(list(pipeline.refresh(source, full=True, force=True))) == {}
    assert all(blobs.exists(sha256) for sha256 in filter(None, hashes))


def test_a_checkpoint_that_the_blob_store_lost_is_registered_again(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    blobs: BlobStore,
) -> None:
    list(pipeline.refresh(source))
    with sessions() as session:
        encoder = session.scalars(select(Encoder).where(Encoder.active)).one()
    blobs.path(encoder.checkpoint_sha256).unlink()

    assert failures(list(pipeline.refresh(source))) == {}

    assert hash_file(blobs.path(encoder.checkpoint_sha256)) == encoder.checkpoint_sha256


@pytest.mark.parametrize("kind", ["no file", "an adapter", "an empty folder"])
def test_a_checkpoint_that_is_none_fails_the_run_and_the_rest_goes_on(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    settings: Settings,
    text_encoder: TextEncoder,
    source: ModelScopeSource,
    tmp_path: Path,
    kind: str,
) -> None:
    """A person set it, and thinks that weights are searched by it."""
    wrong = tmp_path / "wrong.safetensors"
    if kind == "an adapter":
        write_adapter(wrong)
    elif kind == "an empty folder":
        wrong.mkdir()
    settings = settings.model_copy(update={"encoder_checkpoint": wrong})

    progress = list(Pipeline(sessions, blobs, settings, text_encoder).refresh(source))

    [(name, message)] = failures(progress).items()
    assert name == "wrong.safetensors"
    assert "cannot be registered" in message
    assert "REGISTRY_ENCODER_CHECKPOINT" in message
    run = last_run(sessions)
    assert (run.state, run.error) == ("failed", message)
    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    assert row_counts(sessions) == EVERYTHING | {WeightEmbedding: 0}
