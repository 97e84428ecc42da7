"""What a refresh fetches, and what it refuses without harm to the rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.disk import DiskLimits
from crawler.errors import HubRestingError, SourceError
from crawler.hashed_file import HashedFile
from crawler.records import AdapterRecord
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.pending import PendingFetch
from registry.refresh.fetching import Fetched, Fetcher
from registry.refresh.judging import HeaderJudge
from tests.crawler.builders import add_entry, write_adapter

LARGE = 50_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Three adapters of some 3 KB; the file of the second is large."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    for name in ("cat", "dog", "fox"):
        entry = add_entry(zoo, name)
        if name == "dog":
            write_adapter(zoo / entry["file"], seed=1, metadata={"comment": "x" * LARGE})
    with serve(zoo) as hub:
        yield hub


def fetch(hub: Hub, tmp_path: Path, limits: DiskLimits, blobs: BlobStore) -> dict[str, Fetched]:
    """Fetch all that the hub lists; by name of the adapter."""
    with ModelScopeSource(hub.endpoint, limits=limits) as source:
        records = [item for item in source.list_adapters() if isinstance(item, AdapterRecord)]
        wanted = [PendingFetch(n, record, True, True) for n, record in enumerate(records)]
        fetcher = Fetcher(source, blobs, tmp_path / "downloads", HeaderJudge(Settings()))
        came = list(fetcher.fetch_all(wanted))
    return {
        fetched.record.repo.removeprefix("alice/"): fetched for found in came for fetched in found
    }


def test_a_file_too_large_costs_its_own_adapter_and_no_other(hub: Hub, tmp_path: Path) -> None:
    limits = DiskLimits(max_file_bytes=LARGE)
    found = fetch(hub, tmp_path, limits, BlobStore(tmp_path / "blobs"))

    [problem] = found["dog"].problems
    assert "alice/dog/dog-1.safetensors has 5" in problem
    assert "REGISTRY_MAX_FILE_BYTES" in problem
    assert found["dog"].sha256 is None
    assert found["cat"].sha256
    assert found["fox"].sha256
    assert not found["cat"].problems


def test_what_would_enter_the_reserve_is_refused_and_the_rest_goes_on(
    hub: Hub, tmp_path: Path
) -> None:
    """A disk with room for the small ones."""
    limits = DiskLimits(reserved_bytes=10**9, usage=lambda _: (10**12, 0, 10**9 + LARGE))
    found = fetch(hub, tmp_path, limits, BlobStore(tmp_path / "blobs"))

    [problem] = found["dog"].problems
    assert "REGISTRY_RESERVED_BYTES" in problem
    assert found["cat"].sha256
    assert found["fox"].sha256
    assert not list((tmp_path / "downloads").rglob("dog*"))


def test_covers_without_room_stay_to_be_fetched(hub: Hub, tmp_path: Path) -> None:
    """Else an adapter would be without them for ever."""
    full = DiskLimits(reserved_bytes=10**9, usage=lambda _: (10**12, 0, 10**9))
    found = fetch(hub, tmp_path, DiskLimits(), BlobStore(tmp_path / "blobs", full))

    assert not any(fetched.covers_done for fetched in found.values())
    assert not any(fetched.covers for fetched in found.values())
    assert all("REGISTRY_RESERVED_BYTES" in fetched.problems[0] for fetched in found.values())


class RestingSource(ModelScopeSource):
    """A hub that says so often that it rests, before it gives a file."""

    def __init__(self, endpoint: str, rests: list[int]) -> None:
        super().__init__(endpoint)
        self.left = rests

    def download(self, record: AdapterRecord, target: Path) -> HashedFile:
        if self.left:
            raise HubRestingError("Hub", 0, self.left.pop(0))
        return super().download(record, target)


def fetch_resting(hub: Hub, tmp_path: Path, rests: list[int]) -> tuple[list[Fetched], list[str]]:
    told: list[str] = []
    with RestingSource(hub.endpoint, rests) as source:
        records = [item for item in source.list_adapters() if isinstance(item, AdapterRecord)]
        wanted = [PendingFetch(n, record, True, True) for n, record in enumerate(records)]
        blobs = BlobStore(tmp_path / "blobs")
        fetcher = Fetcher(source, blobs, tmp_path / "downloads", HeaderJudge(Settings()))
        came = [one for found in fetcher.fetch_all(wanted, told) for one in found]
    return came, told


def test_a_hub_that_asks_for_a_long_rest_is_left_for_the_next_run(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> HashedFile:
        raise HubRestingError("Hub", 300, 1, is_asked_for=True)

    monkeypatch.setattr(RestingSource, "download", asked)

    with pytest.raises(SourceError, match="asked for a rest and rests for 300 seconds; fetching"):
        fetch_resting(hub, tmp_path, [])


def test_downloads_wait_for_a_hub_that_rests_and_go_on(hub: Hub, tmp_path: Path) -> None:
    came, told = fetch_resting(hub, tmp_path, [1, 1, 2])

    assert sorted(fetched.adapter_id for fetched in came) == [0, 1, 2]
    assert all(fetched.sha256 and not fetched.problems for fetched in came)
    assert "Hub failed several times in a row and rests" in told[0]


def test_a_hub_that_does_not_come_back_is_left(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not come back after 3 rests"):
        fetch_resting(hub, tmp_path, [4, 4, 4])
