"""An endpoint on loopback that misbehaves in every way that real ones do."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import pytest

from encoder.captions.captioner import Captions, Language
from encoder.captions.endpoint import ATTEMPTS, FAILURES_IN_A_ROW, EndpointCaptioner
from encoder.captions.images import SENT_PIXELS
from encoder.captions.prompts import KINDS, MAX_TOKENS
from encoder.captions.requests import FORMS
from encoder.errors import CaptionerError, CaptionError
from tests.encoder.captions.conftest import png
from tests.encoder.captions.vlm_server import (
    GOOD,
    GOOD_ZH,
    Answer,
    Request,
    VlmServer,
    fails,
    says,
    well,
)

KEY = "sk-very-secret"


Opener = Callable[..., EndpointCaptioner]


@pytest.fixture
def open_captioner(vlm: VlmServer) -> Iterator[Opener]:
    """Opens captioners without patience, for one image at a time unless told otherwise."""
    with ExitStack() as opened:

        def open_one(url: str = vlm.url, **options: Any) -> EndpointCaptioner:
            quick = {"concurrency": 1, "timeout_seconds": 5.0, "first_wait_seconds": 0.001}
            captioner = EndpointCaptioner(url, "qwen3-vl", KEY, **(quick | options))
            return opened.enter_context(closing(captioner))

        yield open_one


@pytest.fixture
def captioner(open_captioner: Opener) -> EndpointCaptioner:
    return open_captioner()


def caption_one(captioner: EndpointCaptioner, language: Language = "en") -> Captions | CaptionError:
    [(place, result)] = captioner.caption([png()], language)
    assert place == 0
    return result


def results(
    captioner: EndpointCaptioner, images: Sequence[bytes]
) -> dict[int, Captions | CaptionError]:
    return dict(captioner.caption(images, "en"))


def problem(result: Captions | CaptionError) -> str:
    assert isinstance(result, CaptionError)
    return str(result)


def test_three_captions_come_of_one_request(captioner: EndpointCaptioner, vlm: VlmServer) -> None:
    assert caption_one(captioner) == Captions(**GOOD)

    [request] = vlm.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.body["model"] == "qwen3-vl"
    assert request.picture.size == (42, 32)
    assert all(f'"{kind}"' in request.text for kind in KINDS)
    schema = request.body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["short", "medium", "long"]
    assert request.body["chat_template_kwargs"] == {"enable_thinking": False}


def test_captions_are_chinese_on_demand(captioner: EndpointCaptioner) -> None:
    assert caption_one(captioner, "zh") == Captions(**GOOD_ZH)


def test_what_is_sent_is_small(captioner: EndpointCaptioner, vlm: VlmServer) -> None:
    """Tokens are paid by pixels."""
    list(captioner.caption([png((4000, 3000))], "en"))

    sent = vlm.requests[0].picture
    assert SENT_PIXELS * 0.9 < sent.width * sent.height <= SENT_PIXELS


def test_images_are_asked_about_at_the_same_time(open_captioner: Opener, vlm: VlmServer) -> None:
    vlm.answer = lambda request: Answer(body=well(request).body, delay_seconds=0.05)
    captioner = open_captioner(concurrency=4)

    found = results(captioner, [png()] * 12)

    assert found == dict.fromkeys(range(12), Captions(**GOOD))
    assert 2 <= vlm.most_at_once <= 4


def test_each_result_is_of_its_own_image(open_captioner: Opener, vlm: VlmServer) -> None:
    """They come in any order."""

    def by_width(request: Request) -> Answer:
        width = request.picture.width
        body = says(GOOD | {"short": f"a fox {width} pixels wide"}).body
        return Answer(body=body, delay_seconds=0.1 if width == 40 else 0)

    vlm.answer = by_width
    captioner = open_captioner(concurrency=3)

    found = results(captioner, [png((width, 40)) for width in (40, 50, 60)])

    shorts = {
        place: captions.short for place, captions in found.items() if isinstance(captions, Captions)
    }
    assert shorts == {n: f"a fox {width} pixels wide" for n, width in enumerate((40, 50, 60))}
    assert list(found)[-1] == 0


@pytest.mark.parametrize(
    "passing",
    [
        fails(429, "slow down", Retry_After="0"),
        fails(503, "loading the model", Retry_After="0"),
        fails(500, "out of memory"),
        fails(502),
        fails(504),
        fails(408),
        Answer(502, b"<html>Bad Gateway</html>"),
        # Cut in the middle, or not begun at all.
        Answer(200, says(GOOD).body, missing_bytes=10),
        Answer(200, b"", missing_bytes=10),
        # 200 and no completion.
        Answer(200, b"<html>a captive portal</html>"),
        Answer(200, b'{"error": {"message": "overloaded"}}'),
        Answer(200, b'{"choices": []}'),
        Answer(200, b"[" * 100_000),
        Answer(200, b" " * 2_000_000),
        Answer(200, says(GOOD).body, {"Content-Encoding": "gzip"}),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:20]!r}",
)
def test_what_passes_is_tried_again(
    passing: Answer, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    vlm.script(passing, passing)

    assert caption_one(captioner) == Captions(**GOOD)
    assert len(vlm.requests) == 3


def test_a_slow_drip_ends_at_the_deadline(open_captioner: Opener, vlm: VlmServer) -> None:
    """A peer that sends a byte now and then never runs into a read timeout."""
    vlm.script(Answer(200, says(GOOD).body, drip_seconds=0.2))
    captioner = open_captioner(timeout_seconds=1.0)

    assert caption_one(captioner) == Captions(**GOOD)
    assert len(vlm.requests) == 2


def test_nobody_asks_while_the_endpoint_wants_to_be_left_alone(
    captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """Also about other images: here the first is out of attempts, and the second waits."""
    vlm.script(*[fails(429)] * (ATTEMPTS - 1), fails(429, Retry_After="1"))

    found = results(captioner, [png(), png()])

    assert problem(found[0]) == "HTTP 429"
    assert found[1] == Captions(**GOOD)
    assert vlm.requests[ATTEMPTS].at - vlm.requests[ATTEMPTS - 1].at >= 1


def test_an_endpoint_that_wants_more_patience_is_left_until_later(
    captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    vlm.script(fails(429, "quota of the day is used up", Retry_After="3600"))

    with pytest.raises(CaptionerError, match=r"quota of the day.*come back in 3600 s"):
        caption_one(captioner)

    assert len(vlm.requests) == 1


def test_an_endpoint_that_is_down_stops_everything_soon(
    open_captioner: Opener, vlm: VlmServer
) -> None:
    """A thousand images would each wait for all their attempts."""
    vlm.answer = lambda request: fails(500, "no GPU")
    captioner = open_captioner()

    with pytest.raises(CaptionerError, match=r"HTTP 500: no GPU, for 5 images in a row"):
        results(captioner, [png()] * 100)

    # The next image may be on its way when the last failure is counted.
    assert len(vlm.requests) <= (FAILURES_IN_A_ROW + 1) * ATTEMPTS


def test_a_few_failures_of_an_endpoint_that_never_answered_are_its_own(
    open_captioner: Opener, vlm: VlmServer
) -> None:
    """Else images would be given up because of a server that was off for three nights."""
    vlm.answer = lambda request: fails(500)

    with pytest.raises(CaptionerError, match="HTTP 500"):
        results(open_captioner(), [png()] * 2)


def test_an_image_that_fails_beside_others_is_at_fault(
    open_captioner: Opener, vlm: VlmServer
) -> None:
    vlm.answer = lambda request: (
        fails(500, "shape mismatch") if request.picture.width == 99 else well(request)
    )

    found = results(open_captioner(), [png(), png((99, 40)), png()])

    assert problem(found[1]) == "HTTP 500: shape mismatch"
    assert found[0] == found[2] == Captions(**GOOD)
    assert len(vlm.requests) == 2 + ATTEMPTS


def test_nothing_listens_there(open_captioner: Opener) -> None:
    captioner = open_captioner("http://127.0.0.1:9/v1")

    with pytest.raises(CaptionerError, match=r"qwen3-vl at http://127.0.0.1:9/v1/chat"):
        caption_one(captioner)


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (fails(401, "invalid key"), "invalid key; set REGISTRY_CAPTION_TOKEN"),
        (fails(403, "no access"), "no access; its key may not use this model"),
        (fails(402, "Arrearage"), "Arrearage; it wants to be paid"),
        (fails(404, "model 'qwen3-vl' not found"), "not found; see that REGISTRY_CAPTION_ENDPOINT"),
        (Answer(404, b"404 page not found"), "404 page not found; see that"),
        (Answer(404), r"HTTP 404; see that"),
        (Answer(400, b'{"message": "bad request"}'), "bad request"),
        (Answer(422, b'{"detail": [{"msg": "bad field"}]}'), "bad field"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.status,
)
def test_a_wrong_setting_is_said_at_once_with_what_to_do(
    answer: Answer, advice: str, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    vlm.answer = lambda request: answer

    with pytest.raises(CaptionerError, match=advice) as caught:
        results(captioner, [png()] * 20)

    assert KEY not in str(caught.value)
    assert len(vlm.requests) <= (FAILURES_IN_A_ROW + 1) * len(FORMS), "of 20 images"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_key_never_leaves_its_origin(
    status: int, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    with VlmServer().running() as other:
        vlm.answer = lambda request: Answer(status, headers={"Location": f"{other.url}/x"})

        with pytest.raises(CaptionerError, match="redirects are not followed"):
            caption_one(captioner)

        assert other.requests == []


@pytest.mark.parametrize(
    ("endpoint", "cause"),
    [
        ("localhost:8000/v1", "not an http address"),
        ("ftp://127.0.0.1/v1", "not an http address"),
        ("", "not an http address"),
        ("http://user:password@127.0.0.1/v1", "carries a user name"),
    ],
)
def test_an_address_that_is_none_is_refused_at_once(endpoint: str, cause: str) -> None:
    with pytest.raises(CaptionerError, match=cause) as caught:
        EndpointCaptioner(endpoint, "qwen3-vl")

    assert "password" not in str(caught.value).replace("user name or password", "")


def test_a_key_is_not_sent_over_plain_http(open_captioner: Opener) -> None:
    with pytest.raises(CaptionerError, match="REGISTRY_CAPTION_TOKEN would travel readable"):
        open_captioner("http://gpu-box.example:8000/v1")


def test_a_form_that_is_refused_is_asked_in_another_and_never_again(
    captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """Ollama, vLLM, DashScope and OpenAI each take other words for the same."""
    known = {"model", "messages", "max_tokens", "temperature"}
    vlm.answer = lambda request: (
        well(request) if set(request.body) == known else fails(400, "unknown parameter")
    )

    assert caption_one(captioner) == Captions(**GOOD)
    asked = len(vlm.requests)
    assert caption_one(captioner) == Captions(**GOOD)

    assert (asked, len(vlm.requests)) == (4, 5)


def test_openais_models_that_think_are_asked_in_their_own_words(
    captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    refused = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    vlm.answer = lambda request: (
        fails(400, refused) if {"max_tokens", "temperature"} & set(request.body) else well(request)
    )

    assert caption_one(captioner) == Captions(**GOOD)
    assert vlm.requests[-1].body["max_completion_tokens"] > MAX_TOKENS


def test_a_form_that_brought_a_bad_answer_is_taken_all_the_same(
    captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """The form is what the server takes; what the model says in it is another matter."""
    vlm.script(fails(400, "unknown parameter"), says("no JSON"))
    assert "not the JSON" in problem(caption_one(captioner))
    vlm.answer = lambda request: fails(400) if "reasoning_effort" in request.body else well(request)

    assert results(captioner, [png()] * 3) == dict.fromkeys(range(3), Captions(**GOOD))
    assert len(vlm.requests) == 5


def test_an_image_that_is_refused_does_not_change_the_form(
    captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """One odd picture must not cost all later ones the schema."""
    vlm.script(
        well(Request("", {"messages": [{"content": [{"type": "text", "text": ""}]}]}, {}, 0))
    )
    results(captioner, [png()])
    vlm.script(fails(400, "cannot decode the image"))

    found = results(captioner, [png(), png()])

    assert problem(found[0]) == "HTTP 400: cannot decode the image"
    assert found[1] == Captions(**GOOD)
    assert "json_schema" in str(vlm.requests[-1].body["response_format"])


def test_arrears_are_no_pictures_fault(captioner: EndpointCaptioner, vlm: VlmServer) -> None:
    """DashScope refuses each question then, as it does a wrong one."""
    overdue = fails(400, "Access denied, please make sure your account is in good standing.")
    vlm.script(says(GOOD), *[overdue] * 9)

    with pytest.raises(CaptionerError, match=r"good standing.*; it wants to be paid"):
        results(captioner, [png()] * 9)


def test_pictures_that_a_filter_holds_back_are_no_outage(
    captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """An index has many mature covers, and they may come in a row."""
    message = "Input image data may contain inappropriate content. (data_inspection_failed)"
    vlm.answer = lambda request: fails(400, message)

    found = results(captioner, [png()] * (2 * FAILURES_IN_A_ROW))

    assert {problem(result) for result in found.values()} == {f"HTTP 400: {message}"}
    assert len(vlm.requests) == 2 * FAILURES_IN_A_ROW


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (says("A red fox in the snow."), "not the JSON asked for"),
        (says('{"short": "a fox", "medium": "A'), "broken or cut off"),
        (says('{"short": "a fox", "med', reason="length"), "cut off after"),
        (says("<think>Let me look at this picture", reason="length"), "cut off after"),
        (says("I'm sorry, but I can't help with that."), "the model refuses"),
        (says(None, refusal="I can't describe this."), "the model refuses"),
        (says("", reason="content_filter"), "filter held the answer back"),
        (says(""), "the answer is empty"),
        (says(None), "the answer is empty"),
        (says(GOOD | {"long": "fox " * 5000}), "19,999 characters long"),
        (says(GOOD | {"medium": "\u0000\u0007"}), "the medium caption is empty"),
    ],
)
def test_a_bad_answer_is_the_images_own_failure_and_not_asked_for_twice(
    answer: Answer, cause: str, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    """Each answer is paid for; another run may try again."""
    vlm.answer = lambda request: answer

    assert cause in problem(caption_one(captioner))
    assert len(vlm.requests) == 1


@pytest.mark.parametrize(
    "content",
    [
        "<think>A fox in snow.</think>\n",
        "```json\n",
        "Sure! ",
    ],
)
def test_talk_around_the_answer_is_left_out(
    content: str, captioner: EndpointCaptioner, vlm: VlmServer
) -> None:
    vlm.answer = lambda request: says(f"{content}{json.dumps(GOOD)}")

    assert caption_one(captioner) == Captions(**GOOD)


def test_a_broken_image_is_never_sent(captioner: EndpointCaptioner, vlm: VlmServer) -> None:
    found = results(captioner, [b"no image at all", png()])

    assert "no image of a kind" in problem(found[0])
    assert found[1] == Captions(**GOOD)
    assert len(vlm.requests) == 1


def test_broken_images_do_not_speak_for_an_endpoint_that_is_down(
    open_captioner: Opener, vlm: VlmServer
) -> None:
    vlm.answer = lambda request: fails(500)

    with pytest.raises(CaptionerError):
        results(open_captioner(), [b"no image", png(), b"no image", png()])


def test_who_stops_in_the_middle_sends_no_more(open_captioner: Opener, vlm: VlmServer) -> None:
    """Ctrl-C: the consumer's loop ends; nothing goes on in the background, nothing waits long."""
    vlm.answer = lambda request: (
        fails(503, Retry_After="60") if len(vlm.requests) > 1 else well(request)
    )
    captioner = open_captioner(concurrency=1)
    running = captioner.caption([png()] * 50, "en")
    next(running)

    running.close()

    asked = len(vlm.requests)
    assert asked <= 3
    assert not [t for t in threading.enumerate() if t.name.startswith("caption")]
