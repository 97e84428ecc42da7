"""What a file, its header and what lies beside it say -> a record, and what is wrong with them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from safetensors import SafetensorError, safe_open

from crawler.download import MAX_HEADER_BYTES
from crawler.errors import SourceError
from crawler.hub_text import (
    MAX_DESCRIPTION,
    MAX_NAME,
    clean_line,
    clean_text,
    clean_words,
    split_phrases,
)
from crawler.peft_config import CONFIG_NAME, read_config_beside
from crawler.records import AdapterRecord, CoverRecord, FileRecord
from crawler.sources.folder.fields import Facts
from crawler.sources.folder.found import CARD_PICTURES, SUFFIX, FoundFile, Tree
from crawler.sources.folder.names import display_name, run_stage, shown, why_not_stored
from crawler.sources.folder.previews import read_prompt
from crawler.sources.folder.programs import read_own
from crawler.sources.folder.sidecars import merge, read_sidecar, without_own_name

HUB = "folder"
MOST_COVERS = 16
# In the order in which they are believed.
HEADER_BASES = ("modelspec.architecture", "ss_base_model_version")

Picture = tuple[Path, str, str]  # where it is, what tells one version from another, its prompt


@dataclass(frozen=True, slots=True)
class Description:
    """A file's record, and a line for each thing beside it that could not be taken."""

    record: AdapterRecord
    problems: tuple[str, ...]


def describe(file: FoundFile, sha256: str | None, tree: Tree) -> Description:
    """Describe a file by its header, its sidecars and its pictures.

    Raises:
        SourceError: it is no safetensors file.
        OSError: it cannot be read.
        ValueError: the config that says how strong it is cannot be read.
    """
    header = read_metadata(file.entry.path)
    told, problems = [], list[str]()
    pictures = [(entry.path, _version(entry.path, tree), "") for entry in file.pictures]
    for entry, reader in file.sidecars:
        path = entry.path
        if not may_read(path, tree.root, file.entry.path):
            problems.append(f"{path.name} is a link that leads elsewhere; it was not read")
            continue
        try:
            facts, wrong = read_sidecar(path, reader, file.entry.path.stem)
            if reader is not read_own:
                facts = without_own_name(facts, file.entry.path.stem)
        except OSError as error:
            facts, wrong = Facts(), [f"{path.name} cannot be read: {error.strerror or error}"]
        told.append(facts)
        problems += wrong
        pictures += _card_pictures(facts, path.parent, tree)
    merged = merge([*told, Facts()])
    record = _record(file, sha256, merged, header, tree.root)
    if problems:
        # So that they are looked at and told again until they are mended.
        record = replace(record, stamp=replace(file.stamp, beside=""))
    covers = _covers(pictures, merged.prompt, tree.root, file.entry.path)
    return Description(replace(record, covers=tuple(covers)), tuple(problems))


def read_metadata(path: Path) -> dict[str, str]:
    """Return what the trainer wrote into the file; the library checks the header's form."""
    with path.open("rb") as start:
        length = int.from_bytes(start.read(8), "little")
    if length > MAX_HEADER_BYTES:
        # The library reads up to 100 MB, and takes over 1 GB for them.
        raise SourceError(f"has a header of {length:,} bytes; {MAX_HEADER_BYTES:,} are read")
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise SourceError(f"is not a safetensors file: {error}") from error


def may_read(path: Path, root: Path, weights: Path | None = None) -> bool:
    """Whether a file beside weights may be read: no link in a stranger's folder leads elsewhere.

    It may lead around in the folder that was given, in one that a link leads to, and to where a
    link leads to the weights themselves, as in Hugging Face's cache.
    """
    if ".." in path.parts or not path.is_relative_to(root):
        return False
    homes = [root, path.parent.resolve()]
    if weights is not None:
        homes.append(weights.resolve().parent)
    try:
        real = path.resolve()
    except RuntimeError:  # a link that leads to itself, which Python 3.13 gives back as it is
        return False
    return any(real.is_relative_to(home) for home in homes)


