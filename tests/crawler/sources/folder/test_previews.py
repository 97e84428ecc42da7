"""The prompts inside pictures, and which pictures are covers."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo
from PIL.WebPImagePlugin import WebPImageFile

from crawler.covers import MAX_BYTES
from crawler.pictures.graphs import graph_of_workflow, prompt_of_graph
from crawler.pictures.parameters import prompt_of_parameters
from crawler.pictures.texts import COMFYUI_TAGS, EXIF_IFD, USER_COMMENT
from crawler.records import AdapterRecord
from crawler.sources.folder import FolderSource
from crawler.sources.folder.previews import read_prompt
from tests.crawler.builders import image_bytes, write_adapter

PARAMETERS = (
    "a fox, <lora:ink:0.8> zqx\nin snow\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a"
)
GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 1, "positive": ["6", 0], "negative": ["7", 0], "model": ["4", 0]},
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox in snow", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
}


def write_png(path: Path, **texts: str) -> Path:
    chunks = PngInfo()
    for name, text in texts.items():
        chunks.add_itxt(name, text)
    Image.new("RGB", (16, 16), "red").save(path, pnginfo=chunks)
    return path


def link(number: str, **changed: Any) -> dict[str, Any]:
    """The graph with other inputs of a node."""
    node = GRAPH[number]
    return {**GRAPH, number: {**node, "inputs": node["inputs"] | changed}}


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_a_web_uis_prompt_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "png":
        write_png(path, parameters=PARAMETERS)
    else:
        exif = Image.Exif()
        exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
        Image.new("RGB", (16, 16), "red").save(path, exif=exif)

    assert read_prompt(path) == "a fox, zqx\nin snow"


@pytest.mark.parametrize(
    ("parameters", "prompt"),
    [
        ("Steps: 20, Sampler: Euler", ""),
        ("Negative prompt: blurry\nSteps: 20", ""),
        ("a fox\nSteps: 20", "a fox"),
        ("somebody else's parameters", ""),
        ("", ""),
    ],
)
def test_settings_are_no_prompt(parameters: str, prompt: str) -> None:
    assert prompt_of_parameters(parameters) == prompt


def test_comfyuis_positive_words_are_read(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", prompt=json.dumps(GRAPH), workflow="{}")

    assert read_prompt(path) == "a fox in snow"


GUIDER = {
    "1": {"class_type": "BasicGuider", "inputs": {"conditioning": ["2", 0], "model": ["9", 0]}},
    "2": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["3", 0]}},
    "3": {"class_type": "CLIPTextEncodeFlux", "inputs": {"clip_l": "fox", "t5xxl": "a red fox"}},
}
CONTROLLED = link("3", positive=["8", 0]) | {
    "8": {"class_type": "ControlNetApplyAdvanced",
          "inputs": {"positive": ["6", 0], "negative": ["7", 0], "image": ["5", 0]}},
}  # fmt: skip
FROM_A_NODE = link("6", text=["9", 0]) | {
    "9": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a cat"}}
}


@pytest.mark.parametrize(
    ("graph", "prompt"),
    [
        (GUIDER, "fox, a red fox"),
        (CONTROLLED, "a fox in snow"),
        (FROM_A_NODE, "a cat"),
        ({"6": GRAPH["6"]}, "a fox in snow"),
        (link("6", text=["6", 0]), ""),
        (link("3", positive=["99", 0]), ""),
        (link("3", positive=[["6"], {}]), ""),
        (link("6", text=5), ""),
        ({"3": [], "6": None, "7": {"inputs": []}}, ""),
        ([GRAPH], ""),
        ("text", ""),
        (None, ""),
        (dict.fromkeys(map(str, range(10_001)), GRAPH["6"]), ""),
    ],
)
def test_a_graph_of_any_form_gives_its_words_or_none(graph: Any, prompt: str) -> None:
    assert prompt_of_graph(graph) == prompt


WORKFLOW = {
    "nodes": [
        {"id": 3, "type": "KSampler", "inputs": [{"name": "positive", "link": 4}]},
        {"id": 6, "type": "CLIPTextEncode", "inputs": [], "widgets_values": ["a fox in snow"]},
        {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["blurry"]},
    ],
    "links": [[4, 6, 0, 3, 1, "CONDITIONING"], [5, 7, 0, 3, 2, "CONDITIONING"]],
}


def test_the_editors_workflow_is_read_where_the_graph_is_not_there(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", workflow=json.dumps(WORKFLOW))

    assert read_prompt(path) == "a fox in snow"


@pytest.mark.parametrize(
    "workflow",
    [
        [],
        {"nodes": {}, "links": 3},
        {"nodes": [1, {"id": [], "inputs": [None, {"link": [1]}]}], "links": [1, [[], 1, 2, 3]]},
    ],
)
def test_a_workflow_of_another_form_gives_nothing(workflow: Any) -> None:
    assert prompt_of_graph(graph_of_workflow(workflow)) == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"<html>",
        image_bytes(kind="PNG")[:40],
        image_bytes(kind="JPEG")[:99],
    ],
)
def test_a_broken_picture_says_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)

    assert read_prompt(tmp_path / "a.png") == ""


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif"])
def test_no_picture_is_decoded_for_its_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Each of some hundred KB may be one of 170 megapixels."""
    Image.new("RGB", (16, 16), "red").save(tmp_path / f"a.{kind}")
    decoded: list[Image.Image] = []
    for plugin in (ImageFile.ImageFile, WebPImageFile):
        monkeypatch.setattr(plugin, "load", lambda self: decoded.append(self))

    read_prompt(tmp_path / f"a.{kind}")

    assert not decoded


