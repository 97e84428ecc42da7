"""A hub that is down, or sends what cannot be used."""

import os

from sqlalchemy.orm import Session, sessionmaker

from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope_facts import Hub
from registry.db.models import Cover
from registry.refresh.pipeline import Pipeline
from registry.refresh.steps.crawl import CrawlStep
from registry.refresh.steps.fetch import FetchStep
from tests.crawler.builders import DAY_SECONDS, FIRST_DAY
from tests.registry.refresh.pipeline.facts import (
    NAMES,
    failures,
    get_adapter,
    last_run,
    row_counts,
    states,
)


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
