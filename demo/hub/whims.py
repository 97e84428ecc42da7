"""A hub in a bad mood: a share of its answers, drawn at random, is wrong in one of many ways."""

import random
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

Whim = Literal[
    "error", "cut", "drip", "wrong size", "wrong hash", "damaged", "empty", "halved",
    # Only where they are insisted on: what they do may be all that a hub says from then on.
    "error body", "redirect", "duplicates", "shifted", "unknown fields", "nulls", "other host",
    "unfiltered",
]  # fmt: skip

# What may be wrong with which answer. Covers come without a hash, so that a damaged one could not
# be told from another picture.
WHIMS: Mapping[str, tuple[Whim, ...]] = {
    "listing": ("error", "cut", "drip", "empty", "halved"),
    "detail": ("error", "cut", "drip", "wrong size", "wrong hash"),
    "files": ("error", "cut", "drip", "wrong size", "wrong hash"),
    "file": ("error", "cut", "drip", "damaged"),
    "cover": ("error", "cut", "drip"),
}
STATUSES = (429, 500, 502, 503, 504)
# In so many pieces comes what drips.
DROPS = 8
T = TypeVar("T")


class Whims:
    """Draws what is wrong with each answer, and counts it. Safe to share between threads."""

    def __init__(self) -> None:
        # Of all answers.
        self.share = 0.0
        # How long an answer takes that comes in drops.
        self.drip_seconds = 0.5
        # Those given while something was to be wrong with some.
        self.answers = 0
        self.served: Counter[Whim] = Counter()
        # What is wrong with every answer of a kind, whatever the share.
        self.always: dict[str, Whim] = {}
        # What is wrong with every listing meanwhile, as when the hub's index is broken.
        self._listing: Whim | None = None
        self._salt = 0
        self._numbers = random.Random(0)
        self._lock = threading.Lock()

    def seed(self, number: int) -> None:
        self._numbers = random.Random(number)

    def break_listing(self, whim: Whim | None) -> None:
        """Answer every listing so, with the same half of it each time, until told otherwise."""
        with self._lock:
            self._listing, self._salt = whim, self._numbers.getrandbits(32)

    def draw(self, answer: str) -> Whim | None:
        """Return what shall be wrong with an answer of this kind; mostly nothing."""
        with self._lock:
            self.answers += self.share > 0
            if answer in self.always:
                return self.always[answer]
            if answer == "listing" and self._listing is not None:
                return self._listing
            if answer not in WHIMS or self._numbers.random() >= self.share:
                return None
            if self._listing is None:
                self._salt = self._numbers.getrandbits(32)
            return self._numbers.choice(WHIMS[answer])

    def status(self) -> int:
        with self._lock:
            return self._numbers.choice(STATUSES)

    def count(self, whim: Whim) -> None:
        """Note that it was done: not every answer can be wrong in every way."""
        with self._lock:
            self.served[whim] += 1

    def listed(self, whim: Whim | None, repos: dict[str, T]) -> dict[str, T]:
        """Return the repositories that a listing shows."""
        if whim in ("empty", "halved"):
            self.count(whim)
        if whim == "empty":
            return {}
        if whim != "halved":
            return repos
        coin = random.Random(self._salt)
        return {repo: facts for repo, facts in sorted(repos.items()) if coin.random() < 0.5}

    def start(self, whim: Whim | None, start: int) -> int:
        """Return where a page begins: one too early where what was before has grown meanwhile."""
        if whim != "shifted":
            return start
        self.count(whim)
        return max(start - 1, 0)

    def page(self, whim: Whim | None, items: Sequence[T]) -> list[T]:
        """Return the items of a page, each twice by a whim."""
        if whim != "duplicates":
            return list(items)
        self.count(whim)
        return [item for item in items for _ in range(2)]

    def spoil(self, whim: Whim | None, files: Iterable[dict[str, Any]]) -> None:
        """Tell another size or hash of files than they have."""
        for file in files:
            for key in file:
                if whim == "wrong size" and key.lower() == "size":
                    file[key] += 1
                elif whim == "wrong hash" and key.lower() == "sha256":
                    file[key] = file[key][::-1]
                else:
                    continue
                self.count(whim)


def damaged(data: bytes) -> bytes:
    """Return bytes of which one in the middle has changed on the way."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def with_nulls(answer: Any, keys: Collection[str]) -> Any:
    """Return an answer whose values are null, but for those of `keys` and what holds others."""
    if isinstance(answer, dict):
        return {
            key: value if key in keys else with_nulls(value, keys) for key, value in answer.items()
        }
    if isinstance(answer, list):
        return [with_nulls(value, keys) for value in answer]
    return None


def with_unknown_fields(answer: Any, keys: Collection[str]) -> Any:
    """Return an answer that says more than anybody knows to read."""
    if isinstance(answer, dict):
        more = {"aFieldOfTomorrow": {"with": ["more", 1, None]}}
        return {key: with_unknown_fields(value, keys) for key, value in answer.items()} | more
    if isinstance(answer, list):
        return [with_unknown_fields(value, keys) for value in answer]
    return answer
