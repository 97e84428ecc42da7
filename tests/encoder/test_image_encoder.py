"""Pictures -> embeddings, by models that are built here with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from encoder.errors import ImageEncoderError
from encoder.image_encoder import ImageEncoder
from tests.crawler.builders import image_bytes
from tests.crawler.pictures.builders import opened

SIDE = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
HEADS = {"num_attention_heads": 2}


def save_clip(folder: Path, seed: int = 0) -> Path:
    """Write the folder of a tiny CLIP, as transformers saves one."""
    torch.manual_seed(seed)
    text = {**SIDE, **HEADS, "vocab_size": 99, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**SIDE, **HEADS, "image_size": 32, "patch_size": 8}
    CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    ).save_pretrained(folder)
    return with_processor(folder, "CLIPImageProcessor")


def with_processor(folder: Path, kind: str) -> Path:
    facts = {
        "image_processor_type": kind,
        "size": {"height": 32, "width": 32},
        "do_center_crop": False,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


def pictures() -> list[Image.Image]:
    return [opened(image_bytes(seed, (64, 48))) for seed in range(3)]


def test_embeddings_have_length_1_and_are_of_the_picture(clip: Path) -> None:
    encoder = ImageEncoder(clip)

    embeddings = encoder.encode(pictures())

    assert embeddings.shape == (3, 24)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1, abs=1e-5)
    assert embeddings[0] == pytest.approx(encoder.encode(pictures()[:1])[0], abs=1e-5)
    assert abs(embeddings[0] @ embeddings[1]) < 0.9999


def test_siglip_works_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = {**SIDE, **HEADS, "vocab_size": 99, "projection_size": 32, "pad_token_id": 0}
    text |= {"bos_token_id": 1, "eos_token_id": 2}
    vision = {**SIDE, **HEADS, "image_size": 32, "patch_size": 8}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(tmp_path)

    encoder = ImageEncoder(with_processor(tmp_path, "SiglipImageProcessor"))

    assert encoder.encode(pictures()).shape == (3, 32)


def test_a_name_is_of_the_weights(clip: Path, tmp_path: Path) -> None:
    """Embeddings of two models must never be compared."""
    names = {ImageEncoder(save_clip(tmp_path / str(seed), seed)).name for seed in (0, 1)}

    assert len(names) == 2
    assert ImageEncoder(clip).name in names
    assert all(name.startswith("clip-") for name in names)


def test_what_is_no_model_is_said_at_once(tmp_path: Path) -> None:
    for words in ("No such file", "needs a config.json and"):
        with pytest.raises(ImageEncoderError, match=words):
            ImageEncoder(tmp_path)
        (tmp_path / "config.json").write_text('{"model_type": "clip"}')


def test_a_folder_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "model.safetensors").write_bytes(b"nothing")

    with pytest.raises(ImageEncoderError, match="REGISTRY_IMAGE_ENCODER") as caught:
        ImageEncoder(tmp_path).encode(pictures())

    assert "\n" not in str(caught.value)


def test_pickles_are_not_read(clip: Path, tmp_path: Path) -> None:
    for path in clip.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")

    with pytest.raises(ImageEncoderError, match="safetensors"):
        ImageEncoder(tmp_path)
