"""The adapters that pictures name, in the words of every program that we know."""

import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from crawler.covers import upright
from crawler.errors import CoverError
from crawler.pictures.adapters import (
    MOST_ADAPTERS,
    MOST_HASHES,
    MOST_LISTED,
    NamedAdapter,
    adapters_named,
)
from crawler.pictures.prompt import prompt_of
from crawler.pictures.texts import RECIPE_KEY, USER_COMMENT, texts_of
from registry.fusion.recipe import PNG_KEY
from tests.crawler.pictures.builders import png, with_comment, with_tags

SHA = "ab" * 32
PARAMETERS = (
    "a fox, <lora:ink:0.8> zqx <lora:folder/Neon Glow:0.5:1:lbw=OUTALL>\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64, Model hash: 0123456789, "
    'Lora hashes: "ink: 0123456789ab, Neon Glow: fedcba987654", Version: 1.10.1'
)
GRAPH: dict[str, Any] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
    "2": {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "styles\\ink.safetensors", "strength_model": 0.7, "strength_clip": 1.0,
            "model": ["1", 0], "clip": ["1", 1],
        },
    },
}  # fmt: skip


def named_in(picture: bytes) -> list[NamedAdapter]:
    with upright(picture) as image:
        return list(adapters_named(texts_of(image)))


def graph(inputs: dict[str, Any], kind: str = "Anything") -> list[NamedAdapter]:
    nodes = {"1": {"class_type": kind, "inputs": inputs}}
    return named_in(png(prompt=json.dumps(nodes)))


@pytest.mark.parametrize("chunk", ["tEXt", "zTXt", "iTXt"])
def test_a_web_uis_settings_in_a_png(chunk: str) -> None:
    assert named_in(png(chunk=chunk, parameters=PARAMETERS)) == [
        NamedAdapter("ink", ("0123456789ab",), strength=0.8),
        # Behind the text encoders' strength is the denoiser's.
        NamedAdapter("folder/Neon Glow", ("fedcba987654",), strength=1.0),
    ]


@pytest.mark.parametrize(
    ("call", "strength"),
    [
        ("<lora:a>", None),
        ("<lora:a:0.8>", 0.8),
        ("<lora:a:0:0.8>", 0.8),
        ("<lora:a:te=0:unet=0.8>", 0.8),
        ("<lora:a:0.7:unet=0.8:dyn=4>", 0.8),
        ("<lora:a:te=0.7>", 0.7),
    ],
)
def test_of_a_calls_strengths_the_denoisers_counts(call: str, strength: float | None) -> None:
    (named,) = named_in(png(parameters=f"a fox {call}\nSteps: 1"))

    assert (named.name, named.strength) == ("a", strength)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-8"])
def test_a_web_uis_settings_in_exif(kind: str, encoding: str) -> None:
    names = [one.name for one in named_in(with_comment(PARAMETERS, kind, encoding=encoding))]

    assert names == ["ink", "folder/Neon Glow"]


@pytest.mark.parametrize("chunk", ["tEXt", "zTXt"])
def test_utf_8_where_a_png_should_have_latin_1(chunk: str) -> None:
    written = "<lora:水墨:1>\nSteps: 1".encode().decode("latin-1")
    latin = "<lora:Café:1>\nSteps: 1"

    assert [one.name for one in named_in(png(chunk=chunk, parameters=written))] == ["水墨"]
    assert [one.name for one in named_in(png(chunk=chunk, parameters=latin))] == ["Café"]


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-16-be"),
        (b"", "utf-16-le"),
        (b"", "utf-8"),
        (b"UNICODE\0\xfe\xff", "utf-16-be"),
        (b"UNICODE\0\xff\xfe", "utf-16-le"),
        (b"UNICODE\0\xef\xbb\xbf", "utf-8"),
    ],
)
def test_comments_without_a_kind_and_with_an_order_of_bytes(mark: bytes, encoding: str) -> None:
    text = f'{{"hashes": {{"lora:水墨": "0123456789ab"}}, "x": "{"水" * 50}"}}'

    named = named_in(with_comment(text, encoding=encoding, mark=mark))

    assert [one.name for one in named] == ["水墨"]


