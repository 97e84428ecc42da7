"""The wide world's rules: whose art, which split, what is said of it."""

import random

import numpy as np
import pytest

from demo.world.art import to_svg
from demo.world.colours import COLOUR_WORDS, main_colour
from demo.world.names import BRANDS, Namer, clean, list_glosses
from demo.world.prompts import write_prompt
from demo.world.sources import Look, load_looks, load_sources

OPEN_LICENCES = {"MIT", "ISC", "Apache-2.0", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "OFL-1.1"}
PHOSPHOR = next(s for s in load_sources() if s.package == "@iconify-json/ph")
LOOK = Look("ph-thin", ("thin line icon",), ("极细线条图标",), ("#222222",), "train")
DOG = {"label": "dog", "label_zh": "狗", "rough_zh": False, "tags": ["pet"], "tags_zh": ["宠物"]}


def test_every_source_is_openly_licensed_and_attributed() -> None:
    for source in load_sources():
        assert source.licence in OPEN_LICENCES, source.package
        assert source.author


def test_whole_sets_are_kept_for_validation_and_held_out() -> None:
    splits = [source.split for source in load_sources()]
    assert splits.count("train") >= 40
    assert splits.count("validation") >= 6
    assert splits.count("held-out") >= 12
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


def test_only_whole_translations_are_said_in_prompts() -> None:
    namer = Namer(_dictionary={"car": "车", "garage": "车库", "alarm clock": "闹钟"})
    assert namer.translate("alarm clock") == ("闹钟", False)
    assert namer.translate("car garage") == ("车车库", True)
    assert namer.translate("car zebra") == ("", False)
    rough = {**DOG, "rough_zh": True}
    rng = random.Random(0)
    assert not any("狗" in write_prompt(rough, LOOK, 0, rng) for _ in range(200))


def test_glosses_lose_articles_and_brackets() -> None:
    assert list_glosses("a dog (CL:只);to bark") == [("dog", 0.5), ("to bark", 1.0)]


@pytest.mark.parametrize("word", ["red", "green", "blue", "black", "white"])
def test_a_plain_picture_has_its_colours_name(word: str) -> None:
    rgb = {
        "red": (220, 30, 30),
        "green": (30, 160, 60),
        "blue": (40, 90, 220),
        "black": (20, 20, 20),
        "white": (250, 250, 250),
    }[word]
    picture = np.full((8, 8, 4), (*rgb, 255), np.uint8)
    assert COLOUR_WORDS[main_colour(picture)][0] == word


def test_an_empty_picture_has_no_colour() -> None:
    assert main_colour(np.zeros((8, 8, 4), np.uint8)) == -1


def test_prompts_name_the_thing_or_at_least_the_style() -> None:
    rng = random.Random(0)
    prompts = {write_prompt(DOG, LOOK, 0, rng) for _ in range(300)}
    assert len(prompts) > 40
    assert all(
        any(word in p for word in ("dog", "狗", *LOOK.words, LOOK.words_zh[0])) for p in prompts
    )


def test_a_wide_icon_is_drawn_in_the_middle_of_a_square() -> None:
    svg = to_svg({"body": "<path fill='currentColor'/>", "width": 40, "height": 20}, "#123456")
    assert 'viewBox="0.0 -10.0 40 40"' in svg
    assert "currentColor" not in svg
