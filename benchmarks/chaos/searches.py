"""People who search all the time, and look whether what they are told is right."""

import hashlib
import random
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx

from benchmarks.chaos.counts import Counts
from benchmarks.chaos.outages import Outages

# As many as a page may have.
LIMIT = 100
# Similarities are compared in half precision.
TOLERANCE = 2e-3
PAUSE_SECONDS = 0.25
# PostgreSQL may have to recover first.
TIMEOUT_SECONDS = 60.0
FILE_EVERY = 5
# What an adapter's page, name and file say, whatever is being refreshed.
FACTS = ("name", "author", "hub", "base_model", "trigger_words")

Answer = list[dict[str, Any]]


def ask(client: httpx.Client, question: str) -> httpx.Response:
    return client.get("/v1/search", params={"q": question, "limit": LIMIT})


def results_of(response: httpx.Response) -> Answer:
    """Return what was found, in a form that another registry's answer can be equal to."""
    found: Answer = response.json()["results"]
    return found


def open_client(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_SECONDS)


def answers(port: int, questions: Sequence[str]) -> dict[str, Answer]:
    """Ask each question once, of a server that is well."""
    with open_client(port) as client:
        found = {}
        for question in questions:
            response = ask(client, question)
            response.raise_for_status()
            found[question] = results_of(response)
        return found


def wrong_with(result: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    """Say what an adapter found while others came and went has that it should not have."""
    adapter, expected = result["adapter"], right["adapter"]
    for fact in FACTS:
        if adapter[fact] != expected[fact]:
            return f"{fact} is {adapter[fact]!r}, not {expected[fact]!r}"
    for signal in ("weights", "captions"):
        found, best = result["signals"][signal], right["signals"][signal]
        if found is None or best is None:
            continue
        # A cover that is still missing may have the better caption.
        if found > best + TOLERANCE or (signal == "weights" and found < best - TOLERANCE):
            return f"its {signal} are {found:.4f} like the question, not {best:.4f}"
    return ""


class Searcher:
    """Asks in a thread of its own, from `with` to its end."""

    def __init__(
        self,
        port: int,
        expected: Mapping[str, Answer],
        files: Collection[str],
        outages: Outages,
        counts: Counts,
        numbers: random.Random,
    ) -> None:
        """`expected` are right answers, and `files` the sha256 of all that the hub has."""
        self._client = open_client(port)
        self._files = files
        self._right = {
            question: {result["adapter"]["file_sha256"]: result for result in answer}
            for question, answer in expected.items()
        }
        self._outages, self._counts, self._numbers = outages, counts, numbers
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="searcher")

    def __enter__(self) -> "Searcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        number = 0
        while not self._ends.wait(PAUSE_SECONDS):
            number += 1
            question = self._numbers.choice(list(self._right))
            self._search(question, with_file=number % FILE_EVERY == 0)

    def _search(self, question: str, *, with_file: bool) -> None:
        started = time.monotonic()
        try:
            response = ask(self._client, question)
            if response.status_code == HTTPStatus.OK:
                found = results_of(response)
                self._counts.searches["answered"] += 1
                self._check(question, found)
                if with_file and found:
                    self._fetch_file(found[0]["adapter"])
                return
            if response.json()["title"] == "Nothing indexed":
                self._counts.searches["nothing there yet"] += 1
                return
            failure = f"{response.status_code} {response.json()['detail']}"
        except httpx.HTTPError as error:
            failure = type(error).__name__
        if not self._was_down(started):
            self._counts.searches["no answer, although all was up"] += 1
            self._counts.differ(f"search failed although all was up: {failure}")

    def _was_down(self, started: float) -> bool:
        """Whether something was down since, and count it if so."""
        down = self._outages.overlap(started, time.monotonic())
        if down:
            self._counts.searches[f"no answer while down: {', '.join(sorted(down))}"] += 1
        return bool(down)

    def _check(self, question: str, found: Answer) -> None:
        for result in found:
            sha256, wrong = result["adapter"]["file_sha256"], ""
            # While few are there, one is found that many stand before later.
            if (right := self._right[question].get(sha256)) is not None:
                wrong = wrong_with(result, right)
            elif sha256 not in self._files:
                wrong = "the hub never had its file"
            if wrong:
                self._counts.searches["wrong"] += 1
                name = result["adapter"]["name"]
                self._counts.differ(f"wrong answer to {question!r}: {name!r}: {wrong}")
        scores = [result["score"] for result in found if not result["exact"]]
        if scores != sorted(scores, reverse=True):
            self._counts.differ(f"wrong order of the answers to {question!r}")

    def _fetch_file(self, adapter: Mapping[str, Any]) -> None:
        started = time.monotonic()
        response = self._client.get(f"/v1/adapters/{adapter['id']}/file")
        if response.status_code == HTTPStatus.OK:
            self._counts.searches["files"] += 1
            if hashlib.sha256(response.content).hexdigest() != adapter["file_sha256"]:
                self._counts.differ(f"another file than that of {adapter['name']!r} was served")
            return
        if response.is_server_error and self._was_down(started):
            return
        # It may have been listed with another file since.
        detail = self._client.get(f"/v1/adapters/{adapter['id']}")
        if detail.status_code == HTTPStatus.OK and detail.json()["file_sha256"] is not None:
            failure = f"{response.status_code} {response.text:.200}"
            self._counts.differ(f"the file of {adapter['name']!r} is not served: {failure}")
