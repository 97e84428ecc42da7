"""Covers' captions by a vision model, through accidents; the model is an endpoint on loopback."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ImageColor import getrgb
from sqlalchemy import func, select

from encoder.captions.captioner import Captioner, Language
from encoder.captions.endpoint import EndpointCaptioner
from encoder.captions.local import LocalCaptioner
from encoder.errors import CaptionerError
from registry.db import captions
from registry.db.adapters import StoredCover, store_covers
from registry.db.captions import MOST_FAILURES, Wanted
from registry.db.holds import hold
from registry.db.models import Caption, CaptionEmbedding, Cover, ImageCaptions
from registry.refresh.captioning import (
    HELD_AS,
    Captioning,
    caption_images,
    take_known,
    version_of,
)
from registry.refresh.step import StepOutcome
from registry.refresh.steps.encode_captions import encode_captions
from registry.service import Registry
from tests.builders import add_adapter
from tests.encoder.captions.tiny_vlm import write_tiny_vlm
from tests.encoder.captions.vlm_server import (
    GOOD,
    GOOD_ZH,
    Answer,
    VlmServer,
    fails,
    says,
    well,
)

COLOURS = ("red", "lime", "blue", "white", "black", "yellow")


@pytest.fixture
def vlm() -> Iterator[VlmServer]:
    with VlmServer().running() as server:
        yield server


@pytest.fixture
def captioner(vlm: VlmServer) -> Iterator[EndpointCaptioner]:
    with closing(open_captioner(vlm)) as opened:
        yield opened


def open_captioner(vlm: VlmServer, model: str = "qwen3-vl") -> EndpointCaptioner:
    return EndpointCaptioner(vlm.url, model, concurrency=2, first_wait_seconds=0.001)


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(stream, "PNG")
    return stream.getvalue()


def add_covered(
    registry: Registry, *colours: str, prompt: str | None = None, **what_matters: Any
) -> int:
    """Add an adapter whose covers show one colour each."""
    with registry.sessions.begin() as session:
        adapter_id = add_adapter(session, **what_matters).id
        store_covers(session, adapter_id, covers_of(registry, colours, prompt), done=True)
        return adapter_id


def covers_of(
    registry: Registry, colours: Sequence[str], prompt: str | None = None
) -> list[StoredCover]:
    stored = [registry.blobs.put_bytes(picture(colour)) for colour in colours]
    return [StoredCover(n, sha, sha, 40, 40, 0, prompt) for n, sha in enumerate(stored)]


def run(
    registry: Registry,
    captioner: Captioner,
    language: Language = "en",
    *,
    limit: int | None = None,
    again: bool = False,
) -> list[StepOutcome]:
    return list(caption_images(work_of(registry, captioner, language, again), captioner, limit))


def work_of(
    registry: Registry, captioner: Captioner, language: Language = "en", again: bool = False
) -> Captioning:
    with registry.sessions() as session:
        wanted = Wanted(version_of(captioner.name, language), captions.now(session), again)
    return Captioning(registry.sessions, registry.blobs, wanted)


def texts(registry: Registry, *, superseded: bool = False) -> dict[tuple[int, str], list[str]]:
    """What search finds of each adapter's covers by a model: kinds' texts, in kinds' order."""
    with registry.sessions() as session:
        rows = session.execute(
            select(Cover.adapter_id, Caption.language, Caption.text)
            .join(Caption, Caption.cover_id == Cover.id)
            .where(Caption.source == "vlm", Caption.superseded == superseded)
            .order_by(
                Cover.position, func.array_position(["short", "medium", "long"], Caption.kind)
            )
        )
        found: dict[tuple[int, str], list[str]] = {}
        for row in rows:
            found.setdefault((row.adapter_id, row.language), []).append(row.text)
        return found


def colours_asked(vlm: VlmServer) -> list[str]:
    """The pictures that were sent, in order, by what is in their middle; JPEG is not exact."""
    corners = {tuple(part > 128 for part in getrgb(name)): name for name in COLOURS}
    middles = [request.picture.convert("RGB").crop((20, 20, 21, 21)) for request in vlm.requests]
    return [corners[tuple(part > 128 for part in middle.tobytes())] for middle in middles]


