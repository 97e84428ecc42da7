"""`autolora inspect` of several files or of folders: a line each."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from crawler.disk import is_folder
from crawler.errors import AutoLoraError, SourceError
from crawler.sources.folder.found import SUFFIX, Tree, unreadable
from crawler.sources.folder.names import shown
from crawler.sources.folder.pickles import find_pickles
from encoder.errors import LoraFileError
from registry.cli.inspect_report import Report
from registry.cli.output import last_of, print_json, stderr, stdout
from registry.cli.progress import progress_bar

# A file's name for people, and what is known of it or why nothing is.
Seen = tuple[str, Report | AutoLoraError]


def inspect_many(given: Sequence[str], inspect: Callable[[str], Report], as_json: bool) -> None:
    """Print what files are; those in folders are found as `refresh` finds them."""
    files = list(_expand(given))
    if not files:
        stderr().print("no adapter is there.", style="yellow")
        raise typer.Exit(1)
    seen: list[Seen] = []
    with progress_bar("Reading") as advance:
        for number, (name, file) in enumerate(files, start=1):
            seen.append((name, _look_at(file, inspect)))
            advance(number, len(files))
    if as_json:
        print_json([_to_json(name, found) for name, found in seen])
    else:
        _print(seen)
    if not all(isinstance(found, Report) and found.verdict.loadable for _, found in seen):
        raise typer.Exit(1)


def _expand(given: Sequence[str]) -> Iterator[tuple[str, str | AutoLoraError]]:
    """Yield names for people and where the files are, or why `refresh` does not take them.

    In a folder, names are paths from there.
    """
    for name in given:
        if not is_folder(Path(name)):
            yield shown(name), name
            continue
        tree = Tree.of(Path(name))
        files = [(file.entry.path, tree.why_unfinished(file)) for file in tree.files().values()]
        pickles = [(path, "") for path in find_pickles(tree)]
        for path, why in sorted([*files, *pickles, *unreadable(tree)]):
            yield shown(tree.name(path)), SourceError(why) if why else str(path)


def _look_at(file: str | AutoLoraError, inspect: Callable[[str], Report]) -> Report | AutoLoraError:
    if isinstance(file, AutoLoraError):
        return file
    try:
        return inspect(file)
    except AutoLoraError as error:
        return error


def _to_json(name: str, found: Report | AutoLoraError) -> dict[str, Any]:
    if isinstance(found, Report):
        return found.to_json() | {"name": name}
    return {"name": name, "loadable": False, "fusable": False, "reasons": [_cause(found)]}


def _print(seen: Sequence[Seen]) -> None:
    console = stdout()
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("file", no_wrap=True)
    table.add_column("base model", overflow="fold")
    table.add_column("rank", justify="right")
    table.add_column("fusable")
    table.add_column("", overflow="fold", ratio=1)
    for file, found in seen:
        name = last_of(file.removesuffix(SUFFIX), console.width // 3)
        if not isinstance(found, Report):
            table.add_row(escape(name), "", "", "[bold red]no[/]", escape(_cause(found)))
            continue
        verdict = found.verdict
        fusable = "[green]yes[/]" if verdict.fusable else "[yellow]no[/]"
        rank = str(verdict.ranks[1] or "")
        why = verdict.reasons[0] if verdict.reasons else ""
        table.add_row(escape(name), escape(verdict.base_model), rank, fusable, escape(why))
    console.print(table)


def _cause(error: AutoLoraError) -> str:
    return error.cause if isinstance(error, LoraFileError) else str(error)