def test_fooocus_writes_a_comment_beside_the_main_tags() -> None:
    (named, _) = named_in(with_tags({USER_COMMENT: PARAMETERS}, kind="JPEG"))

    assert named.name == "ink"


@pytest.mark.parametrize(
    "lists",
    [
        'Lora hashes: "ink: 0123456789, neon: 12345678", Lora weights: "ink: 0.5, neon: 1"',
        'Lora hashes: "ink: 0123456789: 0.5, neon: 12345678: 1"',
    ],
)
def test_fooocus_writes_weights(lists: str) -> None:
    assert named_in(png(parameters=f"a fox\nSteps: 30, {lists}, Version: Fooocus v2.5.5")) == [
        NamedAdapter("ink", ("0123456789",), strength=0.5),
        NamedAdapter("neon", ("12345678",), strength=1.0),
    ]


def test_fooocus_writes_json() -> None:
    text = json.dumps({"loras": [["ink", 0.5, "0123456789"], 1, ["x"]], "prompt": "a fox"})

    assert named_in(png(parameters=text)) == [NamedAdapter("ink", ("0123456789",), strength=0.5)]


def test_the_extension_for_civitai_writes_hashes_as_json() -> None:
    hashes = json.dumps({"model": "0123456789", "lora:ink": "ABCDEF0123", "embed:bad": "99" * 5})
    text = f"a fox <lora:ink:1>\nSteps: 20, Hashes: {hashes}, Version: 1"

    assert named_in(png(parameters=text)) == [NamedAdapter("ink", ("abcdef0123",), strength=1.0)]


def test_civitais_generator_names_versions() -> None:
    resources = [
        {"type": "checkpoint", "modelVersionId": 1, "modelName": "Base"},
        {"type": "lora", "weight": 0.8, "modelVersionId": 22, "modelName": "Ink"},
        {"modelName": "Neon", "weight": 1.5, "air": "urn:air:sdxl:lora:civitai:7@33"},
        {"modelName": "lazy", "weight": 1.0, "air": "urn:air:sdxl:embedding:civitai:1@44"},
    ]
    text = f"a fox\nSteps: 30, Civitai resources: {json.dumps(resources)}, Civitai metadata: {{}}"

    assert named_in(with_comment(text)) == [
        NamedAdapter("Ink", version="22", strength=0.8),
        NamedAdapter("Neon", version="33", strength=1.5),
    ]


def test_civitais_json_in_a_comment() -> None:
    meta = {
        "prompt": "a fox",
        "resources": [
            {"type": "lora", "name": "ink", "hash": "0123456789AB", "weight": 0.6},
            {"type": "model", "name": "base", "hash": "99" * 5},
        ],
        "hashes": {"lora:ink": "abcdef0123"},
    }

    assert named_in(with_comment(json.dumps(meta))) == [
        NamedAdapter("ink", ("abcdef0123", "0123456789ab"), strength=0.6)
    ]


def test_civitais_graph_in_a_comment_has_airs() -> None:
    value = GRAPH | {
        "extra": {
            "airs": ["urn:air:flux1:checkpoint:civitai:1@2", "urn:air:flux1:lora:civitai:3@4"]
        },
        "extraMetadata": json.dumps({"resources": [{"modelVersionId": 4, "strength": 0.9}]}),
    }

    assert named_in(with_comment(json.dumps(value))) == [
        NamedAdapter("", version="4", strength=0.9),
        NamedAdapter("styles\\ink.safetensors", strength=0.7),
    ]


def test_comfyuis_own_loader() -> None:
    (named,) = named_in(png(prompt=json.dumps(GRAPH)))

    assert (named.stem, named.strength) == ("ink", 0.7)


