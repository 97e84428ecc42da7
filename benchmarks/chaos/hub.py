"""A hub whose adapters appear one after the other, some of them as drafts at first."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from demo.hub.whims import Whim, Whims
from demo.paths import DATA

Entry = dict[str, Any]

ADAPTERS = 60
# Every fourth adapter is a draft until so many others have come.
DRAFT_EVERY, DRAFT_LASTS = 4, 10
FIRST_CHANGE, SECONDS_APART = 1_735_689_600, 60  # 2025-01-01
# Of its answers, where it is unwell.
UNWELL = 0.3
# What every listing is like under a full refresh.
LISTINGS: tuple[Whim | None, ...] = (None, None, "empty", "halved")


class GrowingHub:
    """What has happened so far at a hub, of a fixed course of events.

    Whoever refreshes in between, in the end its adapters are the same.
    """

    def __init__(self, hub: Hub, adapters: int = ADAPTERS) -> None:
        self._hub = hub
        self._events = course_of_events(many(hub.entries, adapters))
        self._happened = 0
        self.restart()

    @property
    def endpoint(self) -> str:
        return self._hub.endpoint

    @property
    def whims(self) -> Whims:
        return self._hub.whims

    def restart(self) -> None:
        """Let nothing have happened."""
        self._happened, self._hub.entries = 0, []

    def grow(self, count: int | None = None) -> None:
        """Let the next `count` events happen, or all of them."""
        events = self._events[self._happened :][:count]
        self._happened += len(events)
        entries = {entry["version_id"]: entry for entry in [*self._hub.entries, *events]}
        # One step, for requests are answered meanwhile.
        self._hub.entries = list(entries.values())

    def be_well(self) -> None:
        self.whims.share = 0.0
        self.whims.break_listing(None)

    def be_unwell(self, numbers: random.Random, *, full: bool) -> None:
        """Misbehave in a share of the answers; under a full refresh with a whole listing, too."""
        self.whims.share = UNWELL
        broken = numbers.choice(LISTINGS)
        self.whims.break_listing(broken if full else None)


def many(entries: list[Entry], count: int) -> list[Entry]:
    """Return `count` adapters: those that there are, then copies of them under other names."""
    copies = []
    for number in range(count):
        turn, place = divmod(number, len(entries))
        entry = entries[place]
        copy = {name: entry[name] + turn * 1_000_000 for name in ("version_id", "model_id")}
        name = f"{entry['name']}-{turn}" if turn else entry["name"]
        copies.append({**entry, **copy, "name": name})
    return copies


def course_of_events(entries: list[Entry]) -> list[Entry]:
    """Return states of adapters in the order in which they come to be."""
    events: list[tuple[float, Entry]] = []
    for place, entry in enumerate(entries):
        finished = float(place)
        if place % DRAFT_EVERY == 0:
            draft = {"description": "Still in training.", "tags": ["draft"]}
            events.append((place, {**entry, **draft}))
            finished += DRAFT_LASTS + 0.5
        events.append((finished, entry))
    events.sort(key=lambda event: event[0])
    return [
        {**entry, "updated_at": FIRST_CHANGE + number * SECONDS_APART}
        for number, (_, entry) in enumerate(events)
    ]


@contextmanager
def open_hub(seed: int, adapters: int = ADAPTERS) -> Iterator[GrowingHub]:
    """Serve the shipped zoo on loopback."""
    with serve(DATA / "zoo") as hub:
        hub.whims.seed(seed)
        yield GrowingHub(hub, adapters)


def questions(count: int) -> list[str]:
    """Return what people might look for, in English and Chinese."""
    entries = json.loads((Path(DATA) / "zoo/listing.json").read_text(encoding="utf-8"))
    asked = []
    for number, entry in enumerate(entries[:ADAPTERS:4][:count]):
        asked.append(entry["_captions_zh" if number % 3 == 2 else "_captions"][1])
    return [*asked, entries[1]["trigger_words"][0], entries[0]["display_name"]]
