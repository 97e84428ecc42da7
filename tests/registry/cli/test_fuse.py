"""Commands that make images, from files on disk to PNGs with recipes."""

import json
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from registry.cli.fuse import joined, parse_adapters
from registry.config import Settings
from registry.db.models import Adapter
from registry.fusion.backends.pipeline import load_backend
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.gates.file import save_gates
from registry.fusion.recipe import Recipe, read_recipe
from registry.service import Registry
from tests.registry.cli.runner import run, run_badly, run_well, write_folder
from tests.registry.cli.test_context import running
from tests.registry.fusion.builders import save_tiny_base

BASE = "demo-flux-tiny"


@pytest.fixture
def ids(
    registry: Registry, environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Three adapters from a folder, a base and gates, found by the environment."""
    save_tiny_base(tmp_path / "base")
    gates = AutoLoraGates.for_transformer(load_backend(tmp_path / "base", BASE).transformer, BASE)
    save_gates(gates, tmp_path / "gates.safetensors")
    for name, value in {
        "REGISTRY_BASE_MODELS": json.dumps({BASE: str(tmp_path / "base")}),
        "REGISTRY_GATES": json.dumps({BASE: str(tmp_path / "gates.safetensors")}),
    }.items():
        monkeypatch.setenv(name, value)
    run_well("refresh", "--source", str(write_folder(tmp_path / "zoo", 3)))
    with registry.sessions() as session:
        return list(session.scalars(select(Adapter.id).order_by(Adapter.id)))


def pixels(path: Path) -> tuple[tuple[int, int], bytes]:
    with Image.open(path) as image:
        return image.size, image.tobytes()


def test_a_fused_image_says_all_of_itself_and_can_be_made_again(
    ids: list[int], tmp_path: Path
) -> None:
    out, again = tmp_path / "out.png", tmp_path / "again.png"
    words = ["fuse", "a fox", "--adapters", f"{ids[0]},{ids[1]}:0.5", "--steps", "2"]

    printed = run_well(*words, "--size", "48x32", "-o", str(out))
    run_well("fuse", "--recipe", str(out), "-o", str(again))

    assert pixels(out) == pixels(again)
    assert pixels(out)[0] == (48, 32)
    assert "prompt: a fox, fx0, fx1" in printed
    assert "times that of the strongest alone" in printed
    assert "mode: gated" in printed
    assert "strictest licence: not stated" in printed


def test_a_server_draws_what_this_process_would(ids: list[int], tmp_path: Path) -> None:
    """To the byte: the file, and all that is said of it."""
    words = ["fuse", "a fox", "--adapters", f"{ids[0]},{ids[1]}:0.5", "--steps", "2"]

    def draw(*before: str) -> tuple[tuple[int, str, str], bytes]:
        result = run(*before, *words, "-o", "out.png")
        drawn = (tmp_path / "out.png").read_bytes()
        again = run(*before, "fuse", "--recipe", "out.png", "-o", "again.png", "--json")
        assert (tmp_path / "again.png").read_bytes() == drawn
        return (result.exit_code, result.stdout + again.stdout, result.stderr), drawn

    here = draw("--local")
    size = run("--local", *words, "--size", "31")
    absent = run("--local", "fuse", "a fox", "--adapters", "999")
    with Registry(Settings()) as served, running(served):
        assert draw() == here
        assert run(*words, "--size", "31").stderr == size.stderr
        assert run("fuse", "a fox", "--adapters", "999").stderr == absent.stderr

    assert "multiples of" in size.stderr
    assert "no adapter 999" in absent.stderr


def test_a_server_draws_the_sheets_that_this_process_would(ids: list[int], tmp_path: Path) -> None:
    """To the byte, and what goes wrong is said alike."""
    how = ["--adapters", f"{ids[0]},{ids[1]}", "--steps", "1"]
    commands = [["grid", "a fox", *how, "--mode", "sum"], ["compare", "a fox", *how]]
    wrong = [
        ["grid", "a fox", "--adapters", f"{ids[0]},999"],
        ["compare", "a fox", *how, "--size", "31"],
    ]

    def draw(*before: str) -> list[tuple[int, str, bytes]]:
        drawn = []
        for words in commands:
            result = run(*before, *words, "-o", "sheet.png")
            drawn.append((result.exit_code, result.stderr, (tmp_path / "sheet.png").read_bytes()))
        return drawn

    here, refused = draw("--local"), [run("--local", *words).stderr for words in wrong]
    with Registry(Settings()) as served, running(served):
        assert draw() == here
        assert [run(*words).stderr for words in wrong] == refused
        assert [image.state for image in served.images.list()] == ["failed", "done", "done"]

    assert [code for code, _, _ in here] == [0, 0]
    assert "no adapter 999" in refused[0]
    assert "multiples of" in refused[1]


@pytest.mark.parametrize("command", ["fuse", "grid", "compare"])
def test_what_is_written_is_a_png_whatever_it_is_called(
    ids: list[int], tmp_path: Path, command: str
) -> None:
    """A wrong name is known before minutes of drawing, not after them."""
    words = [command, "a fox", "--adapters", f"{ids[0]},{ids[1]}", "--steps", "1"]

    assert "end it in .png" in run_badly(*words, "-o", "out.JPG")
    assert "is a folder" in run_badly(*words, "-o", "zoo")
    run_well(*words, "-o", "out")

    with Image.open(tmp_path / "out") as image:
        assert image.format == "PNG"
    assert not (tmp_path / "out.JPG").exists()


def test_a_recipe_is_printed_as_json_and_is_in_the_image(ids: list[int], tmp_path: Path) -> None:
    out, again = tmp_path / "out.png", tmp_path / "again.png"

    recipe = json.loads(
        run_well(
            *("fuse", "a fox", "-o", str(out), "--adapters", f"{ids[0]}:0.5"),
            *("--mode", "sum", "--steps", "2", "--seed", "3", "--json"),
            *("--guidance", "2.5", "--negative", "a wolf"),
        )
    )
    printed = run_well("fuse", "--recipe", str(out), "-o", str(again))

    assert [used["strength"] for used in recipe["adapters"]] == [0.5]
    assert recipe["full_prompt"] == "a fox, fx0"
    assert (recipe["guidance"], recipe["negative_prompt"]) == (2.5, "a wolf")
    assert "Fox 0" in printed
    assert Image.open(again).tobytes() == Image.open(out).tobytes()


def test_nothing_that_says_how_to_draw_may_stand_beside_a_recipe() -> None:
    """It would count for nothing, not even a value that is another option's default."""
    words = ["fuse", "--recipe", "fox.png", "-o", "again.png", "--export", "comfyui", "--json"]
    others = [
        *("--adapters", "7", "--most", "2", "--base-model", BASE, "--seed", "0", "--steps", "9"),
        *("--size", "64", "--guidance", "2", "--negative", "dog", "--mode", "gated", "--no-check"),
    ]

    assert (
        "a recipe says all that there is to say; leave out --adapters, --most, --base-model, "
        "--seed, --steps, --size, --guidance, --negative, --mode, --check."
    ) in run_badly(*words, *others)
    assert "leave out --seed." in run_badly(*words, "--seed", "5")


def test_what_guidance_leads_away_from_is_the_bases_or_what_is_set(
    ids: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gates' matter only: what adds up does so as in diffusers."""

    def draw(name: str, *more: str) -> Recipe:
        words = ["fuse", "a fox", "--adapters", str(ids[0]), "--steps", "2", *more]
        run_well(*words, "-o", str(tmp_path / name))
        return read_recipe(tmp_path / name)

    assert draw("own.png").guide_from == "base"
    assert draw("sum.png", "--mode", "sum").guide_from == "fused"
    monkeypatch.setenv("REGISTRY_GUIDE_FROM", json.dumps({BASE: "fused"}))
    assert draw("set.png").guide_from == "fused"
    assert pixels(tmp_path / "set.png") != pixels(tmp_path / "own.png")
    monkeypatch.setenv("REGISTRY_GUIDE_FROM", json.dumps({BASE: "base"}))
    assert draw("again.png", "--mode", "sum").guide_from == "fused"


def test_a_grid_of_pairs_and_a_row_to_compare(ids: list[int], tmp_path: Path) -> None:
    """Ids may follow the option as words, as people type them."""
    grid, row = tmp_path / "grid.png", tmp_path / "row.png"

    run_well("grid", "a fox", "--adapters", *map(str, ids), "--steps", "1", "-o", str(grid))
    run_well("compare", "a fox", "--adapters", f"{ids[0]},{ids[1]}", "--steps", "1", "-o", str(row))

    assert pixels(grid)[0][0] > 3 * 192
    # Base, two alone, and three ways of fusing.
    assert pixels(row)[0][0] == 12 + 6 * (192 + 12)


def test_sheets_heed_strengths(ids: list[int], tmp_path: Path) -> None:
    for sheet in ("grid", "compare"):
        drawn = []
        for strength in ("", ":0.1"):
            named, out = [f"{id_}{strength}" for id_ in ids[:2]], tmp_path / f"{sheet}.png"
            run_well(sheet, "a fox", "--adapters", *named, "--steps", "1", "-o", str(out))
            drawn.append(pixels(out))
        assert drawn[0] != drawn[1], sheet


def test_a_base_of_our_own_is_exported_nowhere(ids: list[int], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    run_well("fuse", "x", "--adapters", str(ids[0]), "--steps", "1", "-o", str(out))
    assert "no other program draws with it" in run_badly("export", str(out), "--to", "comfyui")


def test_adapters_are_named_with_and_without_commas() -> None:
    named = ([12, 7, 31], [None, 0.8, None])
    for given, more in (
        ("12,7:0.8,31", []),
        ("12", ["7:0.8", "31"]),
        ("12,7:0.8", ["31"]),
        ("12 7:0.8， 31", []),
    ):
        assert parse_adapters(given, more) == named
    assert parse_adapters(None, None) == (None, None)


def test_a_prompt_may_come_in_several_words(ids: list[int], tmp_path: Path) -> None:
    """As long as no ids follow it."""
    out = tmp_path / "out.png"

    run_well("fuse", "a", "red", "fox", "--steps", "1", "-o", str(out))

    assert read_recipe(out).prompt == "a red fox"
    assert joined(None, None) is None
    said = run_badly("fuse", "a", "red", "fox", "--adapters", str(ids[0]), "-o", str(out))
    assert "'red'" in said
    assert "the prompt in quotes" in said


def test_sheets_that_make_no_sense_are_one_line(ids: list[int]) -> None:
    assert "'ink' is one word too many; put the prompt in quotes" in run_badly("grid", "a", "ink")
    assert "names none" in run_badly("fuse", "a fox", "--adapters", "")
    assert "write ids with strengths" in run_badly("fuse", "a fox", "--adapters", "1", "7:x")
    assert "two adapters or more" in run_badly("grid", "a fox", "--adapters", "1")
    assert "write ids" in run_badly("grid", "a fox", "--adapters", "fox", "cat")
    said = run_badly("compare", "a", "fox", "--adapters", "1")
    assert "the prompt in quotes" in said
    assert "write pixels" in run_badly("fuse", "x", "--size", "big")
    assert "no adapter 999" in run_badly("grid", "a fox", "--adapters", str(ids[0]), "999")
    assert "it is one of diffusers, a1111" in run_badly("fuse", "x", "--export", "photoshop")
    assert "given twice" in run_badly(
        "fuse", "a fox", "--adapters", f"{ids[0]},{ids[0]}", "--steps", "1"
    )


def test_an_adapter_whose_file_has_vanished_is_named(registry: Registry, ids: list[int]) -> None:
    """And with what brings it back."""
    sha256 = registry.adapter(ids[0]).card.file_sha256
    assert sha256 is not None
    registry.blobs.path(sha256).unlink()

    assert "refresh --full" in run_badly("fuse", "a fox", "--adapters", str(ids[0]))