def test_loaders_that_feed_nothing_are_not_named() -> None:
    """The editor sends them along with what is run."""

    def loader(file: str, above: str) -> dict[str, Any]:
        return {"class_type": "LoraLoader", "inputs": {"lora_name": file, "model": [above, 0]}}

    nodes = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
        "2": loader("ink.safetensors", "1"),
        "3": loader("loose.safetensors", "2"),
        "4": loader("looser.safetensors", "3"),
        "5": loader("detail.safetensors", "1"),
        "6": {"class_type": "KSampler", "inputs": {"model": ["2", 0]}},
        # A second model draws the face again.
        "7": {"class_type": "FaceDetailer", "inputs": {"image": ["6", 0], "model": ["5", 0]}},
    }

    named = named_in(png(prompt=json.dumps(nodes)))

    assert [one.stem for one in named] == ["ink", "detail"]


@pytest.mark.parametrize(
    "inputs",
    [
        {"lora_name": "a.safetensors", "strength_model": 0.5},
        {"lora": "a.safetensors", "strength": 0.5, "merge_loras": True},
        {"lora_1": {"on": True, "lora": "a.safetensors", "strength": 0.5, "strengthTwo": None}},
        {"lora_01": "a.safetensors", "strength_01": 0.5, "lora_02": "None", "strength_02": 1},
        {"switch_1": "On", "lora_name_1": "a.safetensors", "model_weight_1": 0.5,
         "switch_2": "Off", "lora_name_2": "b.safetensors", "model_weight_2": 1.0},
        {"lora_name_1": "a.safetensors", "lora_wt_1": 0.5, "lora_count": 1},
        {"input_mode": "simple", "lora_count": 1, "lora_name_1": "a.safetensors",
         "lora_wt_1": 0.5, "model_str_1": 0.9, "clip_str_1": 0.9,
         "lora_name_2": "b.safetensors", "lora_wt_2": 1.0, "model_str_2": 1.0},
        {"input_mode": "advanced", "lora_count": 1, "lora_name_1": "a.safetensors",
         "lora_wt_1": 0.9, "model_str_1": 0.5, "clip_str_1": 0.9},
        {"lora_name": "a.safetensors", "lora_model_strength": 0.5, "lora_clip_strength": 0.9},
        {"lora_name": {"content": "a.safetensors", "image": None}, "strength_model": 0.5},
        {"toggle": True, "mode": "simple", "num_loras": 1, "lora_1_name": "a.safetensors",
         "lora_1_strength": 0.5, "lora_1_model_strength": 0.9, "lora_1_clip_strength": 0.9,
         "lora_2_name": "b.safetensors", "lora_2_strength": 1.0, "lora_2_model_strength": 1.0},
        {"toggle": "True", "mode": "advanced", "num_loras": 1, "lora_1_name": "a.safetensors",
         "lora_1_strength": 0.9, "lora_1_model_strength": 0.5, "lora_1_clip_strength": 0.9},
        {"loras": {"__value__": [{"name": "a", "strength": 0.5, "active": True},
                                 {"name": "b", "strength": 1, "active": False}]}},
        {"text": "a fox <lora:a:0.5>"},
    ],
)  # fmt: skip
def test_loaders_of_others(inputs: dict[str, Any]) -> None:
    """The core's for the model only, WanVideo's, rgthree's two, Comfyroll's, Efficiency's, Custom
    Scripts', Easy Use's, Lora Manager's, and texts with calls."""
    (named,) = graph(inputs)

    assert (named.stem, named.strength) == ("a", 0.5)


def test_slots_that_are_off_are_not_named() -> None:
    assert graph({"lora_1": {"on": False, "lora": "a.safetensors", "strength": 1}}) == []
    assert graph({"toggle": False, "num_loras": 1, "lora_1_name": "a.safetensors"}) == []


def node(kind: str, values: Any = None, mode: int = 0) -> dict[str, Any]:
    """One of the editor's nodes."""
    return {"id": 1, "type": kind, "mode": mode, "widgets_values": values}


