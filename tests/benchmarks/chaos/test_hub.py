"""The course of events at a hub that grows."""

import json

from benchmarks.chaos.hub import ADAPTERS, GrowingHub, course_of_events
from demo.hub.modelscope_facts import Hub
from demo.paths import DATA


def test_the_end_does_not_depend_on_the_way() -> None:
    """So an undisturbed run can be compared with one that looked in between."""
    ends = []
    for portion in (None, 7):
        hub = Hub(DATA / "zoo", "http://hub")
        growing = GrowingHub(hub)
        assert hub.entries == []
        for _ in range(30):
            growing.grow(portion)
        ends.append(sorted(hub.entries, key=lambda entry: str(entry["file"])))

    assert len(ends[0]) == ADAPTERS
    assert ends[0] == ends[1]


def test_copies_are_adapters_of_their_own() -> None:
    hub = Hub(DATA / "zoo", "http://hub")

    GrowingHub(hub, 300).grow()

    keys = {(entry["owner"], entry["name"], entry["version_id"]) for entry in hub.entries}
    assert len(keys) == len(hub.entries) == 300


def test_later_events_have_later_dates_and_no_draft_stays() -> None:
    entries = json.loads((DATA / "zoo/listing.json").read_text(encoding="utf-8"))[:20]

    events = course_of_events(entries)

    dates = [event["updated_at"] for event in events]
    assert dates == sorted(set(dates))
    assert any(event["tags"] == ["draft"] for event in events)
    last = {event["file"]: event for event in events}
    assert all(event["tags"] != ["draft"] for event in last.values())
