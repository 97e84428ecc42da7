"""Changes to a safetensors file that leave its header sound, so that fuzzing gets past it."""

import json
import math
import random
import struct
from collections.abc import Callable
from typing import Any

from encoder.adapter.safetensors_header import DTYPE_BYTES

# Parts of names that some dialect or kind knows.
FRAGMENTS = (
    "lora_unet_", "lora_te1_", "lora_te3_", "lora_transformer_", "lycoris_", "transformer.",
    "unet.", "text_encoder.", "diffusion_model.", "base_model.model.", "bundle_emb.",
    "transformer_blocks", "single_transformer_blocks", "double_blocks", "single_blocks",
    "input_blocks", "down_blocks", "layers", ".attn.to_q", "_attn_to_q", "img_attn_qkv",
    "to_qkv_mlp", "linear1", "processor.qkv_lora1", ".lora_A", ".lora_B", ".lora_down",
    ".lora_up", ".lora_mid", ".alpha", ".weight", ".default", ".diff", ".diff_b", ".w_norm",
    ".b_norm", ".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".hada_t1", ".hada_t2",
    ".lokr_w1", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2", ".lokr_w2_a", ".lokr_w2_b", ".lokr_t2",
    ".dora_scale", ".lora_magnitude_vector", ".oft_blocks", ".reshape_weight", ".bias", ".0", "_0",
)  # fmt: skip
SIZES = (0, 1, 2, 3, 4, 8, 12, 16, 24, 32, 48, 64, 128, 1000, 4097)
METADATA = (
    "ss_base_model_version", "modelspec.architecture", "ss_network_module", "ss_tag_frequency",
    "lora_adapter_metadata", "modelspec.trigger_phrase", "ss_network_args", "software",
)  # fmt: skip
CLAIMS = (
    "flux1",
    "sdxl_base_v1-0",
    "sd_v1",
    "{",
    "[]",
    '{"transformer.r": 4}',
    "\x00",
    "",
    "é" * 9,
)
MAX_DATA = 200_000

Entries = dict[str, Any]


def mutate(data: bytes, max_size: int, seed: int, plain: Callable[[bytes, int], bytes]) -> bytes:
    """Return a file like `data`; `plain` is the fuzzer's own mutation of bytes."""
    chance = random.Random(seed)
    parsed = split(data)
    if parsed is None or chance.random() < 0.1:
        return bytes(plain(data, max_size))
    entries, body = parsed
    if chance.random() < 0.2:
        text = bytes(plain(json.dumps(entries).encode(), max_size // 2))
        return struct.pack("<Q", len(text)) + text + body
    for _ in range(chance.randint(1, 4)):
        change(entries, chance)
    if chance.random() < 0.2:
        body = bytes(plain(body or b"\0", max_size))
    return join(entries, body)


def split(data: bytes) -> tuple[Entries, bytes] | None:
    """Return the header's entries and the data of a file; None for what is none."""
    try:
        length = int.from_bytes(data[:8], "little")
        entries = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    names = {"dtype", "shape", "data_offsets"}
    sound = isinstance(entries, dict) and all(
        isinstance(entry, dict) and (key == "__metadata__" or entry.keys() >= names)
        for key, entry in entries.items()
    )
    return (entries, data[8 + length :]) if sound else None


def join(entries: Entries, body: bytes) -> bytes:
    """Lay tensors out one after another; data is repeated where there is too little."""
    position = 0
    for key, entry in entries.items():
        if key == "__metadata__":
            continue
        sizes = [size for size in entry["shape"] if isinstance(size, int)]
        count = math.prod(sizes) * DTYPE_BYTES.get(str(entry["dtype"]), 1)
        if not 0 <= count <= MAX_DATA - position:
            entry["shape"], count = [0], 0
        entry["data_offsets"] = [position, position + count]
        position += count
    text = json.dumps(entries).encode()
    body = (body * (position // max(1, len(body)) + 1))[:position].ljust(position, b"\0")
    return struct.pack("<Q", len(text)) + text + body


def change(entries: Entries, chance: random.Random) -> None:
    """Change one thing of the header."""
    keys = [key for key in entries if key != "__metadata__"]
    if not keys or chance.random() < 0.1:
        metadata = entries.setdefault("__metadata__", {})
        metadata[chance.choice(METADATA)] = chance.choice(CLAIMS)
        return
    key = chance.choice(keys)
    entry = entries[key]
    match chance.choice(("drop", "rename", "append", "copy", "resize", "reshape", "type")):
        case "drop":
            del entries[key]
        case "rename":
            known = [fragment for fragment in FRAGMENTS if fragment in key] or [key[:1]]
            other = key.replace(chance.choice(known), chance.choice(FRAGMENTS), 1)
            entries[other] = entries.pop(key)
        case "append":
            entries[key.rsplit(".", 1)[0] + chance.choice(FRAGMENTS)] = dict(entry)
        case "copy":
            entries[key] = dict(entries[chance.choice(keys)])
        case "resize" if entry["shape"]:
            shape = list(entry["shape"])
            shape[chance.randrange(len(shape))] = chance.choice(SIZES)
            entry["shape"] = shape
        case "reshape":
            entry["shape"] = [chance.choice(SIZES) for _ in range(chance.randint(0, 5))]
        case "type":
            entry["dtype"] = chance.choice([*DTYPE_BYTES, "F7"])
