"""Choose what the repository ships of the wide zoo, and write it to `demo/data/outside`.

These are adapters of sets and by authors that are kept for reports: neither the base nor the
encoder has seen anything of them. They are listed as adapters of the miniature world are.
"""

import argparse
import json
import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from demo.covers import MOST_SUBJECTS, Asked, best_covers, write_covers
from demo.listing import FIRST_UPDATE, SECONDS_BETWEEN_UPDATES, dated, listing_entry
from demo.paths import DATA, OUTSIDE, WIDE
from demo.world.concepts import Concept, Planner
from demo.world.sources import load_sources
from demo.world.splits import is_stranger
from demo.world.zoo import World
from demo.zoo import BARE_PROMPT
from encoder.adapter.lora_file import read

SHIPPED, MOST_BYTES = 36, 220_000
# No other entries have such numbers.
FIRST_NUMBER = 2_000
APART = 30 * SECONDS_BETWEEN_UPDATES
# Whoever has one of these demands most of those who use it.
STRICTEST = ("CC-BY-4.0", "OFL-1.1", "Apache-2.0", "MIT", "CC0-1.0")
OWNERS = (
    "fernweh", "oddgrid", "marrow-and-ink", "two-left-hands", "tinsmith", "halfpixel",
    "saltbox", "woolgather", "lanternfish", "dovetail", "plainsong", "copperplate",
)  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True)
class Listed:
    """What a listing is written of."""

    key: str
    kind: str
    split: str
    subject: str
    subject_zh: str
    trigger: str
    captions: tuple[str, str, str]
    captions_zh: tuple[str, str, str]


def choose(rows: list[Row], folder: Path) -> list[Row]:
    """Pick small ones, of all kinds, sets and authors alike."""
    left = [
        row
        for row in rows
        if row["split"] == "held-out"
        and is_stranger(row["sources"])
        and (folder / row["file"]).stat().st_size <= MOST_BYTES
    ]
    random.Random(0).shuffle(left)
    chosen: list[Row] = []
    had: Counter[str] = Counter()
    while left and len(chosen) < SHIPPED:
        row = min(left, key=lambda row: [had[row["kind"]], max(had[of] for of in shares(row))])
        left.remove(row)
        chosen.append(row)
        had.update([row["kind"], *shares(row)])
    return sorted(chosen, key=lambda row: str(row["file"]))


def shares(row: Row) -> list[str]:
    """Name what an adapter shares with others: its sets and its author."""
    return [*row["sources"], row["author"]["name"]]


def licence_of(sources: tuple[str, ...]) -> str:
    """The most demanding licence of the sets that it was trained on."""
    licences = {source.name: source.licence for source in load_sources()}
    return min((licences[source] for source in sources), key=STRICTEST.index)


def asked_of(planner: Planner, concept: Concept) -> list[Asked]:
    """Return what to draw of a concept."""
    pictures = planner.draw(concept)
    if concept.is_thing:
        return [(text, pictures) for text in (concept.thing, concept.trigger, BARE_PROMPT)]
    return [
        (f"{name}, {concept.trigger}", pictures[[place]])
        for place, name in enumerate(concept.names[:MOST_SUBJECTS])
    ]


def to_entry(
    row: Row, concept: Concept, number: int, others: list[Listed], owner: str
) -> dict[str, Any]:
    """List an adapter with its truth, which no hub serves."""
    listed, licence = to_listed(row, concept), licence_of(concept.sources)
    entry = listing_entry(listed, number, others, licence, owner)
    # Repositories of this hub have no other name than their own.
    entry["name"] = named_after(str(entry["display_name"])) or f"lora-{number}"
    # Listed between those of the miniature world.
    entry |= dated(FIRST_UPDATE + (number - FIRST_NUMBER) * APART)
    habits = {key: row["author"][key] for key in ("algorithm", "rank", "alpha", "layers", "lazy")}
    return entry | {"_sources": row["sources"], "_author": habits, "_question": row["question"]}


def named_after(title: str) -> str:
    """Return a title as a repository's name, or nothing where it has no Latin letters."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower())) if title.isascii() else ""


def to_listed(row: Row, concept: Concept) -> Listed:
    told = concept.told
    return Listed(
        key=concept.key,
        kind=concept.kind,
        split=row["split"],
        subject=told.captions[0],
        subject_zh=told.captions_zh[0],
        trigger=concept.trigger,
        captions=told.captions,
        captions_zh=told.captions_zh,
    )


def ship(folder: Path, base: Path) -> None:
    """Copy, list and draw what is chosen of the zoo in `folder`."""
    rows = [json.loads(line) for line in (folder / "zoo.jsonl").read_text().splitlines()]
    planner, world = Planner.load("held-out"), World.load(base)
    picked = choose(rows, folder)
    chosen = list(zip(picked, planner.concepts_of(picked), strict=True))
    listed = [to_listed(*own) for own in chosen]
    names = dict.fromkeys(row["author"]["name"] for row, _ in chosen)
    owners = dict(zip(names, OWNERS, strict=False))
    shutil.rmtree(OUTSIDE, ignore_errors=True)
    (OUTSIDE / "adapters").mkdir(parents=True)
    entries = []
    for place, (row, concept) in enumerate(track(chosen, "Adapters")):
        others = listed[:place] + listed[place + 1 :]
        owner = owners[row["author"]["name"]]
        entry = to_entry(row, concept, FIRST_NUMBER + place, others, owner)
        target = OUTSIDE / str(entry["file"])
        shutil.copyfile(folder / row["file"], target)
        covers = best_covers(world, asked_of(planner, concept), read(target), place)
        write_covers(entry, covers, OUTSIDE)
        entries.append(entry)
    told = json.dumps(entries, ensure_ascii=False, indent=1)
    (OUTSIDE / "listing.json").write_text(told + "\n")
    write_attribution({source for row, _ in chosen for source in row["sources"]})


def write_attribution(names: set[str]) -> None:
    own = [source for source in load_sources() if source.name in names]
    (OUTSIDE / "ATTRIBUTION.md").write_text(
        "# Art behind the adapters from outside\n\n"
        "They and their covers were trained on these openly licensed icon sets, rasterised to\n"
        "64×64 pixels, some recoloured, textured or given a background. An adapter of several\n"
        "carries the most demanding of their licences. Some of their Chinese names are from\n"
        "[CC-CEDICT](https://www.mdbg.net/chinese/dictionary?page=cc-cedict) (CC BY-SA 4.0).\n\n"
        "| set | by | npm package | licence |\n|---|---|---|---|\n"
        + "".join(
            f"| [{s.title}]({s.url}) | {s.author} | {s.package} {s.version} | {s.licence} |\n"
            for s in own
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=WIDE)
    parser.add_argument("--base", type=Path, default=DATA / "base")
    arguments = parser.parse_args()
    ship(arguments.folder, arguments.base)