def test_the_editors_graph_counts_where_nothing_was_run() -> None:
    workflow = {
        "nodes": [
            node("LoraLoader", ["ink.safetensors", 0.7, 1]),
            node("LoraLoader", ["bypassed.safetensors", 1, 1], mode=4),
            node("Power Lora Loader (rgthree)", [{}, {"on": True, "lora": "b.pt", "strength": 2}]),
            node("CheckpointLoaderSimple", ["base.safetensors"]),
            node("LoraLoader|pysssss", [{"content": "d.pt", "image": None}, 0.9, 1, "[none]"]),
            node("CR LoRA Stack", ["Off", "off.pt", 1, 1, "On", "c.pt", 1, 1, "Off", "None", 1, 1]),
        ],
    }

    named = named_in(png(workflow=json.dumps(workflow)))

    assert [(one.stem, one.strength) for one in named] == [
        ("ink", 0.7), ("b", 2.0), ("d", 0.9), ("c", 1.0),
    ]  # fmt: skip


def test_the_editors_graph_does_not_count_beside_one_that_was_run() -> None:
    """What is switched off stands in it all the same."""
    ran = {"1": {"class_type": "KSampler", "inputs": {"seed": 1}}}
    shown = json.dumps({"nodes": [node("LoraLoader", ["ink.safetensors", 0.7, 1])]})

    assert named_in(png(prompt=json.dumps(ran), workflow=shown)) == []
    assert len(named_in(png(prompt="{}", workflow=shown))) == 1


def test_a_subgraph_counts_where_a_node_that_is_not_silent_stands_for_it() -> None:
    def subgraph(name: str, *nodes: dict[str, Any]) -> dict[str, Any]:
        file = node("LoraLoaderModelOnly", [f"{name}.ckpt", 1])
        return {"id": name, "nodes": [file, *nodes]}

    workflow = {
        "nodes": [node("used"), node("used"), node("bypassed", mode=4)],
        "definitions": {
            "subgraphs": [
                subgraph("used", node("inner"), node("muted", mode=2)),
                *(subgraph(name) for name in ("inner", "muted", "bypassed", "unused")),
                # It stands for itself, which the editor refuses.
                subgraph("circle", node("circle")),
            ]
        },
    }

    assert [one.stem for one in named_in(png(workflow=json.dumps(workflow)))] == ["used", "inner"]


def test_comfyuis_webp_keeps_its_graph_in_tags() -> None:
    picture = with_tags({0x0110: f"prompt:{json.dumps(GRAPH)}", 0x010F: "workflow:{}"})

    assert [one.stem for one in named_in(picture)] == ["ink"]


def test_our_own_recipe_is_believed_first() -> None:
    recipe = {"prompt": "a fox", "adapters": [{"name": "Ink", "sha256": SHA, "strength": 0.4}]}
    picture = png(autolora_recipe=json.dumps(recipe), parameters=PARAMETERS)

    assert named_in(picture) == [NamedAdapter("Ink", (SHA,), strength=0.4)]
    assert RECIPE_KEY == PNG_KEY
    with upright(picture) as image:
        assert prompt_of(texts_of(image)) == "a fox"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Steps: 20",
        "[" * 100_000,
        '{"a":' * 100_000,
        "a\nSteps: 1, Hashes: {, Civitai resources: [",
        "a\nSteps: 1, Lora hashes: , Hashes: {}",
        "a\nSteps: 1, Hashes: " + '{"a":' * 100_000,
        "null",
        '{"1": null, "2": {"inputs": 3}, "extra": 1, "extraMetadata": 2, "resources": [1, {}]}',
        '{"1": {"inputs": {"lora_name": 7, "lora_1": {"on": 1}, "loras": {"__value__": 3}}}}',
    ],
)
def test_broken_texts_name_nothing(text: str) -> None:
    assert named_in(png(parameters=text, prompt=text, workflow=text, autolora_recipe=text)) == []


