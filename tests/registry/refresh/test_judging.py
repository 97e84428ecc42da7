"""What a hub's file is by its header, before all of it is fetched; and what stays of it after."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from crawler.hashed_file import hash_file
from crawler.sources.folder import FolderSource
from crawler.sources.hugging_face import HuggingFaceSource
from crawler.sources.modelscope import ModelScopeSource
from demo.hub import hugging_face, modelscope
from demo.hub.modelscope_facts import Hub
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.claims import store_claim
from registry.db.encoder_models import Sketch
from registry.db.models import Adapter, File
from registry.errors import FileNotKeptError
from registry.refresh import fetching
from registry.refresh.pipeline import STEPS, Pipeline, StepProgress
from registry.refresh.step import Step
from registry.refresh.steps.crawl import CrawlStep
from registry.refresh.steps.fetch import FetchStep
from registry.service import Registry
from tests.crawler.builders import DAY_SECONDS, FIRST_DAY, add_entry
from tests.encoder.builders import make_factors, write_adapter, write_tensors
from tests.registry.refresh.pipeline.facts import failures, get_adapter

CRAWL = (CrawlStep, FetchStep)
Refresh = Callable[..., list[StepProgress]]


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound adapter, one of which nobody knows the layers, and a pickle; all of any size."""
    import torch

    monkeypatch.setattr(fetching, "SHORT_BYTES", 0)
    folder = tmp_path / "zoo"
    for name in ("cat", "odd", "pickle"):
        entry = add_entry(folder, name)
        write_adapter(folder / entry["file"], make_factors(len(name)))
    odd = {"some.layer.lora_A.weight": torch.ones(2, 400_000)}
    odd |= {"some.layer.lora_B.weight": torch.ones(8, 2)}
    write_tensors(folder / "adapters/odd-1.safetensors", odd)
    (folder / "adapters/pickle-2.safetensors").write_bytes(b"PK\x03\x04" + b"x" * 3_000_000)
    return folder


@pytest.fixture
def hub(zoo: Path) -> Iterator[Hub]:
    with modelscope.serve(zoo) as hub:
        yield hub


@pytest.fixture
def refresh(
    hub: Hub, sessions: sessionmaker[Session], settings: Settings, text_encoder: TextEncoder
) -> Refresh:
    """Refresh from the hub, with settings that a test names."""

    def run(
        steps: tuple[type[Step], ...] = CRAWL, full: bool = False, **chosen: object
    ) -> list[StepProgress]:
        own = settings.model_copy(update=chosen)
        pipeline = Pipeline(sessions, BlobStore(own.blobs), own, text_encoder)
        with ModelScopeSource(hub.endpoint) as source:
            return list(pipeline.refresh(source, steps=steps, full=full))

    return run


def fetched_bytes(progress: list[StepProgress]) -> int:
    return sum(step.outcome.fetched_bytes for step in progress if step.outcome is not None)


def asked_whole(hub: Hub) -> list[str]:
    """The files of which more than the header was asked for."""
    asked = [path for _, path, part in hub.requests if "FilePath" in path and part is None]
    return [path.rpartition("FilePath=")[2].rpartition("%2F")[2] for path in asked]


def test_what_is_no_adapter_is_refused_by_its_header_and_not_fetched(
    refresh: Refresh, hub: Hub, sessions: sessionmaker[Session]
) -> None:
    progress = refresh()

    assert asked_whole(hub) == ["cat-0.safetensors"]
    assert fetched_bytes(progress) < hub.size("adapters/cat-0.safetensors") * 2 + 300_000
    for name, words in (("odd", "fits no base model known here"), ("pickle", "can run code")):
        refused = get_adapter(sessions, name)
        assert (refused.state, refused.file_sha256) == ("refused", None)
        assert words in (refused.refusal or "")
    hub.requests.clear()
    assert failures(refresh()) == {}
    assert not [path for _, path, _ in hub.requests if "FilePath" in path], "nobody asks again"


def test_the_reason_is_that_of_reading_the_whole_file(
    refresh: Refresh, sessions: sessionmaker[Session], hub: Hub
) -> None:
    """A folder's files are read whole; their verdicts are the same."""
    from registry.refresh.reading import read_and_sketch

    refresh()
    for name in ("odd", "pickle"):
        [entry] = [entry for entry in hub.entries if entry["name"] == name]
        with pytest.raises(Exception) as whole:  # noqa: PT011 (any of the reader's)
            read_and_sketch(hub.folder / entry["file"])
        cause: str = whole.value.cause  # type: ignore[attr-defined]
        assert get_adapter(sessions, name).refusal == " ".join(cause.split())


