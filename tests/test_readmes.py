"""The README says the same in English and in Chinese."""

import ast
import re
from pathlib import Path

import pytest

from tests.doc_pages import PROJECT, SHELL, code_of, lines_in

ENGLISH, CHINESE = PROJECT / "README.md", PROJECT / "README.zh.md"
LINK = re.compile(r"\]\(([^)]+)\)")
# What is written alike in both: a name with capitals inside, or a number.
NAME = re.compile(r"[A-Za-z.-]*[A-Z0-9.-][A-Z0-9][\w.-]*|[A-Za-z]+[A-Z0-9][\w.-]*|\d[\d.]*")


def typed(page: Path) -> list[str]:
    """Return what a page tells people to type, without its remarks."""
    found = []
    for code in code_of(page):
        if code.language == "python":
            found += [ast.unparse(statement) for statement in ast.parse(code.text).body]
        elif code.language in SHELL:
            found += [line.partition(" #")[0].rstrip() for line in lines_in(code)]
    return found


def quoted(page: Path) -> set[str]:
    return {code.text for code in code_of(page) if code.inline}


def rows(page: Path) -> list[str]:
    return [line for line in page.read_text("utf-8").splitlines() if line.startswith("|")]


def names(row: str) -> list[str]:
    """Return the names and numbers of a row of a table, each once, whatever language is around."""
    said = LINK.sub("]", row)
    return sorted({name.rstrip(".-") for name in NAME.findall(said)})


def test_both_tell_to_type_the_same() -> None:
    assert len(typed(ENGLISH)) > 20
    assert typed(CHINESE) == typed(ENGLISH)
    assert quoted(CHINESE) == quoted(ENGLISH)


def test_both_lead_to_the_same_places_and_to_each_other() -> None:
    english, chinese = (LINK.findall(page.read_text("utf-8")) for page in (ENGLISH, CHINESE))

    assert english[0] == CHINESE.name
    assert chinese[0] == ENGLISH.name
    assert sorted(chinese[1:]) == sorted(english[1:])


def test_both_have_the_same_sections() -> None:
    levels = [
        re.findall(r"^#+(?= )", page.read_text("utf-8"), re.MULTILINE)
        for page in (ENGLISH, CHINESE)
    ]

    assert levels[0] == levels[1]


@pytest.mark.parametrize("row", range(len(rows(ENGLISH))))
def test_rows_of_tables_name_the_same(row: int) -> None:
    english, chinese = rows(ENGLISH), rows(CHINESE)

    assert len(chinese) == len(english)
    assert chinese[row].count("|") == english[row].count("|")
    assert names(chinese[row]) == names(english[row])
    # Hugging Face and kohya have none inside.
    assert set(re.findall(r"[A-Za-z]{2,}", chinese[row])) <= set(
        re.findall(r"[A-Za-z]+", english[row])
    )
