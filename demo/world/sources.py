"""The art's sources: which packages, by whom, under which licence, and in which split.

`sources.json` is the list. Each set is on npm; its *looks* are ways of drawing that its icons'
names tell apart (`-fill`, `-thin`, `twotone-`). Sets of the splits "validation" and "held-out"
are never trained on: they are art from outside, for questions about art from outside. Those of the
split "beliefs" are from outside too: by adapters of them an encoder learns whom to believe where
all is strange.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

SOURCES = Path(__file__).parent / "sources.json"

Split = Literal["train", "validation", "held-out", "beliefs"]


@dataclass(frozen=True)
class Look:
    """One way of drawing."""

    style: str
    words: tuple[str, ...]
    words_zh: tuple[str, ...]
    inks: tuple[str, ...]  # empty: the set has its own colours
    split: Split


@dataclass(frozen=True)
class Source:
    """One icon set on npm, with its attribution."""

    package: str
    version: str
    title: str
    author: str
    url: str
    licence: str
    split: Split
    looks: dict[str, Look | None]  # by affix of the icon's name; None: left out

    @property
    def name(self) -> str:
        """The package's name without its scope, as adapters name their sources."""
        return self.package.split("/")[-1]

    def look_of(self, icon: str) -> tuple[Look | None, str]:
        """Tell an icon's look, and its name without the look's affix."""
        for affix in sorted(self.looks, key=len, reverse=True):
            if affix.startswith("-") and icon.endswith(affix):
                return self.looks[affix], icon.removesuffix(affix)
            if affix.endswith("-") and icon.startswith(affix):
                return self.looks[affix], icon.removeprefix(affix)
        return self.looks.get(""), icon


@cache
def load_sources() -> tuple[Source, ...]:
    """Read every source, in the order of the file."""
    return tuple(
        Source(
            **{key: value for key, value in entry.items() if key != "looks"},
            looks={
                affix: None if look is None else read_look(look, entry["split"])
                for affix, look in entry["looks"].items()
            },
        )
        for entry in json.loads(SOURCES.read_text())
    )


def read_look(look: dict[str, list[str]], split: Split) -> Look:
    return Look(
        style=str(look["style"]),
        words=tuple(look["words"]),
        words_zh=tuple(look["words_zh"]),
        inks=tuple(look.get("inks", ())),
        split=split,
    )


def load_looks() -> tuple[Look, ...]:
    """Read every look of every source; pictures refer to one by its place."""
    return tuple(look for source in load_sources() for look in source.looks.values() if look)
