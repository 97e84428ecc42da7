"""Facets: exact where they can be, about right where not, each without its own filter."""

import random
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from registry.db.models import File
from registry.retrieval import facets as counting
from registry.retrieval.browsing import Total
from registry.retrieval.facets import Facet, count_facets, count_facets_among
from registry.retrieval.filters import Filters
from registry.retrieval.terms import FACETS, FacetName
from tests.builders import add_adapter


def add_many(session: Session, number: int) -> list[dict[str, Any]]:
    rng = random.Random(number)
    added = []
    for _ in range(number):
        facts: dict[str, Any] = {
            "author": rng.choice(["ann", "bob", "eve", ""]),
            "tags": rng.sample(["fox", "red", "水墨"], rng.randrange(4)),
            "base_model": rng.choice(["pony", "sdxl-1.0", "sd-1.5"]),
            "licence": rng.choice([None, "mit", "cc-by-nc-4.0"]),
            "mature": rng.choice([None, False, True]),
            "trigger_words": rng.choice([[], ["ohwx"]]),
        }
        adapter = add_adapter(session, **facts)
        size, rank = rng.choice([1000, 60_000_000, 10**9]), rng.choice([None, 8, 16])
        verdict = {"fusable": True, "ranks": [rank] * 3 if rank else []}
        session.execute(
            update(File)
            .where(File.sha256 == adapter.file_sha256)
            .values(size=size, verdict=verdict)
        )
        added.append(facts | {"id": adapter.id, "size": size, "rank": rank})
    return added


def values(facets: tuple[Facet, ...], name: FacetName) -> dict[str, int]:
    (facet,) = (one for one in facets if one.name == name)
    return {value.value: value.count for value in facet.values}


def count_authors(added: list[dict[str, Any]]) -> Counter[str]:
    """Of those that have one: who is not named is nobody to filter by."""
    return Counter(facts["author"] for facts in added if facts["author"])


def test_every_facet_counts(session: Session) -> None:
    added = add_many(session, 40)

    counted = count_facets(session, Filters())

    assert (counted.total, counted.about) == (Total(40), 40)
    assert [facet.name for facet in counted.facets] == list(FACETS)
    assert all(facet.exact and facet.more == 0 for facet in counted.facets)
    own = {name: values(counted.facets, name) for name in FACETS}
    assert own["author"] == count_authors(added)
    assert own["tag"] == Counter(tag for facts in added for tag in facts["tags"])
    assert own["licence"] == Counter(facts["licence"] for facts in added if facts["licence"])
    assert own["rank"] == Counter(str(facts["rank"]) for facts in added if facts["rank"])
    families = Counter(facts["base_model"] == "sd-1.5" for facts in added)
    assert own["family"] == {"sdxl-1.0": families[False], "sd-1.5": families[True]}
    # A family's name asks for its variants too.
    ponies = sum(facts["base_model"] == "pony" for facts in added)
    assert own["base_model"]["pony"] == ponies
    assert own["base_model"]["sdxl-1.0"] == families[False]
    sizes = Counter(facts["size"] for facts in added)
    assert own["size"] == {
        "0": sizes[1000], "50000000": sizes[60_000_000], "500000000": sizes[10**9]
    }  # fmt: skip
    mature = Counter(facts["mature"] is True for facts in added)
    assert own["mature"] == {"only": mature[True], "hide": mature[False]}
    wordy = Counter(bool(facts["trigger_words"]) for facts in added)
    assert own["trigger_words"] == {"true": wordy[True], "false": wordy[False]}
    assert own["fusable"] == {"true": 40}
    free = Counter(facts["licence"] == "mit" for facts in added)
    assert own["commercial"] == {"true": free[True], "false": free[False]}


