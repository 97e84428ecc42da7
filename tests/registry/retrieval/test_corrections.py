"""Misspelt words of a question, and what was meant by them."""

import pytest

from registry.db.models import Adapter
from registry.retrieval.corrections import put_right
from registry.retrieval.filters import Filters
from registry.retrieval.given_values import Likes, Paging
from registry.service import Registry
from registry.text.word_segmentation import segment
from tests.builders import add_adapter


def add_named(registry: Registry, *names: str, base_model: str = "demo-flux-tiny") -> list[int]:
    with registry.sessions.begin() as session:
        return [
            add_adapter(session, name=name, words=segment(name), base_model=base_model).id
            for name in names
        ]


@pytest.mark.parametrize(
    ("asked", "typed", "meant"),
    [
        ("silhuette", "silhuette", "silhouette"),
        ("Gradiant", "Gradiant", "gradient"),
        ("cartoon mamals", "mamals", "mammals"),
        ("picses", "picses", "pisces"),
    ],
)
def test_a_misspelt_word_is_put_right(
    registry: Registry, asked: str, typed: str, meant: str
) -> None:
    add_named(registry, "Silhouette of a bird", "Green Gradient", "Cartoon Mammals", "Pisces")

    page = registry.search(asked)

    assert page.text == asked
    assert page.notes[-1] == (
        f"Nothing here has “{typed}”: read as “{meant}”. In quotes a word is taken as it is."
    )
    assert page.results[0].hit.band == "fits"
    assert meant[:5] in page.results[0].card.name.lower()


@pytest.mark.parametrize("asked", ["gradiant背景海报", "水彩gradiant"])
def test_a_misspelt_word_is_put_right_where_no_space_parts_it_from_another_script(
    registry: Registry, asked: str
) -> None:
    green, _ = add_named(registry, "Green Gradient", "Silhouette of a bird")

    page = registry.search(asked)

    assert "“gradiant”: read as “gradient”" in page.notes[-1]
    assert page.results[0].card.id == green


def test_misspelt_words_are_put_right_beside_adapters(registry: Registry) -> None:
    """Of what is wanted and of what is not; pages that follow are of the same question."""
    green, blue, _, mammals = add_named(
        registry, "Green Gradient", "Gradient Blue", "Silhouette", "Cartoon Mammals"
    )
    likes = Likes(like=(mammals,), unlike_text="silhuette without background")

    page = registry.search("gradiant", paging=Paging(limit=1), likes=likes)
    following = registry.search("gradiant", paging=Paging(limit=1, cursor=page.next), likes=likes)

    found = [result.card.id for one in (page, following) for result in one.results]
    assert found == [green, blue]
    assert [note for note in page.notes if "read as" in note] == [
        "Nothing here has “gradiant”: read as “gradient”. In quotes a word is taken as it is.",
        "Nothing here has “silhuette”: read as “silhouette”. In quotes a word is taken as it is.",
    ]
    assert page.text == "gradiant"


@pytest.mark.parametrize(
    "asked",
    [
        "silhouette",  # spelt right
        '"silhuette"', "“silhuette”",  # wanted so
        "horse", "ocean", "peacock",  # words of what is not here
        "silhouetteart",  # two words in one
        "asdfghjk", "剪影",
    ],
)  # fmt: skip
def test_what_is_no_slip_stays_as_it_was_typed(registry: Registry, asked: str) -> None:
    add_named(registry, "Silhouette", "House", "Oceanic", "Peace", "Line Art")

    notes = registry.search(asked).notes

    assert not any("read as" in note for note in notes)


def test_a_word_that_filters_leave_to_nobody_is_no_slip(registry: Registry) -> None:
    add_named(registry, "Silhuette", base_model="sdxl-1.0")
    add_named(registry, "Silhouette")

    notes = registry.search("silhuette", filters=Filters(("demo-flux-tiny",))).notes

    assert not any("read as" in note for note in notes)


def test_what_is_not_wanted_is_put_right_too(registry: Registry) -> None:
    red, _ = add_named(registry, "red gradient", "red silhouette")

    page = registry.search("red, not silhuette")

    assert page.results[0].card.id == red
    assert page.results[1].hit.band == "probably not"


def test_a_misspelt_name_chooses_what_is_meant(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        ids = [
            add_adapter(session, name=name, words=name, captions=[], trigger_words=[name]).id
            for name in ("silhouette", "gradient")
        ]
        assert session.get_one(Adapter, ids[0]).state == "ready"

    assert [choice.card.id for choice in registry.choose("silhuette", k=1)] == ids[:1]


def test_words_are_put_right_where_they_stand() -> None:
    text = 'a Yelow sun, yelow sea and "yelow"'

    assert put_right(text, {"yelow": "yellow"}) == 'a Yelow sun, yellow sea and "yelow"'


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("gihbli风格的猫", "ghibli风格的猫"),
        ("水彩gihbli，猫", "水彩ghibli，猫"),
        ("gihbliスタイル", "ghibliスタイル"),
        ("gihbli스타일", "ghibli스타일"),
        ("“gihbli风格”", "“gihbli风格”"),
        ("gihblis风格", "gihblis风格"),
    ],
)
def test_what_is_written_without_a_space_beside_a_misspelt_word_stays(
    asked: str, meant: str
) -> None:
    assert put_right(asked, {"gihbli": "ghibli"}) == meant
