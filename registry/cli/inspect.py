"""`autolora inspect`: what an adapter's file is, for a person and for a program."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from crawler.disk import is_folder
from registry.cli.inspect_report import Report
from registry.cli.options import Json
from registry.cli.output import (
    counts_in_words,
    facts_table,
    first_of,
    print_json,
    range_in_words,
    stdout,
)

if TYPE_CHECKING:
    from encoder.adapter.lora_file import Context
    from encoder.adapter.spectrum import BlockSpectrum
    from encoder.adapter.verdict import Verdict

app = typer.Typer()

LEVELS = "▁▂▃▄▅▆▇█"
# Names shown of a list; --json has them all.
MOST_NAMES = 4
HEADER_ONLY = (
    "Only the header was read. Zero layers, NaN, energy by block, hashes and the fingerprint "
    "need the file."
)


@app.command()
def inspect(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|FOLDER|URL...",
            help=".safetensors files, folders of them, or where they are.",
        ),
    ],
    base_model: Annotated[
        str | None, typer.Option(help="What you know it to be for, where layers allow several.")
    ] = None,
    header: Annotated[
        bool, typer.Option("--header", help="Read headers only: quick, and less is known.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what adapters are and whether they can be fused; of a URL, only the header is read.

    Several, or a folder, are a line each. The exit code is 1 where one cannot be loaded.
    """
    if len(files) > 1 or is_folder(Path(files[0])):
        from registry.cli.inspect_many import inspect_many

        inspect_many(files, lambda file: inspect_any(file, header, base_model), as_json)
        return
    report = inspect_any(files[0], header, base_model)
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report)
    if not report.verdict.loadable:
        raise typer.Exit(1)


def inspect_any(file: str, header_only: bool, base_model: str | None = None) -> Report:
    """Judge a file on disk or on the net; raises as the functions below do.

    `base_model` is what the person who asks says that it is for.
    """
    if urlsplit(file).scheme in ("http", "https"):
        return inspect_url(file, base_model)
    if header_only:
        return inspect_header(Path(file), base_model)
    return inspect_file(Path(file), base_model)


def inspect_header(path: Path, base_model: str | None = None) -> Report:
    """Judge a file by its header.

    Raises:
        LoraFileError: it is no adapter, or of a kind that is not read.
    """
    from encoder.adapter.lora_file import inspect as judge_header
    from encoder.adapter.safetensors_header import read_header

    header = read_header(path)
    return Report(path.name, judge_header(header, path, context=_context(base_model)))


def inspect_file(path: Path, base_model: str | None = None) -> Report:
    """Read a whole file.

    Raises:
        LoraFileError: it is no adapter, or of a kind that is not read.
        UnknownClaimError: nothing here is called `base_model`.
    """
    from encoder.adapter.file_hashes import hash_adapter
    from encoder.adapter.lora_file import read, read_verdict
    from encoder.errors import FingerprintError, LoraFileError
    from encoder.sketches.fingerprint import fingerprint

    context = _context(base_model)
    hashes = hash_adapter(path)
    try:
        weights = read(path, context=context)
    except LoraFileError:
        # There may be a verdict all the same, which says more.
        return Report(path.name, read_verdict(path, context=context), hashes)
    try:
        return Report(path.name, weights.verdict, hashes, fingerprint(weights))
    except FingerprintError:
        # An adapter that changes nothing has none; the verdict says so.
        return Report(path.name, weights.verdict, hashes)


def inspect_url(url: str, base_model: str | None = None) -> Report:
    """Judge a file on the net by its header.

    Raises:
        UnknownClaimError: nothing here is called `base_model`.
        SourceError: the address is refused, or the server's answers make no sense.
        LoraFileError: what is there is no adapter, or of a kind that is not read.
    """
    from crawler.download import read_remote_header
    from crawler.http import PoliteClient
    from encoder.adapter.lora_file import inspect as judge_header
    from encoder.adapter.safetensors_header import parse_header
    from registry.config import Settings

    context = _context(base_model)
    with PoliteClient(allowed_origins=[Settings().modelscope_endpoint]) as client:
        remote = read_remote_header(client, url)
    name = unquote(urlsplit(url).path.rpartition("/")[2]) or url
    header = parse_header(name, io.BytesIO(remote.data), remote.size)
    return Report(name, judge_header(header, name, context=context))


def _context(base_model: str | None) -> "Context":
    from encoder.adapter.lora_file import Context
    from encoder.base_models.matching import claim_of_person

    if base_model is None:
        return Context()
    return Context(claims=(claim_of_person(base_model, "you"),))


