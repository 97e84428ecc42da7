"""Files of weights with what lies beside them, and how they compare with what is remembered."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crawler.peft_config import PEFT_STEM
from crawler.records import Remembered, Stamp
from crawler.sources.folder.names import is_stage, why_not_stored
from crawler.sources.folder.previews import KINDS, PREVIEWS
from crawler.sources.folder.sidecars import BY_NAME, BY_SUFFIX, Reader
from crawler.sources.folder.walking import Directory, Entry, walk

SUFFIX = ".safetensors"
# The same format under a shorter name, which ComfyUI and Forge read.
SHORT_SUFFIX = ".sft"
CARD = "README.md"
# Where Hugging Face's editor puts the pictures of a card.
CARD_PICTURES = "images"
# What aria2 and axel keep beside a file until all of it is there: it has its full size at once, and
# zeros where nothing came yet. Other programs give a file its name when it is complete.
UNFINISHED = (".aria2", ".st")
# To be changed with what is read of sidecars and pictures: they are then read again.
READER = "beside-5"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of weights; `name` is its path from the folder that was given."""

    name: str
    entry: Entry
    # With what reads them, the most trusted first.
    sidecars: tuple[tuple[Entry, Reader], ...]
    # Its covers, in their order.
    pictures: tuple[Entry, ...]
    stamp: Stamp


