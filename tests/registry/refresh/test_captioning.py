"""Covers' captions by a vision model, through accidents; the model is an endpoint on loopback."""

import hashlib
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from encoder.captions.endpoint import EndpointCaptioner
from encoder.captions.local import LocalCaptioner
from encoder.errors import CaptionerError
from registry.db.arrivals import Arrival, store_arrivals
from registry.db.captions import MOST_FAILURES
from registry.db.models import Caption, CaptionEmbedding
from registry.refresh.captioning import (
    caption_images,
    take_known,
    version_of,
)
from registry.refresh.steps.encode_captions import encode_captions
from registry.service import Registry
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
from tests.registry.refresh.captions import (
    COLOURS,
    add_covered,
    all_images,
    colours_asked,
    covers_of,
    open_captioner,
    picture,
    run,
    texts,
    work_of,
)


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

    page = registry.search("a drawing of a fox in the snow")
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
        covers = covers_of(registry, ["blue", "lime", "red"])
        store_arrivals(session, [Arrival(fox, covers=covers, covers_done=True)])
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


def test_who_goes_back_to_a_model_finds_by_its_captions_and_pays_nothing(
    registry: Registry, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """An image that it never saw keeps those of the other."""
    fox = add_covered(registry, "red")
    run(registry, captioner)
    owl = add_covered(registry, "blue")
    vlm.script(*[says(GOOD | {"short": "a vixen, sumi-e"})] * 2)
    with closing(open_captioner(vlm, "qwen4-vl")) as newer:
        run(registry, newer)
    asked = len(vlm.requests)

    take_known(registry.sessions, [version_of(captioner.name, "en")])

    shorts = {adapter: captions[0] for (adapter, _), captions in texts(registry).items()}
    assert shorts == {fox: GOOD["short"], owl: "a vixen, sumi-e"}
    assert texts(registry, superseded=True)[fox, "en"][0] == "a vixen, sumi-e"
    assert len(vlm.requests) == asked


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

    with closing(EndpointCaptioner(vlm.url, "qwen3-vl", concurrency=1)) as captioner:
        running = caption_images(work_of(registry, captioner), captioner)
        outcomes = [next(running) for _ in range(3)]
        with pytest.raises(CaptionerError, match="no money left"):
            next(running)

    assert [outcome.ok for outcome in outcomes] == [True] * 3
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


def test_a_model_on_this_machine_takes_the_same_way(registry: Registry, tmp_path: Path) -> None:
    """Its random numbers say nothing that can be read, which is noted for each image."""
    add_covered(registry, "red", "blue")
    captioner = LocalCaptioner(write_tiny_vlm(tmp_path), "tiny", max_tokens=16)

    outcomes = run(registry, captioner)

    assert [outcome.ok for outcome in outcomes] == [False, False]
    assert {row.model for row in all_images(registry)} == {"tiny"}
    assert all("broken or cut off" in (row.reason or "") for row in all_images(registry))