def may_show(picture: Path, root: Path) -> bool:
    """Whether a cover may be read: by what `describe` lets weights have that may be its own.

    Those lie beside it, or one folder up where a card's pictures are.
    """
    homes = [picture.parent]
    if picture.parent.name == CARD_PICTURES:
        homes.append(picture.parent.parent)
    linked = (
        path
        for home in homes
        if home.is_relative_to(root)
        for path in home.iterdir()
        if path.suffix.lower() == SUFFIX and path.is_symlink() and path.is_file()
    )
    return may_read(picture, root) or any(may_read(picture, root, path) for path in linked)


def _record(
    file: FoundFile, sha256: str | None, facts: Facts, header: Mapping[str, str], root: Path
) -> AdapterRecord:
    def first(*values: str) -> str:
        return next(filter(None, (clean_line(value, MAX_NAME) for value in values)), "")

    def said(key: str) -> str:
        return header.get(f"modelspec.{key}", "")

    updated_at = datetime.fromtimestamp(file.stamp.mtime_ns / 1e9, UTC)
    return AdapterRecord(
        hub=HUB,
        repo=repo_of(file.name, root),
        version="",
        # What cannot be seen is no name, and is written out where there is nothing else.
        name=first(facts.name, _name(file, header, root), shown(file.entry.path.stem)),
        author=first(facts.author, said("author")),
        description=facts.description or clean_text(said("description"), MAX_DESCRIPTION),
        trigger_words=facts.trigger_words or split_phrases(said("trigger_phrase")),
        tags=facts.tags or clean_words(said("tags").split(",")),
        base_model_words=clean_words([*facts.base_models, *map(header.get, HEADER_BASES)]),
        licence=first(facts.licence, said("license")) or None,
        mature=facts.mature,
        downloads=0,
        created_at=updated_at,
        updated_at=updated_at,
        file=FileRecord(
            file.name, file.stamp.size, sha256, peft_config=_peft_config(file.entry.path, root)
        ),
        covers=(),
        page_url=file.entry.path.as_uri(),
        strength=facts.strength,
        negative_prompt=facts.negative_prompt,
        stamp=file.stamp,
    )


def _peft_config(path: Path, root: Path) -> str:
    # A link that leads elsewhere is told of with the other sidecars.
    return read_config_beside(path) if may_read(path.with_name(CONFIG_NAME), root, path) else ""


def repo_of(name: str, root: Path) -> str:
    """What a file, or a folder, is called where adapters have repositories."""
    stem = name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name
    return f"{root.name}/{stem}"


def _name(file: FoundFile, header: Mapping[str, str], root: Path) -> str:
    title = clean_line(header.get("modelspec.title"), MAX_NAME)
    output_name = clean_line(header.get("ss_output_name"), MAX_NAME)
    parts = Path(file.name[: -len(SUFFIX)]).parts
    # sd-scripts makes the run's name the title where nobody gave one, and gives that of a run to
    # all of its epochs.
    if title and title != output_name:
        return title + run_stage(parts[-1], output_name)
    return display_name((root.name, *parts), output_name)


def _card_pictures(facts: Facts, folder: Path, tree: Tree) -> Iterator[Picture]:
    """Yield those pictures that a card names and that are there."""
    for url, prompt in facts.pictures:
        path = folder / unquote(url)
        if tree.find(path) is not None and why_not_stored(path) is None:
            yield path, _version(path, tree), prompt


def _version(path: Path, tree: Tree) -> str:
    entry = tree.find(path)
    return f"{entry.facts.st_mtime_ns:x}-{entry.facts.st_size:x}" if entry else ""


def _covers(
    pictures: Sequence[Picture], prompt: str, root: Path, weights: Path
) -> Iterator[CoverRecord]:
    """Yield covers; `prompt` is that of the first, unless the picture itself tells."""
    known = dict.fromkeys(path for path, _, _ in pictures)
    readable = [path for path in known if may_read(path, root, weights)]
    for number, path in enumerate(readable[:MOST_COVERS]):
        version = next(version for other, version, _ in pictures if other == path)
        told = next((words for other, _, words in pictures if other == path and words), "")
        words = told or read_prompt(path) or (prompt if number == 0 else "")
        # What follows # is not the path's: it tells a changed picture from the one before.
        yield CoverRecord(f"{path.as_uri()}#{version}", words or None)