@dataclass(slots=True)
class Tree:
    """A folder's directories by their path."""

    root: Path
    directories: dict[Path, Directory] = field(default_factory=dict)
    # What tells whether a card's pictures have changed, by the card's folder.
    _card_pictures: dict[Path, list[tuple[str, int, int, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> "Tree":
        """Look at all that is below a folder."""
        return cls(root, {directory.path: directory for directory in walk(root)})

    def files(self) -> dict[str, FoundFile]:
        """Return the files of weights whose names can be stored, by name."""
        found = (
            self._find_beside(entry, directory, is_alone=len(weights) == 1)
            for directory in self.directories.values()
            if (weights := _weights(directory))
            for entry in weights
            if why_not_stored(entry.path) is None
        )
        return {file.name: file for file in found}

    def find(self, path: Path) -> Entry | None:
        """Return a file by its path, if it was found."""
        directory = self.directories.get(path.parent)
        return directory.find(path.name) if directory else None

    def why_unfinished(self, file: FoundFile) -> str:
        """Say why a file is still being downloaded; "" if it is not."""
        directory, name = self.directories[file.entry.path.parent], file.entry.path.name
        beside = (directory.find(name + end) for end in UNFINISHED)
        reasons = (f"is still being downloaded: {e.path.name} lies beside it" for e in beside if e)
        return next(reasons, "")

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _find_beside(self, entry: Entry, directory: Directory, *, is_alone: bool) -> FoundFile:
        stem = entry.path.name[: -len(SUFFIX)]
        # Beside several files it is one's, and nobody knows whose: `hf download` puts a card into
        # a folder of many. The rule is that of `read_config_beside`.
        has_shared = is_alone or stem == PEFT_STEM
        by_suffix = ((directory.find(stem + end), read) for end, read in BY_SUFFIX.items())
        shared = BY_NAME if has_shared else {}
        by_name = ((self._find_shared(name, directory), read) for name, read in shared.items())
        sidecars = tuple((e, read) for e, read in (*by_suffix, *by_name) if e is not None)
        pictures = [directory.find(stem + end) for end in PREVIEWS]
        shown = tuple({e.path: e for e in pictures if e is not None}.values())
        beside = [e.cheap for e in (*(e for e, _ in sidecars), *shown)]
        card = self._find_shared(CARD, directory) if has_shared else None
        if card is not None:
            beside += self._pictures_around(card.path.parent)
        digest = hashlib.sha256(repr((READER, beside)).encode("utf-8", "surrogateescape"))
        stamp = stamp_of(entry.facts, digest.hexdigest()[:16])
        return FoundFile(self.name(entry.path), entry, sidecars, shown, stamp)

    def _find_shared(self, name: str, directory: Directory) -> Entry | None:
        """Find what is about a folder's adapter; a stage of a run has its run's."""
        entry = directory.find(name)
        above = self.directories.get(directory.path.parent)
        if entry is None and above is not None and is_stage(directory.path.name):
            return above.find(name) if len(_weights(above)) <= 1 else None
        return entry

    def _pictures_around(self, folder: Path) -> list[tuple[str, int, int, int]]:
        """What tells whether any picture has changed that a card in this folder may name."""
        if folder not in self._card_pictures:
            around = map(self.directories.get, (folder, folder / CARD_PICTURES))
            entries = (e for directory in around if directory for e in directory.entries.values())
            self._card_pictures[folder] = [
                e.cheap for e in entries if e.path.suffix.lower() in KINDS
            ]
        return self._card_pictures[folder]


def _weights(directory: Directory) -> list[Entry]:
    return [e for e in directory.entries.values() if e.path.suffix.lower() == SUFFIX]


def stamp_of(facts: os.stat_result, beside: str) -> Stamp:
    return Stamp(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, beside)


def find_moved(found: Mapping[str, FoundFile], before: Mapping[str, Remembered]) -> dict[str, str]:
    """Return new names with the old ones, of files whose entries tell that they were renamed.

    The file that is now under an old name, if any, is another one. A name that was known and is
    still there moves only onto one that has vanished: of two files that changed places, each
    counts as changed.
    """
    away: dict[tuple[int, int, int], str] = {}
    # Those that are gone come last: what was here just now is more likely to have been moved.
    for old, kept in sorted(before.items(), key=lambda item: item[1].is_gone):
        now = found.get(old)
        if kept.stamp and not (now and _is_still(now.stamp, kept.stamp)):
            away.setdefault(kept.stamp.content, old)
    moved: dict[str, str] = {}
    for name, file in found.items():
        content, known = file.stamp.content, before.get(name)
        if content not in away or (known and known.stamp and known.stamp.content == content):
            continue
        if known is None or known.is_gone or away[content] not in found:
            moved[name] = away.pop(content)
    return moved


def _is_still(now: Stamp, before: Stamp) -> bool:
    """Whether a file of the same name is the one that it was; a link to it changes a time."""
    return now.content == before.content or now.is_file_of(before)


def out_before_in(moved: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield new and old names so that whoever leaves a name has gone before another takes it.

    Else the one that comes would be taken for the one that leaves. Where names go round, which
    only those of files that are gone do, one of them has to come first all the same.
    """
    left, by_old = dict(moved), {old: name for name, old in moved.items()}
    while left:
        # Back along the chain to whoever nobody waits for, or round to where it began.
        chain = [next(iter(left))]
        while (waits_for := by_old.get(chain[-1])) in left and waits_for != chain[0]:
            chain.append(waits_for)
        for name in reversed(chain):
            yield name, left.pop(name)


class Vanished:
    """What was remembered and is not here any more, by its bytes."""

    def __init__(self, names: Iterable[str], before: Mapping[str, Remembered]) -> None:
        self._names: dict[str, list[str]] = {}
        self._sizes: set[int | None] = set()
        # The last one is taken first: one that was here just now.
        for name in sorted(names, key=lambda name: not before[name].is_gone):
            kept = before[name]
            if kept.sha256 is not None:
                self._names.setdefault(kept.sha256, []).append(name)
                self._sizes.add(kept.stamp.size if kept.stamp else None)

    def may_hold(self, size: int) -> bool:
        """Whether a file of this size may be one of them: only then is hashing it worth while."""
        return size in self._sizes or None in self._sizes

    def take(self, sha256: str) -> str | None:
        """Return a name that had these bytes, once."""
        names = self._names.get(sha256)
        return names.pop() if names else None


def unreadable(tree: Tree) -> Iterator[tuple[Path, str]]:
    """Yield what cannot be looked at, and why, and files whose names are not taken."""
    for directory in tree.directories.values():
        yield from directory.problems
        for entry in directory.entries.values():
            if entry.path.suffix.lower() == SUFFIX and (why := why_not_stored(entry.path)):
                yield entry.path, why
            elif entry.path.suffix.lower() == SHORT_SUFFIX and not directory.find(
                entry.path.stem + SUFFIX
            ):
                yield entry.path, "is called .sft: rename it to .safetensors, and it is read"
