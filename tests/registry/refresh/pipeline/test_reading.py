"""Files that are read in a refresh: refused ones, those stored together, and a better reader."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from crawler.sources.folder import FolderSource
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope_facts import Hub
from encoder.adapter import placing
from registry.blobs import BlobStore
from registry.db.encoder_models import Sketch
from registry.db.reading_facts import Reading
from registry.db.readings import store_readings
from registry.refresh.pipeline import Pipeline
from registry.refresh.steps.crawl import CrawlStep
from registry.refresh.steps.fetch import FetchStep
from registry.refresh.steps.read import ReadStep
from tests.crawler.builders import add_entry
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.refresh.pipeline.facts import NAMES, failures, get_adapter, row_counts, states


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
    """However many go together: one is refused, the store has lost one, and cut one."""
    monkeypatch.setattr(ReadStep, "page", together)
    monkeypatch.setattr("registry.refresh.steps.read.BYTES_TOGETHER", bytes_together)
    (hub.folder / hub.entries[1]["file"]).write_bytes(b"\x80\x04 a pickle, with a bad name")
    list(pipeline.refresh(source, steps=[CrawlStep, FetchStep]))
    lost, cut = (get_adapter(sessions, name).file_sha256 for name in ("owl", "fox"))
    assert lost is not None
    assert cut is not None
    blobs.path(lost).unlink()
    blobs.path(cut).chmod(0o600)
    blobs.path(cut).write_bytes(blobs.path(cut).read_bytes()[:-1])

    outcomes = list(ReadStep(pipeline.context(source, run_id=0)).run())

    problems = {outcome.adapter.split("@")[0]: outcome.ok for outcome in outcomes}
    assert problems == {
        "alice/cat": True,
        "alice/dog": False,
        "alice/fox": False,
        "alice/owl": False,
    }
    assert states(sessions) == {"cat": "listed", "dog": "refused", "fox": "listed", "owl": "listed"}
    for name in ("owl", "fox"):
        assert get_adapter(sessions, name).file_sha256 is None, "it is fetched again"
    assert row_counts(sessions)[Sketch] == 1


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


def spoil_dog(hub: Hub) -> None:
    """Let the dog's file have a good header, and a number that is none."""
    factors = {name: (down * float("nan"), up) for name, (down, up) in make_factors().items()}
    write_adapter(hub.folder / hub.entries[1]["file"], factors)


def list_copy_of_dog(hub: Hub) -> Path:
    """List the dog's file a second time, as a wolf; return where it lies."""
    wolf = add_entry(hub.folder, "wolf")
    hub.entries.append(wolf)
    copy: Path = hub.folder / wolf["file"]
    shutil.copyfile(hub.folder / hub.entries[1]["file"], copy)
    return copy


def test_whoever_lists_a_refused_file_later_is_refused_as_well(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    hub: Hub,
    tmp_path: Path,
) -> None:
    """The file is not read again, and somebody waits for it to be found."""
    spoil_dog(hub)
    list(pipeline.refresh(source))
    reason = get_adapter(sessions, "dog").refusal
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copyfile(list_copy_of_dog(hub), folder / "hound.safetensors")

    told = failures(list(pipeline.refresh(source)))
    told |= failures(list(pipeline.refresh(FolderSource(folder))))

    assert [name.split("@")[0] for name in told] == ["alice/wolf", "mine/hound"]
    assert set(told.values()) == {f"refused: {reason}"}
    assert (states(sessions)["wolf"], states(sessions)["mine/hound"]) == ("refused", "refused")
    assert get_adapter(sessions, "wolf").refusal == reason
    assert failures(list(pipeline.refresh(source))) == {}, "it is told once"


def test_what_was_refused_and_gone_is_refused_again_when_it_is_back(
    pipeline: Pipeline, source: ModelScopeSource, sessions: sessionmaker[Session], hub: Hub
) -> None:
    spoil_dog(hub)
    list(pipeline.refresh(source))
    reason = get_adapter(sessions, "dog").refusal
    removed = hub.entries.pop(1)
    list(pipeline.refresh(source, full=True))
    assert states(sessions)["dog"] == "gone"

    hub.entries.append(removed)
    list(pipeline.refresh(source))

    assert states(sessions)["dog"] == "refused"
    assert get_adapter(sessions, "dog").refusal == reason


def test_what_an_older_reader_took_and_this_one_refuses_is_not_published_by_another_listing(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    list(pipeline.refresh(source))
    with monkeypatch.context() as patch:
        patch.setattr("encoder.adapter.lora_file.READER_VERSION", "reader-99")
        patch.setattr("encoder.adapter.assemble.MAX_RANK", 1)
        placing.find_alike.cache_clear()
        list(pipeline.refresh(source))
        list_copy_of_dog(hub)

        list(pipeline.refresh(source))

        assert states(sessions) == dict.fromkeys([*NAMES, "wolf"], "refused")
    placing.find_alike.cache_clear()

    # The reader after that one takes it again.
    list(pipeline.refresh(source))

    assert states(sessions) == dict.fromkeys([*NAMES, "wolf"], "ready")
