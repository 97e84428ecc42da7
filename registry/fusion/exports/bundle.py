"""A zip of a recipe's files under the names that exports use, written while it is sent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zipstream import ZipStream

from crawler.foreign_text import plain_line
from registry.fusion.exports.adapters import ExportedAdapter
from registry.fusion.licences import NOT_STATED
from registry.fusion.recipe import Recipe

README = "README.txt"
HEAD = """\
The adapters of an image that AutoLoRA Registry made, under the names that its exports use.

ComfyUI       models/loras
A1111, Forge  models/Lora
diffusers     the folder that the script is given as --adapters
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an adapter is listed."""

    hub: str
    author: str
    page_url: str | None
    licence: str | None


@dataclass(frozen=True, slots=True)
class BundledFile:
    """An adapter's file, and where it is from."""

    adapter: ExportedAdapter
    path: Path
    sources: Sequence[Source]


class Bundle:
    """A zip that is made while it is read: nothing of it is held in memory."""

    def __init__(self, recipe: Recipe, files: Sequence[BundledFile]) -> None:
        self._zip = ZipStream(sized=True)
        self._zip.add(_readme(recipe, files), README)
        for file in files:
            self._zip.add_path(file.path, file.adapter.file)

    def __len__(self) -> int:
        """Return how many bytes it will have."""
        return len(self._zip)

    def __iter__(self) -> Iterator[bytes]:
        """Yield it, once."""
        return iter(self._zip)


def _readme(recipe: Recipe, files: Iterable[BundledFile]) -> str:
    base = f"{recipe.base.name} (licence: {recipe.base.licence or NOT_STATED})"
    parts = [HEAD, f"Prompt: {plain_line(recipe.full_prompt)}\nBase model: {plain_line(base)}\n"]
    parts += ["\n".join(_lines(file)) + "\n" for file in files]
    parts += [f"Note: {plain_line(warning)}.\n" for warning in recipe.warnings]
    return "\n".join(parts)


def _lines(file: BundledFile) -> Iterator[str]:
    used = file.adapter.used
    yield file.adapter.file
    yield f"  name      {plain_line(used.name)}"
    for source in file.sources:
        where = f"{source.hub}, by {source.author or 'nobody named'}: {source.page_url or '-'}"
        yield f"  from      {plain_line(where)}"
        yield f"  licence   {plain_line(source.licence or NOT_STATED)}"
    if not file.sources:
        yield f"  licence   {plain_line(used.licence or NOT_STATED)}"
    yield f"  strength  {file.adapter.strength:g}"
    if used.trigger_words:
        yield f"  words     {plain_line(', '.join(used.trigger_words))}"
    yield f"  sha256    {used.sha256}"
