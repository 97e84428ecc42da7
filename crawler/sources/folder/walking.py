"""A folder's files with what its entries say of them: nothing is opened here."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crawler.sources.folder.names import is_hidden


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as its folder shows it; of a link, the file that it leads to."""

    path: Path
    facts: os.stat_result

    @property
    def cheap(self) -> tuple[str, int, int, int]:
        """What changes when the file does."""
        return self.path.name, self.facts.st_size, self.facts.st_mtime_ns, self.facts.st_ctime_ns


@dataclass(slots=True)
class Directory:
    """One folder's files by name, and those of its entries that cannot be looked at."""

    path: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    # By name in lower case: people and programs do not agree on `.PNG`.
    _by_lower: dict[str, Entry] = field(default_factory=dict)
    problems: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        self.entries[entry.path.name] = entry
        self._by_lower.setdefault(entry.path.name.lower(), entry)

    def find(self, name: str) -> Entry | None:
        """Return the file of this name, or of one that differs in upper and lower case only."""
        return self.entries.get(name) or self._by_lower.get(name.lower())


def walk(folder: Path) -> Iterator[Directory]:
    """Yield a folder and all below it, each once; hidden ones are left out.

    Links to folders are followed, after all that lies there itself: so a file is named by where
    it is rather than by a link to it, and a loop ends where it began.
    """
    seen: set[tuple[int, int]] = set()
    waiting, links = [folder], list[Path]()
    while waiting or links:
        path = waiting.pop() if waiting else links.pop(0)
        directory = Directory(path)
        try:
            facts = path.stat()
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(path) as entries:
                below = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            directory.problems.append((path, f"cannot be read: {error.strerror or error}"))
            yield directory
            continue
        for entry in below:
            if not is_hidden(entry.name):
                _sort_in(entry, directory, waiting, links)
        yield directory


def _sort_in(
    entry: os.DirEntry[str], directory: Directory, waiting: list[Path], links: list[Path]
) -> None:
    path = directory.path / entry.name
    try:
        facts = entry.stat()
    except FileNotFoundError:
        # What is no link has just been removed.
        if entry.is_symlink():
            directory.problems.append((path, "is a link that leads to nothing"))
    except OSError as error:
        directory.problems.append((path, f"cannot be read: {error.strerror or error}"))
    else:
        if stat.S_ISDIR(facts.st_mode):
            (links if entry.is_symlink() else waiting).append(path)
        elif stat.S_ISREG(facts.st_mode):
            directory.add(Entry(path, facts))
