"""How much a hub is asked for at a time, and how it is let rest."""

import threading
from pathlib import Path

import pytest

from crawler import manners
from crawler.disk import DiskLimits
from crawler.errors import CrawlerError, HubRestingError, SourceError
from crawler.http import PoliteClient
from crawler.manners import FAILURES_IN_A_ROW, Bandwidth, Breaker, Manners
from crawler.records import AdapterRecord
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope_facts import Hub
from demo.hub.ranges import serve_file
from tests.crawler.builders import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(manners, "time", clock)
    return clock


def fail(breaker: Breaker, times: int = FAILURES_IN_A_ROW) -> None:
    for _ in range(times):
        breaker.admit()
        breaker.note(answered=False)


def test_bytes_are_spread_over_time(clock: Clock) -> None:
    bandwidth = Bandwidth(1000)

    waited = [bandwidth.take(500) for _ in range(4)]

    assert waited == [0, 0.5, 0.5, 0.5]
    clock.now += 10
    assert bandwidth.take(500) == 0, "what was not used is not a debt"


def test_without_a_limit_nobody_waits(clock: Clock) -> None:
    bandwidth = Bandwidth(None)

    assert [bandwidth.take(10**9) for _ in range(3)] == [0, 0, 0]


def test_a_file_comes_no_faster_than_its_hub_may_send_and_in_time(
    tmp_path: Path, clock: Clock
) -> None:
    """Waiting is ours, and no fault of a hub whose file takes longer than the timeout."""
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    with (
        serve_file(tmp_path / "a") as server,
        PoliteClient(
            allowed_origins=[server.url], requests_per_second=1e9, bandwidth=Bandwidth(10_000)
        ) as client,
    ):
        size = client.read_file(server.url, 0, lambda body: sum(map(len, body.chunks)))

    assert size == 1_000_000
    # But for the last chunk, of 256 KB at most, which nothing comes after.
    assert 70 < clock.now - 100 <= 100


def test_a_hub_that_fails_in_a_row_rests_and_one_question_asks_whether_it_is_back() -> None:
    clock = Clock()
    breaker = Breaker("Hub", first_rest_seconds=15, clock=clock.monotonic)
    fail(breaker, FAILURES_IN_A_ROW - 1)
    breaker.admit()
    breaker.note(answered=True)
    fail(breaker)

    with pytest.raises(HubRestingError, match="rests for 15 seconds") as resting:
        breaker.admit()
    assert resting.value.retry_after_seconds == 15
    clock.now += 15
    breaker.admit()
    with pytest.raises(HubRestingError):
        breaker.admit()
    breaker.note(answered=True)
    breaker.admit()
    breaker.admit()


def test_rests_grow_and_have_an_end() -> None:
    clock = Clock()
    breaker = Breaker("Hub", first_rest_seconds=15, clock=clock.monotonic)
    fail(breaker)
    rests = []
    for _ in range(12):
        with pytest.raises(HubRestingError) as resting:
            breaker.admit()
        rests.append(resting.value.retry_after_seconds or 0)
        clock.now += rests[-1]
        fail(breaker, 1)

    assert rests[:4] == [15, 30, 60, 120]
    assert rests[-1] == manners.LONGEST_REST_SECONDS


def test_a_rest_that_a_hub_asks_for_is_kept_by_all() -> None:
    """Also by those that were under way, whose answers say nothing against it."""
    clock = Clock()
    breaker = Breaker("Hub", first_rest_seconds=15, clock=clock.monotonic)
    for _ in range(3):
        breaker.admit()
    breaker.note(answered=False, rest_seconds=300)
    breaker.note(answered=True)
    breaker.note(answered=False)

    with pytest.raises(HubRestingError, match="asked for a rest and rests for 300") as resting:
        breaker.admit()
    assert resting.value.is_asked_for
    clock.now += 300
    breaker.admit()
    with pytest.raises(HubRestingError) as resting:
        breaker.admit()
    assert not resting.value.is_asked_for, "it is over, and somebody asks whether it is"
    breaker.note(answered=True)
    breaker.admit()


def test_what_was_under_way_when_it_began_to_rest_does_not_make_it_longer() -> None:
    """Eight downloads fail at about one time."""
    clock = Clock()
    breaker = Breaker("Hub", first_rest_seconds=15, clock=clock.monotonic)
    for _ in range(8):
        breaker.admit()
    for _ in range(8):
        breaker.note(answered=False)

    with pytest.raises(HubRestingError) as resting:
        breaker.admit()
    assert (resting.value.rests, resting.value.retry_after_seconds) == (1, 15)


def test_a_missing_file_is_an_answer(hub: Hub, tmp_path: Path) -> None:
    """Only a hub that does not answer rests; a file that is gone or wrong is its own affair."""
    with ModelScopeSource(hub.endpoint, manners=Manners(attempts=1)) as source:
        records = [one for one in source.list_adapters() if isinstance(one, AdapterRecord)]
        hub.faults.corrupt |= {entry["file"] for entry in hub.entries}
        for record in records * 2:
            with pytest.raises(CrawlerError) as wrong:
                source.download(record, tmp_path)
            assert not isinstance(wrong.value, HubRestingError)
        hub.faults.down = True
        down = [error_of(source, record, tmp_path) for record in records * 2]

    assert [type(error) for error in down[:FAILURES_IN_A_ROW]] == [SourceError] * FAILURES_IN_A_ROW
    assert HubRestingError in map(type, down)


def error_of(source: ModelScopeSource, record: AdapterRecord, target: Path) -> CrawlerError:
    with pytest.raises(CrawlerError) as error:
        source.download(record, target)
    return error.value


def test_a_hub_has_no_more_downloads_at_once_than_it_may(hub: Hub, tmp_path: Path) -> None:
    """Whoever asks: workers have threads of their own."""
    under_way, most, lock = [0], [0], threading.Lock()

    class Counting(DiskLimits):
        def check_size(self, name: str, size: int) -> None:
            # The first thing that a download does, and a slow one here.
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            threading.Event().wait(0.02)
            with lock:
                under_way[0] -= 1

    allowed = Manners(downloads=2)
    with ModelScopeSource(hub.endpoint, limits=Counting(), manners=allowed) as source:
        records = [one for one in source.list_adapters() if isinstance(one, AdapterRecord)]
        threads = [
            threading.Thread(target=source.download, args=(record, tmp_path)) for record in records
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert most[0] == 2
