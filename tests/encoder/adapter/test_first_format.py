"""Files of numbered layers: named by shapes, or refused."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from encoder.adapter.first_format import walk
from encoder.adapter.lora_file import inspect, read
from encoder.adapter.safetensors_header import read_header
from encoder.base_models.families import Family, find_family
from encoder.errors import UnsupportedLoraError
from tests.encoder.builders import write_tensors

SD15, SD21 = (family for name in ("sd-1.5", "sd-2.1") if (family := find_family(name)))
DEFAULT = ["GEGLU", "CrossAttention", "Attention"]
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0."


def numbered(family: Family, *, feed_first: bool, extended: bool = False) -> dict[str, Tensor]:
    """A file of rank 1 as the trainer writes it: every number tells its layer."""
    tensors: dict[str, Tensor] = {}
    for index, name in enumerate(walk(family, feed_first=feed_first, extended=extended)):
        shape = family.shape_of(name)
        assert shape
        outputs, inputs, *kernel = shape
        ones = [1] * len(kernel)
        tensors[f"unet:{index}:up"] = torch.full((outputs, 1, *ones), float(index + 1))
        tensors[f"unet:{index}:down"] = torch.full((1, inputs, *kernel), 1.0)
    for index in range(48):
        tensors[f"text_encoder:{index}:up"] = torch.ones(768, 1)
        tensors[f"text_encoder:{index}:down"] = torch.ones(1, 768)
    tensors["<s1>"] = torch.ones(768)
    return tensors


def save(folder: Path, tensors: dict[str, Tensor], targets: list[str] = DEFAULT) -> Path:
    metadata = {"unet": json.dumps(targets), "<s1>": "<embed>"}
    return write_tensors(folder / "x.safetensors", tensors, metadata)


@pytest.mark.parametrize("feed_first", [True, False])
def test_shapes_tell_the_order_of_the_layers(tmp_path: Path, feed_first: bool) -> None:
    """Diffusers moved the feed-forward; read the other way, 80 of 144 layers are others."""
    path = save(tmp_path, numbered(SD15, feed_first=feed_first))

    weights = read(path)

    assert len(weights.layers) == 144
    feed, second = (5, 6) if feed_first else (9, 5)
    assert weights.layers[f"{BLOCK}ff.net.0.proj"].delta()[0, 0] == feed
    assert weights.layers[f"{BLOCK}attn2.to_q"].delta()[0, 0] == second
    # The middle block is registered last.
    assert (
        weights.layers["mid_block.attentions.0.transformer_blocks.0.attn1.to_q"].delta()[0, 0]
        == 136
    )
    verdict = weights.verdict
    assert (verdict.base_model, verdict.confidence, verdict.format) == (
        "sd-1.5", "certain", "cloneofsimo",
    )  # fmt: skip
    assert verdict.parts == {"unet": 144, "text_encoder": 48, "embeddings": 1}
    assert inspect(read_header(path), path).layers == 144


def test_convolutions_and_the_next_base_are_told_too(tmp_path: Path) -> None:
    tensors = numbered(SD21, feed_first=True, extended=True)
    targets = [*DEFAULT, "ResnetBlock2D"]
    tensors = {key: value for key, value in tensors.items() if not key.startswith("text")}

    verdict = read(save(tmp_path, tensors, targets)).verdict

    assert (verdict.base_model, verdict.layers) == ("sd-2.1", 224)


def test_layers_that_cannot_be_told_are_refused(tmp_path: Path) -> None:
    tensors = numbered(SD15, feed_first=True)
    del tensors["unet:143:up"], tensors["unet:143:down"]

    with pytest.raises(UnsupportedLoraError, match=r"numbered layers .* its 143 layers"):
        read(save(tmp_path, tensors))

    tensors = numbered(SD15, feed_first=True)
    tensors["unet:007:up"] = tensors.pop("unet:7:up")
    with pytest.raises(UnsupportedLoraError, match="numbered layers"):
        read(save(tmp_path, tensors))

    tensors = numbered(SD15, feed_first=True)
    tensors[f"text_encoder:{'9' * 20}:up"] = tensors.pop("text_encoder:7:up")
    verdict = read(save(tmp_path, tensors)).verdict
    assert not verdict.fusable
    assert verdict.unmatched[0].startswith("text_encoder:999")
    assert len(verdict.reasons[0]) < 200
