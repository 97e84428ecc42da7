"""Files that are read while others still come."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from registry.errors import DiskFullError
from registry.refresh.read_ahead import FEWEST_TOGETHER, MOST_TOGETHER, ReadAhead
from registry.refresh.step import StepOutcome


class _Files:
    """Files to read; those that are broken stay to do."""

    def __init__(self, names: Sequence[str], broken: Sequence[str] = ()) -> None:
        self.left, self.broken = list(names), set(broken)
        self.done = list[str]()
        self.was_looked = threading.Semaphore(0)

    def list(self) -> list[str]:
        self.was_looked.release()
        return list(self.left)

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        self.done += keys
        for key in keys:
            if key not in self.broken:
                self.left.remove(key)
            yield StepOutcome(key, key not in self.broken)


def _names(count: int) -> list[str]:
    return [f"{number:03}" for number in range(count)]


def test_what_is_here_is_read_before_anybody_asks() -> None:
    files = _Files(_names(MOST_TOGETHER + FEWEST_TOGETHER))
    ahead = ReadAhead(files.list, files.do)
    for _ in range(3):
        files.was_looked.acquire()

    outcomes = ahead.finish()

    assert [outcome.adapter for outcome in outcomes] == _names(MOST_TOGETHER + FEWEST_TOGETHER)
    assert files.left == []
    assert ahead.finish() == outcomes


def test_a_few_files_wait_for_more() -> None:
    files = _Files(_names(FEWEST_TOGETHER - 1))
    ahead = ReadAhead(files.list, files.do)
    files.was_looked.acquire()

    assert ahead.finish() == []
    assert files.done == []


def test_what_cannot_be_read_is_tried_once() -> None:
    names = _names(FEWEST_TOGETHER)
    files = _Files(names, broken=names[:2])
    ahead = ReadAhead(files.list, files.do)
    for _ in range(3):
        files.was_looked.acquire()

    outcomes = ahead.finish()

    assert files.done == names
    assert [outcome.adapter for outcome in outcomes if not outcome.ok] == names[:2]


def test_what_stops_reading_is_raised_by_who_asks() -> None:
    def fail(keys: Sequence[str]) -> Iterator[StepOutcome]:
        raise DiskFullError("the database")
        yield

    files = _Files(_names(FEWEST_TOGETHER))
    ahead = ReadAhead(files.list, fail)
    files.was_looked.acquire()
    ahead.wait()

    with pytest.raises(DiskFullError):
        ahead.finish()
