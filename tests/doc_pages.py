"""What the pages tell people to type: commands and Python, in their order."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
# Written from `--help`, whose lines are no commands.
HELP = PROJECT / "docs/cli.md"
DOCS = sorted({*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")} - {HELP})
CODE = re.compile(r"^```(?P<language>\w*)\n(?P<block>.*?)^```|`(?P<inline>[^`\n]+)`", re.M | re.S)
SHELL = ("bash", "sh", "console")
BETWEEN = re.compile(r"\s(?:\||&&|;)\s")


@dataclass(frozen=True, slots=True)
class Code:
    """A block of a page with its language, or what stands in backticks within a line."""

    language: str
    text: str
    inline: bool = False


def code_of(page: Path) -> Iterator[Code]:
    for match in CODE.finditer(page.read_text(encoding="utf-8")):
        if match["inline"] is None:
            yield Code(match["language"], match["block"])
        else:
            yield Code("", match["inline"], inline=True)


def lines_of(page: Path) -> Iterator[str]:
    """Yield the lines of a page's shell blocks, put together where they go on, and its `code`."""
    for code in code_of(page):
        if code.inline or code.language in ("", *SHELL):
            yield from lines_in(code)


def lines_in(code: Code) -> list[str]:
    return code.text.replace("\\\n", " ").splitlines()


def commands_in(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line, without settings that stand before it."""
    for part in BETWEEN.split(line):
        words = split(part.strip().removeprefix("$ "))
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


def split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # quotes that belong to a text, not to a command
        return []