def print_report(report: Report) -> None:
    verdict, console = report.verdict, stdout()
    table = facts_table()
    for name, value in _facts(report).items():
        if value:
            table.add_row(name, escape(value))
    table.add_row("loadable", "[green]yes[/]" if verdict.loadable else "[bold red]no[/]")
    table.add_row("fusable", "[green]yes[/]" if verdict.fusable else "[yellow]no[/]")
    for number, reason in enumerate(verdict.reasons):
        table.add_row(
            "" if number else "because" if not verdict.fusable else "note", escape(reason)
        )
    console.print(table)
    if verdict.spectrum:
        console.print()
        console.print(_energy_table(verdict.spectrum, console.width))
    if report.hashes is None:
        console.print(f"\n{HEADER_ONLY}", style="dim")


def _facts(report: Report) -> dict[str, str]:
    """Everything but the conclusion, in words; what is not known is empty."""
    verdict, hashes, print_ = report.verdict, report.hashes, report.fingerprint
    smallest, median, largest = verdict.ranks
    ranks = str(median) if smallest == largest else f"{smallest} to {largest}, median {median}"
    facts = {
        "file": report.name,
        "format": f"{verdict.format}, {verdict.names} names",
        "trainer": verdict.trainer or "",
        "base model": _base_model(verdict),
        "evidence": "\n".join(verdict.evidence),
        "kinds": counts_in_words(verdict.kinds),
        "ranks": ranks if largest else "",
        "scale": _scale(verdict),
        "weights": f"{verdict.dtype}, {decimal(verdict.size)}",
        "parts": counts_in_words(verdict.parts),
        "layers": _coverage(verdict),
        "unmatched": first_of(verdict.unmatched, MOST_NAMES),
        "zero layers": first_of(verdict.to_json()["zero_layers"], MOST_NAMES),
        "damaged": first_of(verdict.to_json()["damaged_layers"], MOST_NAMES),
    }
    if hashes:
        facts["sha256"] = hashes.sha256
        facts["AutoV2, V3"] = f"{hashes.autov2}, {hashes.autov3}"
    if print_:
        facts["fingerprint"] = f"{print_.short()}, norm {print_.norm:.4g}"
    return facts


def _base_model(verdict: "Verdict") -> str:
    """Name it, and say of what its layers are the evidence: of the family, never the variant."""
    from encoder.base_models.facts import find_facts

    facts = find_facts(verdict.base_model)
    variants = [name for name in facts.variants if name != verdict.base_model] if facts else []
    if not variants or verdict.family is None:
        return f"{verdict.base_model} ({verdict.confidence})"
    if verdict.said_by and verdict.confidence == "claim needed":
        return f"{verdict.base_model} (said; several families have its layers)"
    if verdict.said_by:
        return f"{verdict.base_model} (its family is {verdict.confidence})"
    return (
        f"{verdict.base_model}, or another of its family: {first_of(variants, MOST_NAMES)} "
        f"(the family is {verdict.confidence}; nobody says which)"
    )


def _scale(verdict: "Verdict") -> str:
    """Say what changes are multiplied by, and where that is from."""
    if not verdict.scales or verdict.alpha.startswith("1:"):
        return verdict.alpha
    alphas = f"alpha {range_in_words(verdict.alphas)}; " if verdict.alphas else ""
    return f"{range_in_words(verdict.scales)} ({alphas}{verdict.alpha})"


def _coverage(verdict: "Verdict") -> str:
    parts = [f"{verdict.layers} matched"]
    if verdict.family:
        left = f"{verdict.missing} more of the base's blocks left alone"
        parts.append(left if verdict.missing else "all of the base's blocks")
    if verdict.unmatched:
        parts.append(f"{len(verdict.unmatched)} unmatched")
    return ", ".join(parts)


def _energy_table(spectrum: Sequence["BlockSpectrum"], width: int) -> Table:
    """One mark a block, as high as its share of the change; lines of blocks of one kind."""
    most = max(block.energy for block in spectrum)
    stems: dict[str, list[BlockSpectrum]] = {}
    for block in spectrum:
        stem, _, number = block.block.rpartition(".")
        stems.setdefault(stem if number.isdecimal() else block.block, []).append(block)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("energy by block", overflow="fold", max_width=width // 3)
    table.add_column("", overflow="fold")
    table.add_column("share", justify="right")
    table.add_column("effective rank", justify="right")
    for stem, blocks in stems.items():
        marks = [LEVELS[min(7, int(8 * block.energy / most))] for block in blocks]
        share = sum(block.energy for block in blocks)
        ranks = [block.effective_rank for block in blocks]
        low, high = f"{min(ranks):.1f}", f"{max(ranks):.1f}"
        table.add_row(
            escape(_numbered(stem, blocks)),
            "".join(marks),
            f"{share:.0%}",
            low if low == high else f"{low} to {high}",
        )
    return table


def _numbered(stem: str, blocks: Sequence["BlockSpectrum"]) -> str:
    """Name a line of blocks: "layers 3 to 17", "mid_block"."""
    numbers = [block.block.rpartition(".")[2] for block in blocks]
    if not numbers[0].isdecimal():
        return stem
    return f"{stem} {numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "")