def test_a_facet_is_counted_without_its_own_filter(session: Session) -> None:
    """Its numbers say what switching would give; tags add up, so theirs say what adding would."""
    added = add_many(session, 40)

    counted = count_facets(session, Filters(authors=("ann",), tags=("fox",)))

    foxes = [facts for facts in added if "fox" in facts["tags"]]
    anns = [facts for facts in foxes if facts["author"] == "ann"]
    assert counted.total == Total(len(anns))
    assert values(counted.facets, "author") == count_authors(foxes)
    assert values(counted.facets, "tag") == Counter(tag for f in anns for tag in f["tags"])
    assert sum(values(counted.facets, "mature").values()) == len(anns)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("base_model", Filters(base_models=("pony",))),
        ("family", Filters(families=("sd-1.5",))),
        ("author", Filters(authors=("ann",))),
        ("licence", Filters(licences=("mit",))),
        ("commercial", Filters(commercial=True)),
        ("hub", Filters(hubs=("modelscope",))),
        ("trainer", Filters(trainers=("kohya",))),
        ("rank", Filters(min_rank=16)),
        ("rank", Filters(max_rank=8)),
        ("size", Filters(min_size=10**6)),
        ("size", Filters(max_size=10**6)),
        ("trigger_words", Filters(trigger_words=True)),
        ("fusable", Filters(fusable=True)),
        ("mature", Filters(mature="only")),
    ],
)
def test_every_facet_can_be_switched(session: Session, name: FacetName, asked: Filters) -> None:
    add_many(session, 40)
    everything = count_facets(session, Filters())

    counted = count_facets(session, asked)

    assert values(counted.facets, name) == values(everything.facets, name)


def test_a_tag_written_in_two_ways_counts_once(session: Session) -> None:
    add_adapter(session, tags=["LoRA", "lora", "fox"])
    add_adapter(session, tags=["lora"])

    assert values(count_facets(session, Filters()).facets, "tag") == {"lora": 2, "fox": 1}


def test_only_the_most_frequent_values_are_named(session: Session) -> None:
    for number in range(25):
        add_adapter(session, author=f"author {number}", tags=[str(number), "all"])

    facets = {facet.name: facet for facet in count_facets(session, Filters()).facets}

    assert (len(facets["author"].values), facets["author"].more) == (20, 5)
    assert (facets["tag"].values[0].value, facets["tag"].more) == ("all", 6)


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a million takes happens at a hundred."""
    monkeypatch.setattr(counting, "SAMPLE", 60)
    monkeypatch.setattr(counting, "MOST_COUNTED", 20)


@pytest.mark.usefixtures("sampled")
def test_of_very_many_a_sample_tells(session: Session) -> None:
    added = add_many(session, 120)

    counted = count_facets(session, Filters())

    assert counted.total == Total(20, exact=False)
    assert 80 <= counted.about <= 180
    assert not any(facet.exact for facet in counted.facets)
    anns = sum(facts["author"] == "ann" for facts in added)
    assert values(counted.facets, "author")["ann"] == pytest.approx(anns, rel=0.6)


@pytest.mark.usefixtures("sampled")
def test_few_of_very_many_are_counted_exactly(session: Session) -> None:
    """And switching their own filter off is told by the sample again."""
    add_many(session, 120)
    for _ in range(3):
        add_adapter(session, author="rare", tags=["fox"])

    counted = count_facets(session, Filters(authors=("rare",)))

    facets = {facet.name: facet for facet in counted.facets}
    assert (counted.total, counted.about) == (Total(3), 3)
    assert values(counted.facets, "tag") == {"fox": 3}
    assert facets["tag"].exact
    assert not facets["author"].exact


def test_what_a_question_found_is_counted(session: Session) -> None:
    added = add_many(session, 10)
    ids = [facts["id"] for facts in added[:4]]

    counted = count_facets_among(session, ids)

    assert counted.total == Total(4)
    assert values(counted.facets, "author") == count_authors(added[:4])
    assert count_facets_among(session, []).total == Total(0)


def test_an_empty_index_has_empty_facets(session: Session) -> None:
    counted = count_facets(session, Filters())

    assert (counted.total, counted.about) == (Total(0), 0)
    assert not any(facet.values for facet in counted.facets)
