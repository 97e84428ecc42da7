"""Fetch openly licensed emoji sets from npm and rasterise them to one aligned array.

Run `python -m demo.art` once; every later step reads `art.npz` and `names.json`.
Each set is a *style*; an emoji's CLDR name joins the sets, so that one *object*
exists in up to eight styles.
"""

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track

from demo.paths import BUILD

SIZE = 64
# Rendered larger and reduced with Lanczos: resvg's own antialiasing is poor at such sizes.
RENDER_SIZE = 192


@dataclass(frozen=True)
class ArtSet:
    """One emoji set on npm: a drawing style, with its licence."""

    style: str
    package: str
    version: str
    licence: str


ART_SETS = (
    ArtSet("noto", "@iconify-json/noto", "1.2.9", "Apache-2.0"),
    ArtSet("noto-v1", "@iconify-json/noto-v1", "1.2.5", "Apache-2.0"),
    ArtSet("fxemoji", "@iconify-json/fxemoji", "1.2.2", "Apache-2.0"),
    ArtSet("twemoji", "@iconify-json/twemoji", "1.2.5", "CC-BY-4.0"),
    ArtSet("emojione", "@iconify-json/emojione", "1.2.3", "CC-BY-4.0"),
    ArtSet("emojione-mono", "@iconify-json/emojione-monotone", "1.2.1", "CC-BY-4.0"),
    ArtSet("fluent-flat", "@iconify-json/fluent-emoji-flat", "1.2.6", "MIT"),
    ArtSet("fluent-line", "@iconify-json/fluent-emoji-high-contrast", "1.2.6", "MIT"),
)
STYLES = tuple(art_set.style for art_set in ART_SETS)
NAMES_PACKAGE = ("emojibase-data", "17.0.0")
# People differ by a few pixels of hair; flags are rectangles.
LEFT_OUT_GROUPS = {"people-body", "flags"}


def fetch_package(package: str, version: str, folder: Path) -> Path:
    """Download one npm package with the `npm` client and unpack it; return its folder."""
    target = folder / f"{package.replace('@', '').replace('/', '-')}-{version}"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run(
        ["npm", "pack", "--silent", f"{package}@{version}"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    unpacked = target.with_suffix(".partial")
    with tarfile.open(folder / packed) as archive:
        archive.extractall(unpacked, filter="data")
    (unpacked / "package").rename(target)
    unpacked.rmdir()
    (folder / packed).unlink()
    return target


def read_names(folder: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Read names and tags in English and Chinese.

    Returns the names, and a look-up from a normalised label or shortcode to its index.
    """
    names: list[dict[str, Any]] = []
    index: dict[str, int] = {}
    by_hexcode: dict[str, int] = {}
    for hexcode, entry in list_emoji(folder):
        if entry["group"] not in LEFT_OUT_GROUPS:
            by_hexcode[hexcode] = len(names)
            index.setdefault(normalise(entry["label"]), len(names))
            names.append(entry)
    for hexcode, code in list_shortcodes(folder):
        if hexcode in by_hexcode:
            index.setdefault(normalise(code), by_hexcode[hexcode])
    return names, index


def list_emoji(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each emoji's hexcode with its names, tags and groups, but parts of emoji."""
    chinese = {e["hexcode"]: e for e in json.loads((folder / "zh/data.json").read_text())}
    messages = {
        lang: json.loads((folder / lang / "messages.json").read_text()) for lang in ("en", "zh")
    }
    groups = {g["order"]: g["key"] for g in messages["en"]["groups"]}
    subgroups = {
        lang: {s["order"]: s["message"] for s in messages[lang]["subgroups"]}
        for lang in ("en", "zh")
    }
    for entry in json.loads((folder / "en/data.json").read_text()):
        group = groups.get(entry.get("group"), "component")
        if group == "component":
            continue
        translated = chinese[entry["hexcode"]]
        yield (
            entry["hexcode"],
            {
                "label": entry["label"],
                "label_zh": translated["label"],
                "tags": entry.get("tags", []),
                "tags_zh": translated.get("tags", []),
                "group": group,
                "subgroup": subgroups["en"][entry["subgroup"]],
                "subgroup_zh": subgroups["zh"][entry["subgroup"]],
            },
        )


def list_shortcodes(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield hexcodes of emoji, each with one of the words that programs have for it."""
    for path in sorted((folder / "en/shortcodes").glob("*.json")):
        for hexcode, codes in json.loads(path.read_text()).items():
            for code in [codes] if isinstance(codes, str) else codes:
                yield hexcode, code


def normalise(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("&", "and"))


def rasterise(svg: str) -> npt.NDArray[np.uint8] | None:
    """Render an SVG to RGBA (64, 64, 4), alpha straight; None if resvg refuses it."""
    image = render(svg, RENDER_SIZE)
    return None if image is None else shrink(image, Image.Resampling.LANCZOS)


def render(svg: str, side: int) -> Image.Image | None:
    """Draw an SVG, RGBA; None if resvg refuses it."""
    import resvg_py

    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
    except ValueError:
        return None
    return Image.open(io.BytesIO(png)).convert("RGBA")


def shrink(image: Image.Image, how: Image.Resampling) -> npt.NDArray[np.uint8]:
    """Shrink a picture to RGBA (64, 64, 4), alpha straight."""
    # Premultiplied while resizing, or the invisible black would bleed into the edge.
    small = image.convert("RGBa").resize((SIZE, SIZE), how)
    return np.asarray(small.convert("RGBA"))


def list_svgs(folder: Path, index: dict[str, int]) -> list[tuple[int, str]]:
    """List (name index, SVG) for every icon of a set that has a known name."""
    icons = json.loads((folder / "icons.json").read_text())
    found: dict[int, str] = {}
    for icon_name, icon in icons["icons"].items():
        name = index.get(normalise(icon_name))
        if name is None or name in found:
            continue
        left, top = icon.get("left", 0), icon.get("top", 0)
        width = icon.get("width", icons.get("width", 16))
        height = icon.get("height", icons.get("height", 16))
        body = icon["body"].replace("currentColor", "#222222")
        found[name] = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" color="#222">{body}</svg>'
        )
    return list(found.items())


def build(folder: Path) -> None:
    """Write `art.npz` (rgba uint8 (n, 64, 64, 4), style, name) and `names.json`."""
    packages = folder / "packages"
    names, index = read_names(fetch_package(*NAMES_PACKAGE, packages))
    jobs = [
        (style, name, svg)
        for style, art_set in enumerate(ART_SETS)
        for name, svg in list_svgs(fetch_package(art_set.package, art_set.version, packages), index)
    ]
    with ProcessPoolExecutor() as pool:
        rendered = pool.map(rasterise, [svg for _, _, svg in jobs], chunksize=64)
        images = list(track(rendered, "Rasterising", total=len(jobs)))
    kept = [k for k, image in enumerate(images) if image is not None]
    np.savez_compressed(
        folder / "art.npz",
        rgba=np.stack([images[k] for k in kept]),  # type: ignore[misc]
        style=np.array([jobs[k][0] for k in kept], dtype=np.int64),
        name=np.array([jobs[k][1] for k in kept], dtype=np.int64),
    )
    (folder / "names.json").write_text(json.dumps(names, ensure_ascii=False, indent=1))
    shown = len({jobs[k][1] for k in kept})
    print(f"{len(kept)} images of {shown} names, {len(jobs) - len(kept)} refused")


if __name__ == "__main__":
    build(BUILD)
