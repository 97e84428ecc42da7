"""A recipe that a stranger wrote is bounded, and only the reader of PNGs reads its PNG."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from registry.fusion.errors import RecipeError
from registry.fusion.recipe import MOST_FILE_BYTES, PNG_KEY, Recipe, read_recipe

SHA256 = "0123456789abcdef" * 4


def recipe_json(adapter: dict[str, Any] | None = None, **values: Any) -> str:
    """A recipe as JSON, with one adapter; some of its values replaced."""
    used = {"name": "fox", "sha256": SHA256, "strength": 1.0} | (adapter or {})
    recipe = {
        "schema": 2,
        "prompt": "a fox",
        "full_prompt": "a fox",
        "negative_prompt": "",
        "seed": 1,
        "steps": 20,
        "guidance": 3.5,
        "width": 512,
        "height": 512,
        "mode": "gated",
        "adapters": [used],
        "gates_sha256": SHA256,
        "base": {"name": "flux.1-dev", "backend": "diffusers", "files": {"a": SHA256}},
        "versions": {"torch": "2"},
        "threads": 2,
    }
    return json.dumps(recipe | values)


def test_an_ordinary_recipe_is_read() -> None:
    recipe = Recipe.from_json(recipe_json())

    assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_recipe_is_read_whatever_its_file_is_called(tmp_path: Path) -> None:
    """By its first brace it is JSON; what is piped into a file may have any name."""
    recipe = Recipe.from_json(recipe_json())
    told, drawn = tmp_path / "recipe.txt", tmp_path / "fox.json"
    told.write_text(f"\n{recipe.to_json()}")
    info = PngInfo()
    info.add_itxt(PNG_KEY, recipe.to_json())
    Image.new("RGB", (8, 8)).save(drawn, format="PNG", pnginfo=info)

    assert read_recipe(told) == read_recipe(drawn) == recipe


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"steps": 10**9}, "steps"),
        ({"steps": 10**400}, "steps"),
        ({"width": 10**6}, "width"),
        ({"height": -1}, "height"),
        ({"seed": 2**64}, "seed"),
        ({"seed": -1}, "seed"),
        ({"threads": 10**6}, "threads"),
        ({"threads": 0}, "threads"),
        ({"guidance": 1e300}, "guidance"),
        ({"guidance": float("nan")}, "guidance"),
        ({"prompt": "x" * 10**6}, "prompt"),
        ({"gates_sha256": "../../gates"}, "gates_sha256"),
        ({"adapters": [{"name": "a", "sha256": SHA256, "strength": 1}] * 101}, "adapters"),
        ({"warnings": ["x"] * 1001}, "warnings"),
        ({"versions": {str(i): "1" for i in range(101)}}, "versions"),
        ({"adapter": {"sha256": "../../../etc/passwd"}}, "adapters.0.sha256"),
        ({"adapter": {"sha256": SHA256 + "\n"}}, "adapters.0.sha256"),
        ({"adapter": {"sha256": SHA256.upper()}}, "adapters.0.sha256"),
        ({"adapter": {"strength": 1e9}}, "adapters.0.strength"),
        ({"adapter": {"name": "x" * 10**5}}, "adapters.0.name"),
        ({"adapter": {"trigger_words": ["x"] * 101}}, "adapters.0.trigger_words"),
        ({"adapter": {"leanings": [0.0] * 1001}}, "adapters.0.leanings"),
        ({"base": {"name": "a", "backend": "b", "files": {"a": "../x"}}}, "base.files"),
    ],
)
def test_every_number_and_every_text_is_bounded(values: dict[str, Any], where: str) -> None:
    """One of 10**9 steps, or of 10**6 threads, would keep a machine busy or stop it."""
    with pytest.raises(RecipeError) as caught:
        Recipe.from_json(recipe_json(**values))

    assert f"schema 1 or 2: {where}" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_what_a_recipe_is_refused_for_does_not_act_on_a_terminal() -> None:
    hostile: dict[str, Any] = {"\x1b[2J\u202e" + "x" * 10**5: 1}
    with pytest.raises(RecipeError) as caught:
        Recipe.from_json(recipe_json(**hostile))

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 1000


def test_only_a_png_is_decoded(tmp_path: Path) -> None:
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    path = tmp_path / "recipe.png"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n(ran) print\n%%EOF\n"
    )
    with pytest.raises(RecipeError, match="cannot be read: cannot identify image file"):
        read_recipe(path)

    for kind in ("GIF", "TIFF", "WEBP", "BMP"):
        Image.new("RGB", (8, 8)).save(path, format=kind)
        with pytest.raises(RecipeError, match="cannot be read"):
            read_recipe(path)


def test_a_png_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    """A header of 60 bytes may promise gigabytes."""
    path = tmp_path / "bomb.png"
    for side in (5000, 60_000):
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b""))
        with pytest.raises(RecipeError):
            read_recipe(path)


def test_a_text_chunk_that_unpacks_to_very_much_is_refused(tmp_path: Path) -> None:
    """64 MB of spaces in 64 KB."""
    info = PngInfo()
    info.add_itxt(PNG_KEY, " " * 64_000_000, zip=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "bomb.png", pnginfo=info)

    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "bomb.png")


def test_a_png_that_is_broken_behind_its_pixels_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    end = chunk(b"IEND", b"")
    broken = tmp_path / "broken.png"
    broken.write_bytes(whole.removesuffix(end) + chunk(b"iCCP", b"") + end)

    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(broken)


@pytest.mark.parametrize("name", ["endless.png", "endless.json"])
def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as stream:
        stream.truncate(MOST_FILE_BYTES + 1)

    with pytest.raises(RecipeError, match="too large"):
        read_recipe(tmp_path / name)


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum
