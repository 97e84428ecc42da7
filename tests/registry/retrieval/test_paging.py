"""A ranked answer, page by page."""

from typing import Any

import pytest

from registry.db.models import Adapter
from registry.retrieval.cursors import write_cursor
from registry.retrieval.errors import CursorError, FilterError, OtherQuestionError
from registry.retrieval.filters import Filters
from registry.retrieval.given_values import Paging
from registry.retrieval.results import SearchPage
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.conftest import embed


def pages(registry: Registry, text: str, limit: int) -> list[SearchPage]:
    found = [registry.search(text, paging=Paging(limit=limit))]
    while found[-1].next is not None:
        found.append(registry.search(text, paging=Paging(limit=limit, cursor=found[-1].next)))
        assert len(found) < 200
    return found


def ids(page: SearchPage) -> list[int]:
    return [result.card.id for result in page.results]


def add_foxes(registry: Registry, count: int, name: str = "fox") -> list[int]:
    with registry.sessions.begin() as session:
        return [add_adapter(session, name=name, words=name).id for _ in range(count)]


def test_pages_are_one_list_in_parts(registry: Registry) -> None:
    add_foxes(registry, 7)

    whole, parts = pages(registry, "a fox", 100), pages(registry, "a fox", 3)

    assert [len(page.results) for page in parts] == [3, 3, 1]
    assert [id_ for page in parts for id_ in ids(page)] == ids(whole[0])
    assert whole[0].next is None
    assert all(result.hit.signals["words"] for page in parts for result in page.results)


def test_nothing_that_literally_matches_is_withheld_however_many_do(registry: Registry) -> None:
    """The signals offer a hundred each; behind them the list goes on."""
    foxes = add_foxes(registry, 230)

    found = [id_ for page in pages(registry, "fox", 50) for id_ in ids(page)]

    assert sorted(found) == foxes


def test_pages_neither_skip_nor_repeat_while_the_index_changes(registry: Registry) -> None:
    foxes = add_foxes(registry, 9)
    first = registry.search("fox", paging=Paging(limit=4))
    assert first.next is not None
    like = embed(registry, "fox")
    with registry.sessions.begin() as session:
        # It would be first, and one that is to come goes.
        add_adapter(session, name="fox", words="fox", trigger_words=["fox"], downloads=10**6,
                    captions=[("fox", like)])  # fmt: skip
        gone = session.get_one(Adapter, min(set(foxes) - set(ids(first))))
        gone.state = "gone"
        gone_id = gone.id

    second = registry.search("fox", paging=Paging(limit=100, cursor=first.next))

    assert set(ids(second)) & set(ids(first)) == set()
    assert set(ids(first)) | set(ids(second)) >= set(foxes) - {gone_id}


def test_a_cursor_of_another_question_is_refused(registry: Registry) -> None:
    add_foxes(registry, 3)
    cursor = registry.search("fox", paging=Paging(limit=1)).next

    with pytest.raises(OtherQuestionError):
        registry.search("a fox", paging=Paging(limit=1, cursor=cursor))
    with pytest.raises(OtherQuestionError):
        registry.search("fox", Filters(authors=("someone",)), Paging(limit=1, cursor=cursor))
    with pytest.raises(CursorError):
        registry.search("fox", paging=Paging(cursor="none of ours"))


@pytest.mark.parametrize(
    "position",
    [[[True], [], [], 0], [[1], [10**30], [], 0], [[1], [], [], True], [[1], [], [], 10**30]],
)
def test_a_position_that_nobody_gave_is_refused(registry: Registry, position: list[Any]) -> None:
    """PostgreSQL would refuse it, as an error of ours."""
    add_foxes(registry, 3)
    cursor = write_cursor(("fox", (), Filters()), position)

    with pytest.raises(CursorError):
        registry.search("fox", paging=Paging(cursor=cursor))


def test_an_answer_counts_what_it_found_of_each_base_model(registry: Registry) -> None:
    add_foxes(registry, 2)
    with registry.sessions.begin() as session:
        add_adapter(session, name="fox", words="fox", base_model="sdxl-1.0")
        add_adapter(session, name="wolf", words="wolf", base_model="sdxl-1.0")

    assert registry.search("fox").found == {"demo-flux-tiny": 2, "sdxl-1.0": 1}


