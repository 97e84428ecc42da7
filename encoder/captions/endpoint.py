"""A vision model behind an OpenAI-compatible endpoint: vLLM, Ollama, DashScope and others.

Plain httpx rather than the `openai` package: one route is asked, and what matters about it (no
redirects, a deadline for the whole answer, bounded bytes, one pause for all threads) would have
to be built around that client all the same.
"""

import random
import re
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

import httpx
from PIL.Image import Image
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_exponential_jitter

from crawler.addresses import AddressGuard, is_loopback, origin, shown
from crawler.errors import AddressRefusedError, SourceError
from crawler.http import USER_AGENT
from crawler.retry_after import retry_after_seconds
from crawler.transport import GuardedTransport, check_deadline, deadline
from encoder.captions.answers import parse_answer
from encoder.captions.captioner import Captions, Language
from encoder.captions.images import prepare
from encoder.captions.requests import FORMS, error_message, make_body, read_completion
from encoder.errors import CaptionerError, CaptionError

# A large model on a small GPU writes 250 tokens in a minute; its queue is in front of that.
TIMEOUT_SECONDS = 180.0
# Three captions have 2 KB; with thoughts, some tens.
MAX_ANSWER_BYTES = 2**20
ATTEMPTS = 4
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 30.0
# An endpoint that asks for more patience is left until the next run.
MAX_RETRY_AFTER_SECONDS = 120.0
# Images that fail one after the other, each after all attempts: the endpoint is at fault.
FAILURES_IN_A_ROW = 5
# Images given at once for each that is asked about at a time, so that no slot idles for long.
IMAGES_PER_SLOT = 4

# What a refusal (400) is called where the picture is at fault and no form of the question helps.
_ABOUT_THE_PICTURE = re.compile(
    r"inspection|content.?(?:policy|filter)|safety|inappropriate|sensitive", re.IGNORECASE
)
# DashScope tells by a 400, too, that there is no money left.
_ABOUT_MONEY = re.compile(r"good standing|arrear|overdue", re.IGNORECASE)
_WHAT_TO_DO = {
    401: "set REGISTRY_CAPTION_TOKEN to its key",
    402: "it wants to be paid",
    403: "its key may not use this model",
    404: "see that REGISTRY_CAPTION_ENDPOINT ends where `/chat/completions` follows (mostly in "
    "/v1), and that REGISTRY_CAPTION_MODEL is one that it serves",
}


class _FailedError(Exception):
    """The endpoint gave no answer about an image, whoever is at fault."""


class _PassingError(_FailedError):
    """The same question may be answered later."""


class _RefusedError(_FailedError):
    """The endpoint does not take the question, in this form or at all."""


