"""The wide world's rules: whose art, which split, what is said of it."""

from typing import Any

import pytest

from demo.world import art
from demo.world.art import to_svg
from demo.world.names import BRANDS, Namer, clean, list_glosses
from demo.world.sources import load_looks, load_sources

OPEN_LICENCES = {
    *("MIT", "ISC", "Apache-2.0", "CC0-1.0", "OFL-1.1", "Unlicense"),
    *("CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-4.0"),
}
PHOSPHOR = next(s for s in load_sources() if s.package == "@iconify-json/ph")


def test_every_source_is_openly_licensed_and_attributed() -> None:
    for source in load_sources():
        assert source.licence in OPEN_LICENCES, source.package
        assert source.author


def test_whole_sets_are_kept_for_validation_and_held_out() -> None:
    splits = [source.split for source in load_sources()]
    assert splits.count("train") >= 40
    assert splits.count("validation") >= 6
    assert splits.count("held-out") >= 12
    assert splits.count("beliefs") >= 20
    packages = [source.package for source in load_sources()]
    assert len(packages) == len(set(packages))


def test_no_two_looks_share_a_style() -> None:
    styles = [look.style for look in load_looks()]
    assert len(styles) == len(set(styles))


@pytest.mark.parametrize(
    ("icon", "style", "plain"),
    [("dog", "ph", "dog"), ("dog-thin", "ph-thin", "dog"), ("dog-duotone", "ph-duotone", "dog")],
)
def test_the_end_of_an_icons_name_tells_its_look(icon: str, style: str, plain: str) -> None:
    look, name = PHOSPHOR.look_of(icon)
    assert look
    assert (look.style, name) == (style, plain)


def test_a_look_can_be_left_out() -> None:
    assert PHOSPHOR.look_of("dog-light")[0] is None


@pytest.mark.parametrize(
    ("icon", "words"),
    [
        ("alarm-clock-2", ["alarm", "clock"]),
        ("mirror-one", ["mirror"]),
        ("interface-essential-pencil-edit-2", ["pencil", "edit"]),
        ("3d-glasses", ["3d", "glasses"]),
    ],
)
def test_names_are_cleaned_of_sizes_and_numbers(icon: str, words: list[str]) -> None:
    assert clean(icon) == words


def test_marks_of_companies_have_no_name() -> None:
    assert "github" in BRANDS
    assert Namer().name("github-logo") is None


def test_one_name_for_one_thing_in_all_sets() -> None:
    namer = Namer()
    assert namer.name("alarm-clock") == namer.name("alarm-clock-02")
    assert len(namer.entries) == 1


def test_translations_of_parts_are_rough() -> None:
    namer = Namer(_dictionary={"car": "车", "garage": "车库", "alarm clock": "闹钟"})
    assert namer.translate("alarm clock") == ("闹钟", False)
    assert namer.translate("car garage") == ("车车库", True)
    assert namer.translate("car zebra") == ("", False)


def test_glosses_lose_articles_and_brackets() -> None:
    assert list_glosses("a dog (CL:只);to bark") == [("dog", 0.5), ("to bark", 1.0)]


def test_a_wide_icon_is_drawn_in_the_middle_of_a_square() -> None:
    svg = to_svg({"body": "<path fill='currentColor'/>", "width": 40, "height": 20}, "#123456")
    assert 'viewBox="0.0 -10.0 40 40"' in svg
    assert "currentColor" not in svg


def test_strange_sets_change_nothing_of_what_is_drawn_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(art, "INK_LIMIT", 1)
    entry = {"label_zh": "", "group": ""}
    namer = Namer([{"label": "dog", **entry}, {"label": "cat", **entry}])
    icon = {"body": "<path/>", "width": 24, "height": 24}

    def drawn(style: str, *names: int) -> list[tuple[str, int, dict[str, Any]]]:
        return [(style, name, icon) for name in names]

    known = {"ph": drawn("ph", 0, 1), "tabler": drawn("tabler", 1)}
    strange = {"ri": drawn("ri", 0), "gg": drawn("gg", 0)}

    jobs = art.plan_jobs(known, strange, namer)

    # The cat is drawn by two sets that are known; that three draw the dog does not count.
    assert [job.name for job in jobs["ph"]] == [1]
    assert {package: jobs[package] for package in known} == art.plan_jobs(known, {}, namer)
    assert jobs.keys() == {*known, *strange}
