"""A step's tasks, done by workers: handed out, waited for, and counted as if done here."""

import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import islice

from sqlalchemy.exc import DBAPIError

from crawler.errors import SourceError
from registry.db import jobs
from registry.refresh.step import SharedStep, StepOutcome

# How often a refresh looks what its workers have done.
POLL_SECONDS = 0.5
# So many of a step's jobs wait at most: who looks for those that do, or for one to take, walks over
# all that there are, again and again.
AHEAD = 1000


def has_workers(step: SharedStep) -> bool:
    """Whether somebody is there to take a step's tasks."""
    with step.context.sessions() as session:
        return jobs.has_workers(session, step.queue)


def share(step: SharedStep) -> Iterator[StepOutcome]:
    """Let workers do a step's tasks; what they leave when the last of them is gone is done here.

    Raises:
        SourceError: the hub does not answer a worker.
    """
    try:
        is_done = yield from _hand_out_and_wait(step)
    finally:
        # A lost database keeps them, and the next refresh removes them.
        with suppress(DBAPIError), step.context.sessions.begin() as session:
            jobs.take_away(session, step.context.run_id, step.name)
    if is_done:
        yield from step.finish()
    else:
        yield from step.run()


def _jobs(step: SharedStep) -> Iterator[jobs.Job]:
    context = step.context
    base_models = context.settings.crawl_base_models
    for keys in step.list_keys(step.job):
        yield jobs.Job(context.run_id, step.name, *context.origin, keys, base_models)


def _hand_out_and_wait(step: SharedStep) -> Generator[StepOutcome, None, bool]:
    """Yield what workers did, until all is done or none is left; return whether all is."""
    run_id, sessions = step.context.run_id, step.context.sessions
    left = _jobs(step)
    while True:
        with sessions.begin() as session:
            jobs.take_back_stalled(session)
            # In this order: whatever is not waiting any more has left its outcome.
            waiting = jobs.count_waiting(session, run_id, step.name)
            outcomes = jobs.take_outcomes(session, run_id, step.name)
            alive = jobs.has_workers(session, step.queue)
        for outcome in outcomes:
            if outcome.hub_failed:
                raise SourceError(outcome.message)
            yield StepOutcome(outcome.adapter, outcome.ok, outcome.message, outcome.fetched_bytes)
        page = list(islice(left, max(AHEAD - waiting, 0)))
        if not (alive and (waiting or page)):
            return not (waiting or page)
        if page:
            with sessions.begin() as session:
                jobs.hand_out(session, step.queue, page)
        time.sleep(POLL_SECONDS)
