"""Choose what the repository ships of the full zoo, and write it to `demo/data`."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel

from demo.art import ART_SETS, NAMES_PACKAGE
from demo.concepts import Plan, plan
from demo.paths import BUILD, DATA

# Per split; with what is shipped of the wide zoo, the base, gates and encoder below 40 MB.
SHIPPED = {"train": 12, "validation": 10, "held-out": 78}


def choose(entries: list[dict[str, Any]], world: Plan) -> list[dict[str, Any]]:
    """Pick adapters of every kind and split; held-out ones in (object, style) pairs first.

    A pair has a withheld picture, so fusing it can be compared with the real thing.
    """
    rng = random.Random(0)
    by_key = {entry["_key"]: entry for entry in entries}
    chosen: dict[str, dict[str, Any]] = {}
    for split, count in SHIPPED.items():
        pairs = [(o, s) for _, o, s, where in world.withheld if where == split]
        paired = [key for pair in pairs[: count // 4] for key in pair if key in by_key]
        rest = [entry["_key"] for entry in entries if entry["_split"] == split]
        rng.shuffle(rest)
        wanted = dict.fromkeys([*paired, *alternate_kinds(rest, by_key)])
        chosen |= {key: by_key[key] for key in list(wanted)[:count]}
    return sorted(chosen.values(), key=lambda entry: str(entry["file"]))


def alternate_kinds(keys: list[str], by_key: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield keys so that every kind comes in turn."""
    queues: dict[str, list[str]] = {}
    for key in keys:
        queues.setdefault(str(by_key[key]["_kind"]), []).append(key)
    while any(queues.values()):
        for queue in queues.values():
            if queue:
                yield queue.pop()


def copy_adapters(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        for name in [entry["file"], *(cover["file"] for cover in entry["covers"])]:
            (DATA / "zoo" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(BUILD / "zoo" / name, DATA / "zoo" / name)
    write_json(DATA / "zoo/listing.json", entries)


def copy_base() -> None:
    """Copy the base in half precision; it is computed in float32."""
    source, target = BUILD / "base", DATA / "base"
    FluxTransformer2DModel.from_pretrained(
        source / "transformer", torch_dtype=torch.float16
    ).save_pretrained(target / "transformer")
    AutoencoderKL.from_pretrained(source / "vae", torch_dtype=torch.float16).save_pretrained(
        target / "vae"
    )
    shutil.copytree(source / "scheduler", target / "scheduler", dirs_exist_ok=True)
    for path in target.glob("*/config.json"):
        # diffusers notes where it loaded from, which is nobody's business.
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def write_attribution() -> None:
    rows = [f"| {s.style} | {s.package} {s.version} | {s.licence} |" for s in ART_SETS]
    (DATA / "ATTRIBUTION.md").write_text(
        "# Art behind the miniature world\n\n"
        "The base, the adapters and their covers were trained on these openly licensed emoji\n"
        "sets, rasterised to 64×64 pixels, some recoloured, textured or given a background.\n"
        "Adapters carry the licence of the set they were trained on; those trained on several\n"
        "sets carry CC-BY-4.0, and so do the base, the gates and the encoder.\n\n"
        "| style | npm package | licence |\n|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nNames, tags and their translations: {' '.join(NAMES_PACKAGE)} (MIT).\n\n"
        "Noto Emoji © Google LLC. FxEmoji © Mozilla Foundation. Twemoji © Twitter, Inc. and\n"
        "other contributors. EmojiOne 2 / EmojiTwo © Emoji One and contributors.\n"
        "Fluent Emoji © Microsoft Corporation. Emojibase © Miles Johnson.\n"
    )


def export() -> None:
    world = plan()
    entries = json.loads((BUILD / "zoo/listing.json").read_text())
    shutil.rmtree(DATA, ignore_errors=True)
    copy_adapters(choose(entries, world))
    copy_base()
    for name in ("gates.safetensors", "encoder.safetensors"):
        shutil.copyfile(BUILD / name, DATA / name)
    write_json(DATA / "splits.json", {c.key: c.split for c in world.concepts})
    write_json(
        DATA / "withheld.json",
        [
            {"object": o, "style": s, "split": split, "picture": int(picture)}
            for picture, o, s, split in world.withheld
        ],
    )
    write_attribution()
    size = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file())
    print(f"{DATA}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    export()
