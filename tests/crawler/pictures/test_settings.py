"""How pictures say that they were drawn, in the words of every program that we know."""

import json
from typing import Any

import pytest

from crawler.covers import upright
from crawler.pictures.parameters import MAX_SETTINGS, settings_of_parameters
from crawler.pictures.prompt import prompt_of
from crawler.pictures.settings import DrawnWith, drawn_with
from crawler.pictures.texts import texts_of
from registry.fusion.exports.export import export
from tests.crawler.pictures.builders import png, with_comment
from tests.registry.fusion.test_sending import RECIPE

GRAPH: dict[str, Any] = {
    "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": r"bad \(hands\)"}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": ["5", 0], "steps": 12, "cfg": 4.5, "positive": ["1", 0], "negative": ["2", 0],
            "latent_image": ["4", 0],
        },
    },
    "4": {"class_type": "Empty", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "5": {"class_type": "PrimitiveInt", "inputs": {"value": 2**64 - 1}},
}  # fmt: skip


def read(picture: bytes) -> DrawnWith:
    with upright(picture) as image:
        return drawn_with(texts_of(image))


def test_a_web_uis_settings() -> None:
    told = (
        "a fox\nNegative prompt: bad \\(hands\\) <lora:x:1>\nSteps: 20, Sampler: Euler a, "
        'CFG scale: 7, Seed: 5, Size: 512x768, Model hash: 01, Lora hashes: "Seed: 9, b: 1"'
    )
    expected = DrawnWith("bad (hands)", 5, 20, 7.0, 512, 768)

    assert read(png(parameters=told)) == expected
    assert read(with_comment(told)) == expected


def test_comfyuis_graph() -> None:
    """Numbers may come by a link from a node that holds them."""
    assert read(png(prompt=json.dumps(GRAPH))) == DrawnWith(
        "bad (hands)", 2**64 - 1, 12, 4.5, 512, 768
    )


def words(text: str) -> dict[str, Any]:
    return {"class_type": "CLIPTextEncode", "inputs": {"text": text}}


@pytest.mark.parametrize(
    ("between", "positive", "negative", "expected"),
    [
        # What many graphs have for bases that are drawn without guidance.
        (
            {"3": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["1", 0]}}},
            ["1", 0], ["3", 0], "",
        ),
        (
            {"3": {"class_type": "ControlNetApplyAdvanced",
                   "inputs": {"positive": ["1", 0], "negative": ["2", 0], "strength": 1.0}}},
            ["3", 0], ["3", 1], "blurry",
        ),
        (
            {"3": {"class_type": "ToBasicPipe",
                   "inputs": {"positive": ["1", 0], "negative": ["2", 0]}},
             "4": {"class_type": "FromBasicPipe", "inputs": {"basic_pipe": ["3", 0]}}},
            ["4", 3], ["4", 4], "blurry",
        ),
    ],
)  # fmt: skip
def test_what_was_asked_for_is_no_negative_prompt(
    between: dict[str, Any], positive: list[Any], negative: list[Any], expected: str
) -> None:
    """Drawn again with it, the picture would be what it was not."""
    sampler = {"class_type": "KSampler", "inputs": {"positive": positive, "negative": negative}}
    graph = {"1": words("a fox"), "2": words("blurry"), **between, "9": sampler}
    picture = png(prompt=json.dumps(graph))

    assert read(picture).negative_prompt == expected
    with upright(picture) as image:
        assert prompt_of(texts_of(image)) == "a fox"


def test_civitais_json_in_a_comment() -> None:
    more = {"negativePrompt": "bad", "cfgScale": 3.5, "steps": 28, "seed": 7}
    told = {"width": 832, "height": 1216, "extraMetadata": json.dumps(more)}

    assert read(with_comment(json.dumps(told))) == DrawnWith("bad", 7, 28, 3.5, 832, 1216)


@pytest.mark.parametrize(("key", "target"), [("parameters", "a1111"), ("prompt", "comfyui-api")])
def test_our_exports_are_read_back(key: str, target: Any) -> None:
    recipe = RECIPE.model_copy(update={"negative_prompt": "bad (hands)", "mode": "sum"})

    texts: dict[str, Any] = {key: export(recipe, target)}
    assert read(png(**texts)) == DrawnWith("bad (hands)", 1, 20, 3.5, 512, 512)
    own = read(png(autolora_recipe=recipe.to_json()))
    assert own == DrawnWith("bad (hands)", 1, 20, 3.5, 512, 512, "sum")


def test_a_long_text_is_read_as_far_as_settings_may_reach() -> None:
    """Each letter of it may begin a name: of some MB of them, the whole server would wait."""
    told = "a fox\nSteps: 20, Seed: 5" + ", " * MAX_SETTINGS + "Size: 512x768"

    assert settings_of_parameters(told) == {"Steps": "20", "Seed": "5"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "null",
        "[]",
        '{"seed": true, "steps": 0, "guidance": 1e999, "width": -1, "height": "x"}',
        '{"1": null, "2": {"inputs": 3}, "3": {"inputs": {"seed": ["9", 0], "steps": ["3", 0]}}}',
        "a\nSteps: 99999999999999999999999, Seed: -1, Size: x, CFG scale: nan",
        "Steps",
    ],
)
def test_broken_texts_say_nothing(text: str) -> None:
    picture = png(parameters=text, prompt=text, workflow=text, autolora_recipe=text)
    assert not read(picture).is_known
