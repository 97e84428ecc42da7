"""Several processes that caption the same covers, and one that is killed."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

import pytest

from encoder.captions.endpoint import EndpointCaptioner
from registry.db.holds import hold
from registry.refresh.captioning import HELD_AS, caption_images
from registry.refresh.step import StepOutcome
from registry.service import Registry
from tests.encoder.captions.vlm_server import (
    Answer,
    VlmServer,
    well,
)
from tests.registry.refresh.captions import (
    COLOURS,
    add_covered,
    all_images,
    colours_asked,
    run,
    texts,
    work_of,
)


def test_two_workers_share_the_work(registry: Registry, vlm: VlmServer) -> None:
    """Each image is asked about once, whoever asks: locks are the database's."""
    add_covered(registry, *COLOURS)
    vlm.answer = lambda request: Answer(body=well(request).body, delay_seconds=0.05)
    outcomes: list[StepOutcome] = []

    def work() -> None:
        with closing(EndpointCaptioner(vlm.url, "qwen3-vl", concurrency=1)) as captioner:
            captioner_outcomes = run(registry, captioner)
        outcomes.extend(captioner_outcomes)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(colours_asked(vlm)) == sorted(COLOURS)
    assert len(outcomes) == len(COLOURS)


def test_what_another_has_in_hand_is_left_to_it(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    add_covered(registry, "red", "blue", "lime")
    work = work_of(registry, captioner)
    [mine, *_] = work.list_waiting(1)
    with hold(registry.sessions.kw["bind"], HELD_AS, [work.key(mine)]):
        assert len(run(registry, captioner)) == 2

    assert len(vlm.requests) == 2
    assert len(run(registry, captioner)) == 1


def test_a_batch_that_others_did_costs_nothing(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """A queue may hand out the same images twice."""
    add_covered(registry, "red")
    work = work_of(registry, captioner)
    images = work.list_waiting(10)

    for expected in (1, 0):
        assert len(list(work.caption(captioner, images))) == expected
    assert len(vlm.requests) == 1


KILLED = """
import os, signal, sys
from encoder.captions.endpoint import EndpointCaptioner
from registry.db.captions import Wanted
from registry.db.session import now
from registry.refresh.captioning import Captioning, caption_images, version_of
from registry.service import Registry

url, after = sys.argv[1], int(sys.argv[2])
with Registry() as registry:
    captioner = EndpointCaptioner(url, "qwen3-vl", concurrency=1)
    look = captioner.caption
    def caption(images, language):
        for number, result in enumerate(look(images, language)):
            yield result
            if number == after:
                os.kill(os.getpid(), signal.SIGKILL)
    captioner.caption = caption
    with registry.sessions() as session:
        wanted = Wanted(version_of(captioner.name, "en"), now(session))
    work = Captioning(registry.sessions, registry.blobs, wanted)
    list(caption_images(work, captioner))
"""


@pytest.mark.timeout(600)
def test_a_killed_run_loses_one_batch_and_doubles_nothing(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    add_covered(registry, *COLOURS)
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "OMP_NUM_THREADS": "1",
        "REGISTRY_HOME": str(registry.settings.home),
        "REGISTRY_DATABASE_URL": str(registry.settings.database_url),
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED, vlm.url, "2"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert all_images(registry) == []

    outcomes = run(registry, captioner)

    assert len(outcomes) == len(COLOURS), "nothing stays locked"
    assert all(outcome.ok for outcome in outcomes)
    assert [len(captions) for captions in texts(registry).values()] == [3 * len(COLOURS)]


def test_more_workers_than_images_in_a_page_find_what_is_left(
    registry: Registry, captioner: EndpointCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All list the same images first; what others have in hand must not hide the rest."""
    monkeypatch.setattr("registry.refresh.captioning.PAGE", 2)
    add_covered(registry, *COLOURS)
    work = work_of(registry, captioner)
    held = [work.key(sha256) for sha256 in work.list_waiting(3)]
    with hold(registry.sessions.kw["bind"], HELD_AS, held):
        assert len(run(registry, captioner)) == len(COLOURS) - len(held)


def test_two_at_once_leave_nothing(
    registry: Registry, vlm: VlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another has done leaves the list, and must not be passed over there once more."""
    monkeypatch.setattr("registry.refresh.captioning.PAGE", 8)
    monkeypatch.setattr(EndpointCaptioner, "batch_size", 1)
    add_covered(registry, *(f"rgb({number * 10}, 0, 0)" for number in range(24)))
    with closing(EndpointCaptioner(vlm.url, "qwen3-vl", concurrency=1)) as captioner:
        work = work_of(registry, captioner)
        both = zip_longest(*(caption_images(work, captioner) for _ in range(2)))
        outcomes = [outcome for pair in both for outcome in pair if outcome is not None]

    assert len(outcomes) == len(vlm.requests) == 24
    assert work.count_waiting() == 0
