"""Filters as people write them, and as the database applies them."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.db.models import File, Listing, ListingWords
from registry.retrieval.errors import (
    FilterError,
    SearchError,
    UnknownBaseModelError,
    UnknownFilterValueError,
)
from registry.retrieval.filter_options import make_filters
from registry.retrieval.filters import beyond_facts, conditions, conditions_on_facts
from registry.retrieval.given_values import check_choice, read_moment, read_size
from registry.retrieval.known_values import base_models_listed, check_filters
from registry.retrieval.other_states import browse_state
from registry.retrieval.terms import SORTS
from tests.builders import add_adapter


def passing(session: Session, **options: Any) -> list[str]:
    """Return the names of what passes, by listings and by facts in the same way."""
    filters = make_filters(**options)
    listed = session.scalars(select(Listing.name).where(*conditions(filters))).all()
    told = session.scalars(
        select(Listing.name)
        .join(ListingWords, ListingWords.adapter_id == Listing.adapter_id)
        .where(*conditions_on_facts(filters), *conditions(beyond_facts(filters)))
    ).all()
    assert sorted(told) == sorted(listed), options
    return sorted(listed)


def test_each_filter_lets_through_what_it_says(session: Session) -> None:
    a = add_adapter(
        session,
        name="a",
        author="Ann İ",
        base_model="pony",
        tags=["Red", "水墨"],
        licence="Apache-2.0",
        hub="Civitai",
        trigger_words=["x"],
        mature=True,
        hub_updated_at=datetime(2026, 1, 31, tzinfo=UTC),
    )
    verdict = {"fusable": False, "trainer": "Kohya", "ranks": [1, 16, 32]}
    session.execute(
        update(File).where(File.sha256 == a.file_sha256).values(size=2 * 10**8, verdict=verdict)
    )
    add_adapter(session, name="b", base_model="sd-1.5")

    only_a: list[dict[str, Any]] = [
        {"base_model": "Pony"},
        {"base_model": "SDXL"},
        {"family": "illustrious"},
        {"author": "ANN İ"},
        {"author": ["nobody", "ann İ"]},
        {"tag": ["RED", "水墨"]},
        {"licence": "apache-2.0"},
        {"commercial": True},
        {"hub": "CIVITAI"},
        {"trainer": "KOHYA"},
        {"min_rank": 16},
        {"max_rank": 16},
        {"min_size": "200MB"},
        {"updated_since": "2026-01-31"},
        {"trigger_words": True},
        {"fusable": False},
        {"mature": "only"},
    ]
    only_b: list[dict[str, Any]] = [
        {"base_model": "SD1.5"},
        {"commercial": False},
        {"max_size": "199 MB"},
        {"updated_before": date(2026, 1, 30)},
        {"trigger_words": False},
        {"fusable": True},
        {"mature": "hide"},
    ]
    for options in only_a:
        assert passing(session, **options) == ["a"], options
    for options in only_b:
        assert passing(session, **options) == ["b"], options
    for none in ({"tag": ["red", "blue"]}, {"min_rank": 17}, {"base_model": "pony", "hub": "x"}):
        assert passing(session, **none) == [], none
    assert passing(session) == ["a", "b"]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("1.5", "b"), ("v1-5", "b"), ("SD1", "b"), ("XL", "de"), ("stable diffusion xl", "de"),
        ("ＳＤＸＬ", "de"), ("pony xl", "e"), ("PDXL", "e"), ("sd", "bde"),
        ("Stable Diffusion", "bde"), ("flux", "ac"), ("FLUX.1", "a"), ("flux klein", "c"),
    ],
)  # fmt: skip
def test_base_models_are_named_as_people_do(session: Session, written: str, names: str) -> None:
    for name, base_model in {
        "a": "flux.1-dev", "b": "sd-1.5", "c": "flux.2-klein-4b", "d": "sdxl-1.0", "e": "pony",
        "f": "qwen-image",
    }.items():  # fmt: skip
        add_adapter(session, name=name, base_model=base_model)

    check_filters(session, make_filters(base_model=written))
    assert "".join(passing(session, base_model=written)) == names


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("flux", "ac"), ("sd", "bd"), ("stable diffusion", "bd"), ("SD1", "b"), ("ILXL", "d"),
        ("flux.2-klein-4b", "c"), ("flux.2", ""),
    ],
)  # fmt: skip
def test_families_are_named_as_people_do(session: Session, written: str, names: str) -> None:
    for name, base_model in {
        "a": "flux.1-dev", "b": "sd-1.5", "c": "flux.2-klein-4b", "d": "pony", "e": "qwen-image"
    }.items():  # fmt: skip
        add_adapter(session, name=name, base_model=base_model)

    assert "".join(passing(session, family=written)) == names


@pytest.mark.parametrize(
    ("option", "had", "written"),
    [
        (
            "licence",
            "CC-BY-4.0",
            ["CC BY 4.0", "cc by 4.0", "cc_by-4.0", " cc-by 4.0", "CC-BY-4.0"],
        ),
        ("licence", "cc by-nc-sa 4.0", ["cc-by-nc-sa-4.0", "CC BY NC SA 4.0"]),
        ("licence", "Apache-2.0", ["apache 2.0", "Apache2.0", "APACHE_2.0"]),
        ("licence", "cc0-1.0", ["CC0 1.0"]),
        ("trainer", "sd-scripts", ["kohya", "kohya_ss", "Kohya-SS", "sd scripts", "SD-Scripts"]),
        ("trainer", "kohya", ["Kohya"]),
        ("trainer", "OneTrainer", ["one trainer"]),
        ("trainer", "ai-toolkit", ["AI Toolkit", "ostris"]),
        ("hub", "civitai", ["civitai.com", "https://civitai.com/", "CivitAI", "civitai.red"]),
        ("hub", "huggingface", ["huggingface.co", "hf", "HF.co", "Hugging Face", "hugging-face"]),
        ("hub", "modelscope", ["modelscope.cn", "www.modelscope.cn", "魔搭"]),
    ],
)
def test_values_are_written_as_people_do(
    session: Session, option: str, had: str, written: list[str]
) -> None:
    own: dict[str, Any] = {} if option == "trainer" else {option: had}
    other: dict[str, Any] = {"hub": "elsewhere"} if option == "hub" else {}
    a, b = add_adapter(session, name="a", **own), add_adapter(session, name="b", **other)
    for adapter, trainer in ((a, had if option == "trainer" else "x"), (b, "y")):
        verdict = {"trainer": trainer}
        session.execute(
            update(File).where(File.sha256 == adapter.file_sha256).values(verdict=verdict)
        )

    for value in written:
        options: dict[str, Any] = {option: value}
        check_filters(session, make_filters(**options))
        assert passing(session, **options) == ["a"], value


def test_what_is_not_ready_is_filtered_by_the_same_values(session: Session) -> None:
    add_adapter(session, state="listed", hub="huggingface", licence="cc-by-4.0")

    filters = make_filters(hub="hf.co", licence="CC BY 4.0")

    assert browse_state(session, "listed", filters, None, 5).total.count == 1


def test_a_value_that_may_mean_another_is_refused_as_it_was_written(session: Session) -> None:
    add_adapter(session, hub="civitai", licence="mit")

    with pytest.raises(UnknownFilterValueError, match=r"hub 'hf.co'\. There are: civitai"):
        check_filters(session, make_filters(hub="hf.co"))
    with pytest.raises(UnknownFilterValueError, match=r"licence 'CC BY 4\.0'\. There are: mit"):
        check_filters(session, make_filters(licence="CC BY 4.0"))


@pytest.mark.parametrize("odd", ["", " ", "-_ ", "a-" * 100, "\0", "https://", "/", "'%_\\"])
def test_odd_values_are_refused_in_words(session: Session, odd: str) -> None:
    add_adapter(session)
    for option in ("licence", "hub", "trainer", "base_model", "family"):
        options: dict[str, Any] = {option: odd}
        with pytest.raises(SearchError):
            check_filters(session, make_filters(**options))


def test_choices_are_read_in_any_case() -> None:
    options: dict[str, Any] = {"mature": "HIDE"}
    order: Any = "NAME"
    assert make_filters(**options).mature == "hide"
    assert check_choice("sort", order, SORTS) == "name"


def test_of_several_that_a_word_may_mean_one_has_to_be_there(session: Session) -> None:
    add_adapter(session, base_model="sd-1.5")
    check_filters(session, make_filters(base_model="sd", family="sd"))

    with pytest.raises(UnknownBaseModelError, match=r"'flux'\. Ready are: sd-1\.5"):
        check_filters(session, make_filters(base_model="flux"))
    with pytest.raises(UnknownFilterValueError, match=r"'flux'\. There are: sd-1\.5"):
        check_filters(session, make_filters(family="flux"))


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("200MB", 2 * 10**8), ("1.5 gb", 15 * 10**8), ("7", 7), ("3k", 3000), ("2MiB", 2 * 10**6),
        (5, 5), (None, None), ("0B", 0),
    ],
)  # fmt: skip
def test_sizes_are_read(written: int | str | None, size: int | None) -> None:
    assert read_size("min_size", written) == size


@pytest.mark.parametrize(
    "options",
    [
        {"licenses": "mit"},
        {"mature": "odd"},
        {"min_size": "big"},
        {"max_size": "-1"},
        {"min_size": "999999999999999TB"},
        {"min_rank": "high"},
        {"max_rank": 2**31},
        {"min_rank": 0},
        {"updated_since": "yesterday"},
        {"updated_since": ""},
        {"min_size": "2MB", "max_size": "1MB"},
        {"updated_since": "2026-02-01", "updated_before": "2026-01-01"},
    ],
)
def test_what_cannot_be_read_is_a_clear_error(options: dict[str, Any]) -> None:
    with pytest.raises(FilterError, match=next(iter(options))):
        make_filters(**options)


def test_moments_are_utc_unless_they_say() -> None:
    assert read_moment("x", "2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    told = read_moment("x", "2026-01-31T12:00:00+02:00")
    assert told == datetime(2026, 1, 31, 10, tzinfo=UTC)


def test_what_nobody_has_says_what_there_is(session: Session) -> None:
    """The nearest spellings first, and a long list is cut."""
    for number in range(12):
        add_adapter(session, author=f"author{number}", tags=[f"tag {number}"], base_model="pony")
    add_adapter(session, author="quietfox", licence="MIT", tags=["silhouette"])
    # From a folder, where nobody is named.
    add_adapter(session, author="")

    def said(**options: Any) -> str:
        with pytest.raises(SearchError) as caught:
            check_filters(session, make_filters(**options))
        return str(caught.value)

    assert "'quietfix'. There are, among others: quietfox, " in said(author="quietfix")
    assert said(author="quietfix").count(",") == 8
    assert ", ," not in said(author="nobody at all")
    assert "There are: mit." in said(licence="GPL")
    assert "among others: silhouette, " in said(tag=["tag 1", "siluette"])
    assert "None has any." in said(trainer="kohya")
    assert "There are: modelscope." in said(hub="civitai")
    assert "Ready are: pony, demo-flux-tiny" in said(base_model="ponny")
    assert "There are: sdxl-1.0, demo-flux-tiny." in said(family="sdxll")
    check_filters(session, make_filters(author="AUTHOR3", family="illustrious"))


def test_errors_tell_base_models_from_other_values(session: Session) -> None:
    add_adapter(session)
    with pytest.raises(UnknownBaseModelError):
        check_filters(session, make_filters(base_model="pony"))
    with pytest.raises(UnknownFilterValueError):
        check_filters(session, make_filters(family="sdxl"))


def test_base_models_are_named_once(session: Session) -> None:
    assert base_models_listed(session) == []
    for name in ("pony", "sd-1.5", "pony"):
        add_adapter(session, base_model=name)

    assert base_models_listed(session) == ["pony", "sd-1.5"]