def test_what_is_named_is_bounded_and_clean() -> None:
    calls = "".join(f"<lora:l{number}:1>" for number in range(10_000))
    assert len(named_in(png(parameters=f"{calls}\nSteps: 1"))) == MOST_ADAPTERS

    hostile = {"lora_name": "\x1b[2Ja\u202eb\n" + "x" * 10_000 + ".safetensors", "strength": 1e999}
    (named,) = graph(hostile)
    assert named.name.isprintable()
    assert len(named.name) <= 200
    assert named.strength is None


def test_two_versions_of_one_name_are_two_adapters() -> None:
    resources = [
        {"type": "lora", "weight": weight, "modelVersionId": version, "modelName": "Ink"}
        for version, weight in ((22, 0.8), (33, 0.5), (22, 0.8))
    ]
    text = f"a fox <lora:ink:1>\nSteps: 30, Civitai resources: {json.dumps(resources)}"

    # What is said without a version is said of the first.
    assert named_in(png(parameters=text)) == [
        NamedAdapter("ink", version="22", strength=1.0),
        NamedAdapter("Ink", version="33", strength=0.5),
    ]


def test_two_files_of_one_name_are_two_adapters() -> None:
    files = ("flux\\ink.safetensors", "sdxl/ink.safetensors", "Flux/ink.safetensors")
    slots = {
        f"lora_{number}": {"on": True, "lora": file, "strength": 1}
        for number, file in enumerate(files)
    }

    assert [one.name for one in graph(slots)] == list(files[:2])


def test_two_adapters_of_one_name_in_our_recipe_are_two() -> None:
    used = [{"name": "Ink", "sha256": sha, "strength": 1} for sha in (SHA, SHA[::-1], SHA)]

    named = named_in(png(autolora_recipe=json.dumps({"adapters": used})))

    assert [one.hashes for one in named] == [(SHA,), (SHA[::-1],)]


def test_a_name_has_a_hash_though_signs_are_left_out_beside_it() -> None:
    text = 'a <lora:Ink, wet v1.0:1>\nSteps: 1, Lora hashes: "Ink wet v1.0: 0123456789ab"'

    assert named_in(png(parameters=text)) == [
        NamedAdapter("Ink, wet v1.0", ("0123456789ab",), strength=1.0)
    ]


def test_an_adapter_has_few_hashes_however_often_it_is_named() -> None:
    """Each is looked up, and all are copied at every mention."""
    listed = [f"ink: {number:012x}" for number in range(MOST_LISTED)]
    text = f'a fox\nSteps: 1, Lora hashes: "{", ".join([*listed, "late: 0123456789ab"])}"'

    (named,) = named_in(png(parameters=text))

    assert named.hashes == tuple(f"{number:012x}" for number in range(MOST_HASHES))


def test_a_compressed_text_that_is_a_bomb_is_refused_with_the_picture() -> None:
    bomb = b"parameters\0\0" + zlib.compress(bytes(64 * 2**20), 9)
    chunk = struct.pack(">I", len(bomb)) + b"zTXt" + bomb
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + bomb))
    whole = png()
    at = whole.index(b"IDAT") - 4
    with pytest.raises(CoverError, match="too large"), upright(whole[:at] + chunk + whole[at:]):
        pass


def test_texts_behind_the_pixels_are_read() -> None:
    """Tools that add to a PNG often add at its end."""
    whole = png(parameters=PARAMETERS)
    begin = whole.index(b"iTXt") - 4
    length = struct.unpack(">I", whole[begin : begin + 4])[0] + 12
    chunk, without = whole[begin : begin + length], whole[:begin] + whole[begin + length :]
    end = without.index(b"IEND") - 4
    moved = without[:end] + chunk + without[end:]

    assert Image.open(io.BytesIO(moved)).size == (64, 64)
    assert len(named_in(moved)) == 2
