"""Made-up adapters of any size and number, as a folder that a loopback hub serves."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from encoder.base_models.families import find_family

Entry = dict[str, Any]
FIRST_CHANGE, SECONDS_APART = 1_735_689_600, 60  # 2025-01-01


def write_lora(path: Path, base_model: str, rank: int, seed: int) -> None:
    """Write a sound LoRA for all layers of a base model, in float16."""
    family = find_family(base_model)
    assert family is not None
    numbers = np.random.default_rng(seed)
    tensors = {}
    for name in family.block_layers:
        rows, columns = family.layers[name]
        for key, shape in (("lora_A", (rank, columns)), ("lora_B", (rows, rank))):
            drawn = 0.05 * numbers.standard_normal(shape, dtype=np.float32)
            tensors[f"transformer.{name}.{key}.weight"] = drawn.astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"ss_base_model_version": base_model})


def write_cover(path: Path, seed: int) -> None:
    """Write a smooth picture, another one for each seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).save(stream, "WEBP")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue())


def entry_of(number: int, file: str, **what_matters: Any) -> Entry:
    """Return what a hub lists of an adapter, without covers but for those that are named."""
    return {
        "owner": f"author-{number % 97}",
        "name": f"thing-{number}",
        "version_id": 1_000_000 + number,
        "model_id": number + 1,
        "display_name": f"Thing {number}",
        "description": f"Draws thing number {number}.",
        "tags": ["LoRA"],
        "trigger_words": [f"thing{number}"],
        "base_model": "AutoLoRA/demo-flux-tiny",
        "licence": "apache-2.0",
        "downloads": number,
        "created_at": FIRST_CHANGE,
        "updated_at": FIRST_CHANGE + number * SECONDS_APART,
        "file": file,
        "covers": [],
        **what_matters,
    }


def write_listing(folder: Path, entries: list[Entry]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "listing.json").write_text(json.dumps(entries))
    return folder


def write_small(folder: Path, count: int) -> Path:
    """Write `count` different adapters for the demo's base, each with a cover and its prompt."""
    entries = []
    for number in range(count):
        file, cover = f"adapters/{number}.safetensors", f"covers/{number}.webp"
        write_lora(folder / file, "demo-flux-tiny", 2, number)
        write_cover(folder / cover, number)
        covers = [{"file": cover, "prompt": f"a picture of thing number {number}"}]
        entries.append(entry_of(number, file, covers=covers))
    return write_listing(folder, entries)


def write_large(folder: Path, base_models: Mapping[str, str], rank: int) -> Path:
    """Write one adapter for each file name, for the base model that it is mapped to.

    All are listed as for FLUX.1-dev, whatever they are for.
    """
    entries = []
    for number, (file, base_model) in enumerate(base_models.items()):
        write_lora(folder / file, base_model, rank, number)
        entries.append(entry_of(number, file, base_model="black-forest-labs/FLUX.1-dev"))
    return write_listing(folder, entries)


def write_many(folder: Path, count: int) -> Path:
    """Write a listing of `count` adapters, which all have one file: nobody is to fetch it."""
    write_lora(folder / "one.safetensors", "demo-flux-tiny", 2, 0)
    return write_listing(folder, [entry_of(number, "one.safetensors") for number in range(count)])
