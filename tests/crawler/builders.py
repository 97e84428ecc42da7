"""A small zoo on disk for the loopback hub: real files in real formats, tiny."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

Entry = dict[str, Any]
DAY_SECONDS = 86_400
FIRST_DAY = 1_735_689_600  # 2025-01-01


def image_bytes(seed: int = 0, size: tuple[int, int] = (32, 32), kind: str = "WEBP") -> bytes:
    """Return a smooth picture, different for every seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(stream, kind)
    return stream.getvalue()


def write_adapter(path: Path, seed: int = 0, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file like a small LoRA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed)
    layer = "transformer.transformer_blocks.0.attn.to_q"
    tensors = {
        f"{layer}.lora_A.weight": numbers.normal(size=(4, 128)).astype(np.float16),
        f"{layer}.lora_B.weight": numbers.normal(size=(128, 4)).astype(np.float16),
    }
    save_file(tensors, path, metadata=metadata)


def add_entry(folder: Path, name: str, **what_matters: Any) -> Entry:
    """Write one adapter with a cover and add it to the folder's listing.json.

    Adapters change a day apart, in the order in which they are added.
    """
    listing = folder / "listing.json"
    entries: list[Entry] = json.loads(listing.read_text()) if listing.exists() else []
    number = len(entries)
    file, cover = f"adapters/{name}-{number}.safetensors", f"covers/{name}-{number}.webp"
    entry: Entry = {
        "owner": "alice",
        "name": name,
        "version_id": 100 + number,
        "model_id": 10 + number,
        "display_name": f"The {name}",
        "description": f"Draws a {name}.",
        "tags": ["LoRA"],
        "trigger_words": [name],
        "base_model": "AutoLoRA/demo-flux-tiny",
        "licence": "apache-2.0",
        "downloads": number,
        "created_at": FIRST_DAY,
        "updated_at": FIRST_DAY + number * DAY_SECONDS,
        "file": file,
        "covers": [{"file": cover, "prompt": f"a {name} on white"}],
        "_split": "held-out",
        **what_matters,
    }
    write_adapter(folder / file, seed=number)
    (folder / "covers").mkdir(exist_ok=True)
    (folder / cover).write_bytes(image_bytes(number))
    listing.write_text(json.dumps([*entries, entry], ensure_ascii=False))
    return entry


class Clock:
    """A clock that moves when somebody sleeps, or as told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
