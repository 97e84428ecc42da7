"""The merge is pure, so every claim about it is instant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.search.ranking import Match, Signal, merge


def ranked(*adapter_ids: int) -> list[Match]:
    return [Match(adapter_id, 1.0 / place) for place, adapter_id in enumerate(adapter_ids, 1)]


def test_an_adapter_that_leads_every_list_scores_one() -> None:
    hits = merge({"weights": ranked(7, 8), "captions": ranked(7, 9), "words": ranked(7)}, limit=3)

    assert hits[0].adapter_id == 7
    assert hits[0].score == pytest.approx(1.0)


def test_agreement_beats_one_first_place() -> None:
    """Second in two lists says more than first in one: that is why lists are merged."""
    hits = merge({"weights": ranked(1, 2), "captions": ranked(3, 2)}, limit=3)

    assert [hit.adapter_id for hit in hits] == [2, 1, 3]


def test_a_missing_list_does_not_lower_scores() -> None:
    """A base model without an encoder is searched by the other signals as well as can be."""
    assert merge({"captions": ranked(1)}, limit=1)[0].score == pytest.approx(1.0)


def test_exact_matches_come_first_even_from_outside_every_list() -> None:
    hits = merge({"captions": ranked(1, 2)}, limit=3, exact={5, 2})

    assert [(hit.adapter_id, hit.exact) for hit in hits] == [(2, True), (5, True), (1, False)]


def test_hits_report_scores_and_positions_of_every_signal() -> None:
    [first, _] = merge({"weights": ranked(4, 3), "words": ranked(4)}, limit=2)

    assert first.signals == {"weights": 1.0, "captions": None, "words": 1.0}
    assert first.positions == {"weights": 1, "captions": None, "words": 1}


def test_nothing_found_is_an_empty_page() -> None:
    assert merge({}, limit=5) == merge({"words": []}, limit=5) == []


@given(
    st.dictionaries(
        st.sampled_from(["weights", "captions", "words"]),
        st.lists(st.integers(1, 30), unique=True),
    ),
    st.integers(0, 40),
)
def test_merge_orders_strictly_and_loses_nothing(ids: dict[Signal, list[int]], limit: int) -> None:
    """Ties fall to the smaller id: the same index must always answer the same."""
    hits = merge({signal: ranked(*of) for signal, of in ids.items()}, limit=limit)
    everything = {adapter_id for of in ids.values() for adapter_id in of}

    assert len(hits) == min(limit, len(everything))
    assert len({hit.adapter_id for hit in hits}) == len(hits)
    keys = [(-hit.score, hit.adapter_id) for hit in hits]
    assert keys == sorted(keys)
    assert all(0 < hit.score <= 1 + 1e-9 for hit in hits)
