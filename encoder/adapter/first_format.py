"""cloneofsimo's files, the first LoRAs of Stable Diffusion: tensors are numbered, not named.

`unet:{i}:up` and `unet:{i}:down` stand for the i-th layer that its trainer met on its walk
through the UNet [1]: `down_blocks`, `up_blocks`, then `mid_block`; in a block attentions before
residual blocks. Diffusers moved a block's feed-forward from before its second attention to
behind it with 0.15, and the file does not say which it was: shapes do.

- [1] https://github.com/cloneofsimo/lora lora_diffusion/lora.py, `_find_modules_v2`
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from encoder.adapter.safetensors_header import Header, TensorInfo
from encoder.base_models.families import Family, find_family
from encoder.errors import UnsupportedLoraError

KEY = re.compile(r"(unet|text_encoder):(0|[1-9]\d{0,5}):(up|down)", re.ASCII)
SUFFIXES = {"down": "lora_down.weight", "up": "lora_up.weight"}
# Marks what was renamed; key_parts.py knows it as a prefix of its own.
PREFIX = "cloneofsimo.unet."
BASES = ("sd-1.5", "sd-2.1")
RESNET_LAYERS = ("conv1", "time_emb_proj", "conv2", "conv_shortcut")
TEXT_LAYERS = ("k_proj", "v_proj", "q_proj", "out_proj")

Shape = tuple[int, ...]


def name_first_format(file: str | Path, header: Header) -> Header:
    """Return a header in which the tensors of such a file have names; any other as it is.

    Raises:
        UnsupportedLoraError: it is such a file, and its layers cannot be told for certain.
    """
    numbered = {key: match for key in header.tensors if (match := KEY.fullmatch(key))}
    if not numbered:
        return header
    order = _find_order(file, header)
    tensors: dict[str, TensorInfo] = {}
    for key, info in header.tensors.items():
        match = numbered.get(key)
        if match is None:
            tensors[f"bundle_emb.{key}" if key.startswith("<") else key] = info
            continue
        part, index, side = match[1], int(match[2]), match[3]
        if part == "unet":
            name = f"{PREFIX}{order[index]}"
        else:
            layer, projection = divmod(index, len(TEXT_LAYERS))
            name = f"text_encoder.text_model.encoder.layers.{layer}.self_attn."
            name += TEXT_LAYERS[projection]
        tensors[f"{name}.{SUFFIXES[side]}"] = info
    return Header(tensors, header.metadata, header.data_start)


def _find_order(file: str | Path, header: Header) -> list[str]:
    """Return the UNet's layers in the file's order; empty where it changes none."""
    shapes = {}
    for index in range(len(header.tensors)):
        pair = [header.tensors.get(f"unet:{index}:{side}") for side in ("up", "down")]
        if pair[0] is None or pair[1] is None:
            break
        shapes[index] = (pair[0].shape[:1], pair[1].shape[1:])
    count = len({m[2] for key in header.tensors if (m := KEY.fullmatch(key)) and m[1] == "unet"})
    if not count:
        return []
    extended = _is_extended(header.metadata)
    for base in BASES:
        family = find_family(base)
        assert family is not None
        for feed_first in (True, False):
            order = list(walk(family, feed_first=feed_first, extended=extended))
            if len(order) == len(shapes) == count and _agree(family, order, shapes):
                return order
    raise UnsupportedLoraError(
        file,
        f"is in cloneofsimo's format of numbered layers (unet:0:up), and its {count} layers "
        "are not those that its trainer changes in a known base model",
    )


def _is_extended(metadata: Mapping[str, str]) -> bool:
    try:
        targets = json.loads(metadata.get("unet", "[]"))
    except (ValueError, RecursionError):
        return False
    return isinstance(targets, list) and "ResnetBlock2D" in targets


def _agree(family: Family, order: list[str], shapes: Mapping[int, tuple[Shape, Shape]]) -> bool:
    """Whether every layer's outputs and inputs are those of its place."""
    for index, name in enumerate(order):
        expected = family.layers.get(name) or family.convolutions[name]
        outputs, inputs = shapes[index]
        if (*outputs, *inputs) != expected:
            return False
    return True


def walk(family: Family, *, feed_first: bool, extended: bool = False) -> Iterator[str]:
    """Yield the layers of a UNet as the trainer meets them; `feed_first` until diffusers 0.14."""
    blocks: dict[str, list[str]] = {}
    for name in family.layers:
        part, number, *_ = name.split(".")
        block = part if part == "mid_block" else f"{part}.{number}"
        if part in ("down_blocks", "up_blocks", "mid_block"):
            blocks.setdefault(block, []).append(name)
    for block in sorted(blocks, key=_place):
        yield from _attention_layers(blocks[block], feed_first)
        if extended:
            yield from _resnet_layers(family, block)


def _place(block: str) -> tuple[int, str]:
    return ("down_blocks", "up_blocks", "mid_block").index(block.partition(".")[0]), block


def _attention_layers(names: list[str], feed_first: bool) -> Iterator[str]:
    transformers: dict[str, list[str]] = {}
    for name in names:
        transformer, _, layer = name.partition(".transformer_blocks.0.")
        if layer.startswith(("attn1.", "attn2.")) or layer == "ff.net.0.proj":
            transformers.setdefault(transformer, []).append(layer)
    parts = ("attn1", "ff", "attn2") if feed_first else ("attn1", "attn2", "ff")
    for transformer, layers in transformers.items():
        for part in parts:
            for layer in layers:
                if layer.startswith(f"{part}."):
                    yield f"{transformer}.transformer_blocks.0.{layer}"


def _resnet_layers(family: Family, block: str) -> Iterator[str]:
    numbers = {
        int(name.removeprefix(f"{block}.resnets.").partition(".")[0])
        for name in family.convolutions
        if name.startswith(f"{block}.resnets.")
    }
    for number in sorted(numbers):
        for layer in RESNET_LAYERS:
            name = f"{block}.resnets.{number}.{layer}"
            if family.shape_of(name):
                yield name