def test_each_cover_gets_three_captions_of_which_all_is_known(
    registry: Registry, captioner: EndpointCaptioner
) -> None:
    fox = add_covered(registry, "red")

    [outcome] = run(registry, captioner)

    assert outcome.ok
    assert texts(registry) == {(fox, "en"): list(GOOD.values())}
    with registry.sessions() as session:
        rows = session.scalars(select(Caption).order_by(Caption.id)).all()
    assert {row.kind for row in rows} == {"short", "medium", "long"}
    assert {(r.source, r.language, r.model, r.prompt_version) for r in rows} == {
        ("vlm", *(version_of("qwen3-vl", "en")[i] for i in (2, 0, 1)))
    }


def test_captions_are_found_by_search(registry: Registry, captioner: EndpointCaptioner) -> None:
    fox = add_covered(registry, "red")
    run(registry, captioner)

    assert all(outcome.ok for outcome in encode_captions(registry.sessions, registry.text_encoder))

    page = registry.search("a drawing of a fox in the snow", nearest=True)
    assert [(hit.card.id, hit.hit.positions["captions"]) for hit in page.results] == [(fox, 1)]
    assert registry.adapter(fox).covers[0].captions == tuple(GOOD.values())


def test_an_image_is_captioned_once_wherever_it_appears(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    first, second = add_covered(registry, "red", "blue"), add_covered(registry, "blue", "red")

    assert len(run(registry, captioner)) == 2
    third = add_covered(registry, "blue")
    assert run(registry, captioner) == []
    take_known(registry.sessions)

    assert len(vlm.requests) == 2
    both = list(GOOD.values()) * 2
    assert texts(registry) == {(first, "en"): both, (second, "en"): both, (third, "en"): both[:3]}


def test_captions_outlive_the_covers_that_a_hub_shuffles(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """They were paid for."""
    fox = add_covered(registry, "red", "blue")
    run(registry, captioner)
    with registry.sessions.begin() as session:
        store_covers(session, fox, covers_of(registry, ["blue", "lime", "red"]), done=True)
    assert texts(registry) == {}

    take_known(registry.sessions)
    assert texts(registry) == {(fox, "en"): list(GOOD.values()) * 2}
    run(registry, captioner)

    assert colours_asked(vlm)[2:] == ["lime"]
    assert texts(registry) == {(fox, "en"): list(GOOD.values()) * 3}


def test_chinese_captions_stand_beside_english_ones(
    registry: Registry, captioner: EndpointCaptioner
) -> None:
    fox = add_covered(registry, "red")

    run(registry, captioner, "en")
    run(registry, captioner, "zh")

    assert texts(registry) == {
        (fox, "en"): list(GOOD.values()),
        (fox, "zh"): list(GOOD_ZH.values()),
    }


def test_another_model_captions_anew_and_search_uses_the_last(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """The old captions and their embeddings stay; an image without new ones is found by the old."""
    fox, owl = add_covered(registry, "red"), add_covered(registry, "blue")
    run(registry, captioner)
    list(encode_captions(registry.sessions, registry.text_encoder))
    better = GOOD | {"short": "a vixen, sumi-e"}
    vlm.script(says(better), fails(400, "data_inspection_failed"))
    with closing(open_captioner(vlm, "qwen4-vl")) as newer:
        run(registry, newer)
    list(encode_captions(registry.sessions, registry.text_encoder))

    found = texts(registry)
    assert sorted(captions[0] for captions in found.values()) == [GOOD["short"], better["short"]]
    assert found.keys() == {(fox, "en"), (owl, "en")}
    assert len(texts(registry, superseded=True)) == 1
    with registry.sessions() as session:
        assert session.scalar(select(func.count()).select_from(CaptionEmbedding)) == 4
    shown = {registry.adapter(id_).covers[0].captions[0] for id_ in (fox, owl)}
    assert shown == {GOOD["short"], better["short"]}


def test_superseded_captions_are_superseded_for_covers_that_come_later(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    add_covered(registry, "red")
    run(registry, captioner)
    vlm.script(says(GOOD | {"short": "a vixen, sumi-e"}))
    with closing(open_captioner(vlm, "qwen4-vl")) as newer:
        run(registry, newer)

    late = add_covered(registry, "red")
    take_known(registry.sessions)

    assert texts(registry)[late, "en"][0] == "a vixen, sumi-e"
    assert texts(registry, superseded=True)[late, "en"][0] == GOOD["short"]


def test_adapters_without_good_words_come_first(registry: Registry, vlm: VlmServer) -> None:
    """Then first covers, then what is downloaded most: money goes where it helps."""
    add_covered(registry, "red", description="All about it. " * 10, downloads=10**6)
    add_covered(registry, "lime", prompt="a fox in ink", downloads=10**6)
    add_covered(registry, "blue", "white", downloads=5)
    add_covered(registry, "black", description="my first LoRA", downloads=50)
    with closing(EndpointCaptioner(vlm.url, "qwen3-vl", concurrency=1)) as captioner:
        run(registry, captioner)

    assert colours_asked(vlm) == ["black", "blue", "white", *sorted(["lime", "red"], key=sha_of)]


def sha_of(colour: str) -> str:
    return hashlib.sha256(picture(colour)).hexdigest()


def test_a_limit_bounds_what_is_asked_and_the_next_run_goes_on(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    add_covered(registry, *COLOURS)

    assert len(run(registry, captioner, limit=4)) == 4
    assert len(vlm.requests) == 4
    assert len(run(registry, captioner, limit=4)) == 2
    assert len(vlm.requests) == 6


def test_adapters_that_are_gone_or_refused_cost_nothing(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    add_covered(registry, "red", state="gone")
    add_covered(registry, "blue", state="refused")

    assert run(registry, captioner) == []
    assert vlm.requests == []


@pytest.mark.parametrize(
    "bad",
    [says("I'm sorry, but I can't help with that."), says("no JSON"), says("", reason="length")],
)
def test_a_bad_answer_is_noted_and_tried_again_in_few_later_runs(
    bad: Answer, registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    add_covered(registry, "red")
    vlm.answer = lambda request: bad

    outcomes = [run(registry, captioner) for _ in range(MOST_FAILURES)]

    assert [len(run_) for run_ in outcomes] == [1] * MOST_FAILURES
    [row] = all_images(registry)
    assert (row.failures, row.short) == (MOST_FAILURES, None)
    assert row.reason == outcomes[0][0].message
    assert run(registry, captioner) == [], "it is given up"
    assert len(vlm.requests) == MOST_FAILURES

    vlm.answer = well
    [again] = run(registry, captioner, again=True)
    assert again.ok
    [row] = all_images(registry)
    assert (row.reason, row.short) == (None, GOOD["short"])


def all_images(registry: Registry) -> list[ImageCaptions]:
    with registry.sessions() as session:
        return list(session.scalars(select(ImageCaptions)))


def test_an_endpoint_that_dies_stops_the_run_and_no_image_is_to_blame(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    add_covered(registry, *COLOURS)
    vlm.answer = lambda request: fails(401, "invalid key")

    with pytest.raises(CaptionerError, match="invalid key"):
        run(registry, captioner)

    assert all_images(registry) == []


def test_what_was_paid_for_is_kept_when_the_endpoint_dies(
    registry: Registry, vlm: VlmServer
) -> None:
    add_covered(registry, *COLOURS)
    vlm.answer = lambda request: (
        well(request) if len(vlm.requests) <= 3 else fails(402, "no money left")
    )

    with (
        closing(EndpointCaptioner(vlm.url, "qwen3-vl", concurrency=1)) as captioner,
        pytest.raises(CaptionerError, match="no money left"),
    ):
        run(registry, captioner)

    assert len(all_images(registry)) == 3
    assert sum(map(len, texts(registry).values())) == 9


def test_a_cover_whose_blob_is_lost_is_reported(
    registry: Registry, captioner: EndpointCaptioner
) -> None:
    add_covered(registry, "red", "blue")
    lost = registry.blobs.put_bytes(picture("red"))
    registry.blobs.path(lost).unlink()

    outcomes = run(registry, captioner)

    [problem] = [outcome.message for outcome in outcomes if not outcome.ok]
    assert problem.startswith(f"the blob store has no {lost}")
    assert len(outcomes) == 2


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


def test_a_model_on_this_machine_takes_the_same_way(registry: Registry, tmp_path: Path) -> None:
    """Its random numbers say nothing that can be read, which is noted for each image."""
    add_covered(registry, "red", "blue")
    captioner = LocalCaptioner(write_tiny_vlm(tmp_path), "tiny", max_tokens=16)

    outcomes = run(registry, captioner)

    assert [outcome.ok for outcome in outcomes] == [False, False]
    assert {row.model for row in all_images(registry)} == {"tiny"}
    assert all("broken or cut off" in (row.reason or "") for row in all_images(registry))


KILLED = """
import os, signal, sys
from encoder.captions.endpoint import EndpointCaptioner
from registry.db.captions import Wanted, now
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
