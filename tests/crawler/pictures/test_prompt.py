"""The words that pictures were asked for, as each program writes them down."""

import json

import pytest
from PIL import Image

from crawler.covers import upright
from crawler.pictures.prompt import prompt_of
from crawler.pictures.texts import EXIF_IFD, USER_COMMENT, texts_of
from tests.crawler.pictures.builders import COLOURED, encoded, with_comment
from tests.crawler.pictures.test_settings import GRAPH

TOLD = "a red fox, 猫\nNegative prompt: bad\nSteps: 20, Seed: 5"


def read(picture: bytes) -> str:
    with upright(picture) as image:
        return prompt_of(texts_of(image))


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + TOLD.encode("utf-16-be"),
        b"UNICODE\0" + TOLD.encode("utf-16-le"),
        b"UNICODE\0" + TOLD.encode(),
        b"ASCII\0\0\0" + TOLD.encode(),
        bytes(8) + TOLD.encode(),
        TOLD.encode(),
    ],
)
def test_comments_are_read_in_every_encoding_that_programs_write(comment: bytes) -> None:
    """Exif wants 8 bytes before a text that say which; some leave them out, some are wrong."""
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = comment

    assert read(encoded(COLOURED, "JPEG", exif=exif)) == "a red fox, 猫"


def test_the_prompt_of_civitais_json() -> None:
    """It stands in the metadata, in the JSON inside of it, or in the graph that was run."""
    prompt = {"prompt": r"a fox \(red\) <lora:x:1>", "negativePrompt": "bad"}

    assert read(with_comment(json.dumps(prompt))) == "a fox (red)"
    inside = {"extra": {"airs": []}, "extraMetadata": json.dumps(prompt)}
    assert read(with_comment(json.dumps(GRAPH | inside))) == "a fox (red)"
    assert read(with_comment(json.dumps(GRAPH | {"extra": {"airs": []}}))) == "a fox"


@pytest.mark.parametrize("told", ["{", "{}", '{"prompt": 3}', '{"prompt": {"1": null}}', "[]"])
def test_json_without_a_prompt_says_nothing(told: str) -> None:
    assert read(with_comment(told)) == ""
