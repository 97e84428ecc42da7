"""When a question may go unanswered."""

import time

from benchmarks.chaos.outages import LEAST_SECONDS, Outages


def test_only_what_was_down_meanwhile_excuses() -> None:
    outages = Outages()
    before = time.monotonic()
    outages.begin("server")
    during = time.monotonic()
    assert outages.is_down("server")
    outages.end("server")

    assert not outages.is_down("server")
    assert outages.overlap(before, during) == {"server"}
    assert outages.overlap(during - 10, before - 1) == set()
    # Those that begin in the next moment may still meet what was killed.
    assert outages.overlap(during + LEAST_SECONDS / 2, during + 10) == {"server"}
    assert outages.overlap(during + 2 * LEAST_SECONDS, during + 10) == set()


def test_what_is_down_for_good_excuses_until_it_is_up() -> None:
    outages = Outages()
    outages.begin("disk")

    assert outages.overlap(time.monotonic() + 100, time.monotonic() + 200) == {"disk"}
    assert not outages.is_down("server")