class EndpointCaptioner:
    """Asks one endpoint about several images at a time.

    The token goes to the endpoint's own address only: redirects are not followed. What passes
    (429, 5xx, broken or slow connections) is tried again, after the time that the endpoint asks
    for or a growing one; while it asks for patience no other image is sent. Images that fail are
    at fault themselves only where the endpoint answers about others.
    """

    def __init__(
        self,
        endpoint: str,
        model: str,
        token: str | None = None,
        *,
        concurrency: int = 4,
        timeout_seconds: float = TIMEOUT_SECONDS,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        attempts: int = ATTEMPTS,
    ) -> None:
        """Open it; nothing is sent yet.

        Raises:
            CaptionerError: `endpoint` is no http address, or the token would travel readable.
        """
        self.name = model
        self._url = f"{endpoint.rstrip('/')}/chat/completions"
        self._concurrency = concurrency
        self._timeout_seconds, self._first_wait_seconds = timeout_seconds, first_wait_seconds
        self._attempts = attempts
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if token:
            if self._url.startswith("http://") and not is_loopback(self._url):
                raise CaptionerError(
                    f"{shown(self._url)} is plain http: REGISTRY_CAPTION_TOKEN would travel "
                    "readable. Use https, a tunnel to this machine, or no token."
                )
            headers["Authorization"] = f"Bearer {token}"
        try:
            guard = AddressGuard([origin(self._url)])
            guard.check_url(self._url)
        except AddressRefusedError as error:
            raise CaptionerError(f"REGISTRY_CAPTION_ENDPOINT: {error}") from error
        self._http = httpx.Client(
            transport=GuardedTransport(guard),
            timeout=httpx.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds)),
            headers=headers,
            trust_env=False,
        )
        # The form of a question that the first answer came to.
        self._form = 0
        self._pause_until = 0.0
        self._has_answered = False
        self._failures = 0

    @property
    def batch_size(self) -> int:
        return self._concurrency * IMAGES_PER_SLOT

    def close(self) -> None:
        self._http.close()

    def caption(
        self, images: Sequence[bytes], language: Language
    ) -> Generator[tuple[int, Captions | CaptionError]]:
        """Yield captions as `Captioner` says; an interrupted call waits for what was sent.

        Interrupted while it waits, it yields what has come, which was paid for, before it raises.
        """
        stopping = threading.Event()
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="caption")
        # Of whom it is not known yet whether they or the endpoint are at fault.
        failed: list[tuple[int, CaptionError]] = []
        try:
            places: dict[Future[Captions], int] = {
                pool.submit(self._caption, image, language, stopping): place
                for place, image in enumerate(images)
            }
            try:
                for future in as_completed(list(places)):
                    place = places.pop(future)
                    try:
                        result: Captions | CaptionError = future.result()
                    except CaptionError as error:
                        result = error
                    except _FailedError as error:
                        failed.append((place, CaptionError(str(error))))
                        self._count_failure(error)
                        continue
                    yield place, result
            except KeyboardInterrupt:
                stopping.set()
                pool.shutdown(wait=True, cancel_futures=True)
                for future, place in places.items():
                    if not future.cancelled() and not future.exception():
                        yield place, future.result()
                raise
        finally:
            stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)
        if failed and not self._has_answered:
            raise CaptionerError(self._tell(str(failed[-1][1])))
        yield from failed

    def _count_failure(self, error: _FailedError) -> None:
        # Refusals in a row are odd pictures, where it has answered about others.
        if self._has_answered and isinstance(error, _RefusedError):
            return
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            raise CaptionerError(self._tell(f"{error}, for {self._failures} images in a row"))

    def _caption(self, data: bytes, language: Language, stopping: threading.Event) -> Captions:
        image = prepare(data)
        retrying = Retrying(
            retry=retry_if_exception_type(_PassingError),
            stop=stop_after_attempt(self._attempts) | stop_when_event_set(stopping),
            wait=wait_exponential_jitter(
                multiplier=self._first_wait_seconds,
                max=LONGEST_WAIT_SECONDS,
                jitter=self._first_wait_seconds,
            ),
            sleep=sleep_using_event(stopping),
            reraise=True,
        )
        return parse_answer(retrying(lambda: self._ask(image, language, stopping)), language)

    def _ask(self, image: Image, language: Language, stopping: threading.Event) -> str:
        """Ask in the first form of the question that the endpoint takes."""
        form = self._form
        while True:
            try:
                return self._ask_once(image, language, form, stopping)
            except _RefusedError as error:
                if _ABOUT_THE_PICTURE.search(str(error)):
                    raise CaptionError(str(error)) from error
                # A form that was taken before is not what is wrong.
                is_taken = self._has_answered and form == self._form
                if is_taken or form == len(FORMS) - 1:
                    raise
                form = self._form if self._has_answered else form + 1

    def _ask_once(
        self, image: Image, language: Language, form: int, stopping: threading.Event
    ) -> str:
        body = make_body(image, language, self.name, form)
        self._wait(stopping)
        try:
            with (
                deadline(self._timeout_seconds),
                self._http.stream(
                    "POST", self._url, content=body, headers={"Content-Type": "application/json"}
                ) as response,
            ):
                data = _read(response)
        except (httpx.HTTPError, SourceError) as error:
            raise _PassingError(str(error) or type(error).__name__) from error
        finally:
            self._http.cookies.clear()
        self._check_status(response, data)
        try:
            answer: str | CaptionError = read_completion(data)
        except CaptionError as error:
            answer = error
        except ValueError as error:
            raise _PassingError(f"it answered {error}") from error
        if not self._has_answered:
            self._form, self._has_answered = form, True
        self._failures = 0
        if isinstance(answer, CaptionError):
            raise answer
        return answer

    def _wait(self, stopping: threading.Event) -> None:
        """Wait until the endpoint may be asked again."""
        wait = max(0.0, self._pause_until - time.monotonic())
        if wait:
            # Threads that waited together do not all come back together.
            wait += random.uniform(0, self._first_wait_seconds)  # noqa: S311 (no secret)
        if stopping.wait(wait):
            raise _FailedError("it was interrupted")

    def _check_status(self, response: httpx.Response, data: bytes) -> None:
        status = response.status_code
        if status == 200:
            return
        said = error_message(data)
        cause = f"HTTP {status}" + (f": {said}" if said else "")
        if 300 <= status < 400:
            raise CaptionerError(self._tell(f"{cause}; redirects are not followed"))
        is_unpaid = status == 400 and _ABOUT_MONEY.search(said)
        advice = _WHAT_TO_DO.get(402 if is_unpaid else status)
        if advice:
            raise CaptionerError(self._tell(f"{cause}; {advice}"))
        if status not in (408, 425, 429) and status < 500:
            raise _RefusedError(cause)
        patience = retry_after_seconds(response.headers.get("Retry-After")) or 0.0
        if patience > MAX_RETRY_AFTER_SECONDS:
            raise CaptionerError(self._tell(f"{cause}; it asks to come back in {patience:.0f} s"))
        self._pause_until = max(self._pause_until, time.monotonic() + patience)
        raise _PassingError(cause)

    def _tell(self, cause: str) -> str:
        return (
            f"{self.name} at {shown(self._url)} writes no captions ({cause}). What was captioned "
            "is kept; run it again when that is mended."
        )


def _read(response: httpx.Response) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise httpx.DecodingError("it answered compressed although asked not to")
    body = bytearray()
    for chunk in response.iter_bytes():
        check_deadline()
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise httpx.ReadError(f"it answered more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)