def test_a_picture_of_another_kind_says_nothing(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[COMFYUI_TAGS[0]] = f"prompt:{json.dumps(GRAPH)}"
    Image.new("RGB", (16, 16), "red").save(tmp_path / "a.png", "TIFF", exif=exif)

    assert read_prompt(tmp_path / "a.png") == ""


def test_a_picture_that_is_too_large_for_a_cover_says_nothing(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", parameters=PARAMETERS)
    os.truncate(path, MAX_BYTES + 1)

    assert read_prompt(path) == ""


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", "null", '{"3": '])
def test_a_broken_graph_in_a_picture_says_nothing(tmp_path: Path, text: str) -> None:
    assert read_prompt(write_png(tmp_path / "a.png", prompt=text, workflow=text)) == ""


def test_covers_are_the_preview_then_the_picture_of_the_same_name(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a.safetensors")
    for name in ("a.png", "a.preview.PNG", "a.jpeg", "ab.png", "a.safetensors.png"):
        kind = "JPEG" if name.endswith("jpeg") else "PNG"
        (tmp_path / name).write_bytes(image_bytes(kind=kind))
    write_png(tmp_path / "a.png", parameters=PARAMETERS)
    (tmp_path / "a.json").write_text('{"prompt": "of the first"}')

    (record,) = FolderSource(tmp_path).list_adapters()

    assert isinstance(record, AdapterRecord)
    names = [cover.url.partition("#")[0].rpartition("/")[2] for cover in record.covers]
    assert names == ["a.preview.PNG", "a.png", "a.jpeg"]
    assert [cover.prompt for cover in record.covers] == [
        "of the first", "a fox, zqx\nin snow", None,
    ]  # fmt: skip


def test_a_changed_picture_is_another_cover(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a.safetensors")
    covers = []
    for seed in (1, 2):
        (tmp_path / "a.png").write_bytes(image_bytes(seed, kind="PNG"))
        (record,) = FolderSource(tmp_path).list_adapters()
        assert isinstance(record, AdapterRecord)
        covers.append(record.covers)

    assert covers[0] != covers[1]
