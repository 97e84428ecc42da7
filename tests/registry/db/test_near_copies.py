"""Which changes are near one another, and how many pairs that takes."""

import numpy as np

from registry.db.near_copies import Groups, near_pairs

LEAST = 0.8


def joined(places: int, pairs: list[tuple[int, int]]) -> set[frozenset[int]]:
    groups = Groups()
    for one, other in pairs:
        groups.join(str(one), str(other))
    names = [groups.name(str(place)) for place in range(places)]
    return {
        frozenset(place for place in range(places) if names[place] == name) for name in set(names)
    }


def test_copies_take_a_pair_each() -> None:
    """All pairs of a thousand copies are half a million, and of a folder's 50,000 a billion."""
    copies = [np.ones(8, np.float16)] * 1000

    assert len(list(near_pairs(copies, LEAST))) == len(copies) - 1


def test_what_all_pairs_join_is_joined_where_many_are_equal() -> None:
    numbers = np.random.default_rng(0)
    kinds = numbers.normal(size=(40, 4)).astype(np.float16)
    kinds[0] = 0
    changes = [kinds[kind] for kind in numbers.integers(len(kinds), size=300)]
    directions = [
        change.astype(float) / max(np.linalg.norm(change.astype(float)), 1e-12)
        for change in changes
    ]
    slowly = [
        (one, other)
        for other, theirs in enumerate(directions)
        for one, ours in enumerate(directions[:other])
        if ours @ theirs >= LEAST
    ]

    found = joined(len(changes), list(near_pairs(changes, LEAST)))

    assert found == joined(len(changes), slowly)
    assert 1 < len(found) < len(changes)


def test_nothing_has_no_pairs() -> None:
    assert list(near_pairs([], LEAST)) == []
