"""The clock: somebody who looks whether a night is due."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

# How often it is looked whether a night was missed, or whoever did it was killed.
LOOK_MINUTES = 10


@contextmanager
def clock(at: time, look: Callable[[], None]) -> Iterator[None]:
    """Call `look` at once, when a night is due, and now and then; never while it runs.

    It runs in a thread of its own; whoever ends the context makes it return.
    """
    # That a look is left out while another one runs is what is wanted.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    scheduler = BackgroundScheduler(timezone=UTC)
    due = CronTrigger(hour=at.hour, minute=at.minute, timezone=UTC)
    now_and_then = IntervalTrigger(minutes=LOOK_MINUTES, timezone=UTC)
    scheduler.add_job(
        look,
        OrTrigger([due, now_and_then]),
        next_run_time=datetime.now(UTC),
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
    )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=True)
