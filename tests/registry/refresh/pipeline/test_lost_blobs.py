"""Files, covers and checkpoints that the blob store has lost, or cut."""

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from crawler.disk import DiskLimits
from crawler.hashed_file import hash_file
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope_facts import Hub
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.encoder_models import Encoder
from registry.db.lost_blobs import want_covers
from registry.db.models import Cover
from registry.refresh import losses
from registry.refresh.pipeline import STEPS, Pipeline
from registry.refresh.steps.crawl import CrawlStep
from registry.refresh.steps.fetch import FetchStep
from registry.refresh.steps.publish import PublishStep
from registry.shared_blobs import SharedBlobStore
from tests.registry.refresh.pipeline.facts import (
    EVERYTHING,
    NAMES,
    downloads,
    failures,
    get_adapter,
    last_run,
    row_counts,
    states,
)


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


def test_a_disk_without_room_for_copies_keeps_nothing_else_from_being_published(
    sessions: sessionmaker[Session],
    settings: Settings,
    text_encoder: TextEncoder,
    source: ModelScopeSource,
    hub: Hub,
    tmp_path: Path,
) -> None:
    """The bucket has the files, and this machine is to read one that it has not."""
    free = [10**12]
    limits = DiskLimits(reserved_bytes=10**9, usage=lambda _: (10**12, 0, free[0]))
    (tmp_path / "bucket").mkdir()
    blobs = SharedBlobStore(settings.blobs, (tmp_path / "bucket").as_uri(), limits)
    pipeline = Pipeline(sessions, blobs, settings, text_encoder)
    hub.faults.wrong_sha256.add(hub.entries[3]["file"])
    list(pipeline.refresh(source, steps=set(STEPS) - {PublishStep}))
    hub.faults.wrong_sha256.clear()
    list(pipeline.refresh(source, full=True, steps=(CrawlStep, FetchStep)))
    owl = get_adapter(sessions, "owl").file_sha256
    assert owl is not None
    blobs.path(owl).unlink()

    free[0] = 0
    list(pipeline.refresh(source))

    assert states(sessions) == dict.fromkeys(NAMES, "ready") | {"owl": "listed"}
    assert "REGISTRY_RESERVED_BYTES" in (last_run(sessions).error or "")
    free[0] = 10**12
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


def test_covers_are_wanted_again_however_many_they_are(session: Session) -> None:
    """A statement has 65,535 values at most."""
    want_covers(session, range(70_000))


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