def test_a_question_is_sorted_as_asked(registry: Registry) -> None:
    """What is probably something else stays out: it would come anywhere among the others."""
    with registry.sessions.begin() as session:
        foxes = [
            add_adapter(session, name=name, words=f"fox {name}", downloads=downloads).id
            for name, downloads in (("cunning", 5), ("agile", 7), ("brown", 1))
        ]
        add_adapter(session, name="a train", words="train", downloads=100)
    cunning, agile, brown = foxes

    assert ids(registry.search("fox", paging=Paging(sort="name"))) == [agile, brown, cunning]
    assert ids(registry.search("fox", paging=Paging(sort="downloads"))) == [agile, cunning, brown]
    first = registry.search("fox", paging=Paging(sort="name", limit=2))
    rest = registry.search("fox", paging=Paging(sort="name", limit=2, cursor=first.next))
    assert (ids(first), ids(rest), rest.next) == ([agile, brown], [cunning], None)
    with pytest.raises(OtherQuestionError):
        registry.search("fox", paging=Paging(sort="downloads", limit=2, cursor=first.next))
    with pytest.raises(FilterError, match="relevance, name"):
        registry.search("fox", paging=Paging(sort="beauty"))  # type: ignore[arg-type]


def test_sorting_withholds_nothing_that_literally_matches(registry: Registry) -> None:
    foxes = add_foxes(registry, 230)

    found: list[int] = []
    cursor = None
    for _ in range(3):
        page = registry.search(
            "fox", paging=Paging(sort="random", seed=3, limit=100, cursor=cursor)
        )
        found, cursor = [*found, *ids(page)], page.next

    assert sorted(found) == foxes
    assert found != foxes
    assert cursor is None


def test_where_nothing_fits_the_nearest_are_sorted(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for name in ("b", "a"):
            add_adapter(session, name=name, words=name, captions=[(name, embed(registry, name))])

    page = registry.search("qwrtz 123", paging=Paging(sort="name"))

    assert not page.fits
    assert [result.card.name for result in page.results] == ["a", "b"]


def test_pages_fall_in_probability_and_none_comes_twice(registry: Registry) -> None:
    """What is literal and was not offered is sorted in, not listed after what is something else."""
    words = ["fox", "fox den", "den", "wolf"]
    with registry.sessions.begin() as session:
        for place in range(160):
            name = words[place % 4]
            like = embed(registry, name)
            add_adapter(session, name=name, words=name, captions=[(name, like)])

    first, *later = pages(registry, "fox", 10)

    found = [result.hit for page in later for result in page.results]
    assert sorted(found, key=lambda hit: -round(hit.score, 9)) == found
    every = [*ids(first), *(hit.adapter_id for hit in found)]
    assert len(set(every)) == len(every)
    assert all(len(page.results) == 10 for page in (first, *later[:-1]))


@pytest.mark.parametrize("files", [75, 200])
def test_copies_of_what_came_do_not_follow_as_results_of_their_own(
    registry: Registry, files: int
) -> None:
    """Nor where they follow so far behind that no cursor remembers the first."""
    with registry.sessions.begin() as session:
        for place in range(2 * files):
            # Every file is listed twice, the copies far behind.
            add_adapter(session, name="fox", words="fox", file_sha256=f"{place % files:064x}")

    found = [id_ for page in pages(registry, "fox", 10) for id_ in ids(page)]

    assert len(found) == files


@pytest.mark.parametrize("name", ["paper", "origami"])
def test_what_a_copy_far_behind_literally_is_comes_with_it(registry: Registry, name: str) -> None:
    """Whether what is ranked perhaps fits by itself, or probably is something else."""
    like = embed(registry, "paper fox")
    with registry.sessions.begin() as session:
        for _ in range(70):
            add_adapter(session, name="paper fox", words="paper fox", downloads=1000)
        ranked = add_adapter(session, name=name, words=name, captions=[("paper fox", like)])
        copy = add_adapter(
            session, name="paper fox", words="paper fox", file_sha256=ranked.file_sha256
        )
        both = {ranked.id, copy.id}

    hits = [result.hit for page in pages(registry, "paper fox", 20) for result in page.results]

    [found] = [hit for hit in hits if both & {hit.adapter_id, *hit.also}]
    assert {found.adapter_id, *found.also} == both
    assert found.band == "fits"
    assert len(hits) == 71