def test_another_base_model_than_is_wanted_is_not_fetched_until_it_is(
    refresh: Refresh, hub: Hub, sessions: sessionmaker[Session]
) -> None:
    """Its hub says FLUX.1-dev, its layers say otherwise; a wider wish looks at it again."""
    wanted = ["flux.1-dev"]
    refresh(crawl_base_models=wanted)

    cat = get_adapter(sessions, "cat")
    assert cat.state == "refused"
    assert "REGISTRY_CRAWL_BASE_MODELS asks for flux.1-dev" in (cat.refusal or "")
    hub.requests.clear()
    refresh(crawl_base_models=wanted)
    assert asked_whole(hub) == []

    refresh()

    cat = get_adapter(sessions, "cat")
    assert (cat.state, cat.refusal, cat.refused_by) == ("listed", None, None)
    assert asked_whole(hub) == ["cat-0.safetensors"]
    assert get_adapter(sessions, "odd").state == "refused"


def test_a_better_reader_and_a_claim_look_at_headers_again(
    refresh: Refresh, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("encoder.adapter.lora_file.READER_VERSION", "reader-0")
        refresh()
        with sessions.begin() as session:
            session.execute(update(Adapter).values(state="refused", refused_by="reader-0"))

    refresh()
    assert get_adapter(sessions, "cat").state == "listed"

    with sessions.begin() as session:
        store_claim(session, get_adapter(sessions, "odd").id, "flux.1-dev", "me")
    claimed = get_adapter(sessions, "odd")
    assert (claimed.state, claimed.refused_by) == ("listed", None)


def test_what_the_hub_changed_is_looked_at_again(
    refresh: Refresh, hub: Hub, sessions: sessionmaker[Session]
) -> None:
    refresh()
    write_adapter(hub.folder / "adapters/odd-1.safetensors", make_factors(9))
    hub._sha256.clear()
    hub.entries[1]["updated_at"] = FIRST_DAY + 30 * DAY_SECONDS

    assert failures(refresh()) == {}

    assert get_adapter(sessions, "odd").file_sha256 is not None


def test_what_is_not_the_announced_file_is_not_judged(
    refresh: Refresh, hub: Hub, sessions: sessionmaker[Session]
) -> None:
    """A page of an error would refuse a sound adapter for good."""
    hub.faults.lfs_pointer.add("adapters/cat-0.safetensors")

    assert "were announced" in failures(refresh())["alice/cat@100"]
    assert get_adapter(sessions, "cat").state == "listed"

    hub.faults.lfs_pointer.clear()
    refresh()
    assert get_adapter(sessions, "cat").file_sha256 is not None


def test_what_is_here_under_the_hash_of_an_etag_is_not_fetched(
    refresh: Refresh, zoo: Path, sessions: sessionmaker[Session], settings: Settings,
    text_encoder: TextEncoder,
) -> None:  # fmt: skip
    """A hub that lists no hash tells it where the file is."""
    refresh()
    with hugging_face.serve(zoo) as other, HuggingFaceSource(other.endpoint) as source:
        pipeline = Pipeline(sessions, BlobStore(settings.blobs), settings, text_encoder)
        list(pipeline.refresh(source, steps=(CrawlStep,)))
        with sessions.begin() as session:
            listed = session.scalars(select(Adapter).where(Adapter.hub == source.hub)).all()
            for one in listed:
                one.record = {**one.record, "file": {**one.record["file"], "sha256": None}}
        list(pipeline.refresh(source, steps=(FetchStep,)))
        asked = [part for _, path, part in other.requests if path.endswith(".safetensors")]

    with sessions() as session:
        files = session.scalars(select(Adapter.file_sha256).where(Adapter.name.contains("cat")))
        assert len(set(files)) == 1
    assert asked
    assert None not in asked, "no whole file was asked for"


@pytest.mark.parametrize("keep", ["none", "fusable"])
def test_what_is_not_kept_is_read_searched_and_never_stored(
    refresh: Refresh, sessions: sessionmaker[Session], settings: Settings, database_url: str,
    keep: str, hub: Hub,
) -> None:  # fmt: skip
    refresh(STEPS, keep_files=keep)

    cat = get_adapter(sessions, "cat")
    assert cat.state == "ready"
    assert cat.file_sha256 is not None
    assert not BlobStore(settings.blobs).exists(cat.file_sha256)
    assert not list((settings.home / "downloads").rglob("*.safetensors"))
    with sessions() as session:
        file = session.get_one(File, cat.file_sha256)
        assert (file.state, file.fingerprint is not None) == ("dropped", True)
        assert session.scalars(select(Sketch.file_sha256)).all() == [cat.file_sha256]
    hub.requests.clear()
    assert failures(refresh(STEPS, keep_files=keep)) == {}
    assert not [path for _, path, _ in hub.requests if "FilePath" in path], "it is not fetched anew"
    own = settings.model_copy(update={"database_url": database_url, "keep_files": keep})
    with Registry(own) as registry:
        assert registry.adapter(cat.id).card.name == cat.name
        with pytest.raises(FileNotKeptError, match=r"REGISTRY_KEEP_FILES=all.*autolora refresh"):
            registry.file(cat.file_sha256)


def test_what_was_not_kept_comes_back_when_it_is_to_be_and_stays_findable(
    refresh: Refresh, sessions: sessionmaker[Session], settings: Settings
) -> None:
    refresh(STEPS, keep_files="none")
    sha256 = get_adapter(sessions, "cat").file_sha256
    assert sha256 is not None

    refresh(STEPS, keep_files="fusable", base_models={"flux.1-dev": Path("/flux")})
    assert not BlobStore(settings.blobs).exists(sha256), "another base model fuses here"
    refresh(STEPS, keep_files="fusable", base_models={"demo-flux-tiny": Path("/tiny")})

    assert BlobStore(settings.blobs).exists(sha256)
    assert get_adapter(sessions, "cat").state == "ready"


def test_a_file_that_is_not_kept_is_not_fetched_for_another_listing(
    refresh: Refresh, sessions: sessionmaker[Session], hub: Hub
) -> None:
    refresh(STEPS, keep_files="none")
    again = {**hub.entries[0], "name": "cat-again", "version_id": 500, "model_id": 50}
    hub.entries.append({**again, "updated_at": FIRST_DAY + 9 * DAY_SECONDS})
    hub.requests.clear()

    refresh(STEPS, keep_files="none")

    assert get_adapter(sessions, "cat-again").state == "ready"
    assert asked_whole(hub) == []


def test_a_file_listed_twice_is_read_once_and_not_kept(
    refresh: Refresh, sessions: sessionmaker[Session], hub: Hub
) -> None:
    hub.entries.append({**hub.entries[0], "name": "cat-too", "version_id": 500, "model_id": 50})

    refresh(STEPS, keep_files="none")

    assert {get_adapter(sessions, name).state for name in ("cat", "cat-too")} == {"ready"}


@pytest.mark.parametrize("keep", ["all", "none"])
def test_a_folder_is_not_filtered_by_base_models(
    zoo: Path, sessions: sessionmaker[Session], settings: Settings, text_encoder: TextEncoder,
    keep: str,
) -> None:  # fmt: skip
    """Who refreshes from a folder has chosen what is in it; but a whole model is not copied."""
    chosen = {"crawl_base_models": ["flux.1-dev"], "keep_files": keep}
    own = settings.model_copy(update=chosen)
    pipeline = Pipeline(sessions, BlobStore(own.blobs), own, text_encoder)
    with closing(FolderSource(zoo / "adapters")) as source:
        list(pipeline.refresh(source, steps=STEPS))

    with sessions() as session:
        rows = session.execute(select(Adapter.name, Adapter.state, Adapter.refused_by))
        states = {row.name: (row.state, row.refused_by) for row in rows}
        copied = session.scalars(select(File.sha256)).all()
    assert states["cat-0"] == ("ready", None)
    assert states["odd-1"][0] == "refused"
    assert copied == [hash_file(zoo / "adapters/cat-0.safetensors")]


def test_a_refresh_killed_before_it_read_a_file_fetches_it_again(
    refresh: Refresh, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("registry.refresh.steps.fetch.read_files", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            refresh(keep_files="none")

    refresh(STEPS, keep_files="none")
    refresh(STEPS, keep_files="none")

    assert get_adapter(sessions, "cat").state == "ready"
