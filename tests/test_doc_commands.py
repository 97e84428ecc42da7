"""What the pages tell people to type is taken by the programs that it is for.

`autolora …` is parsed by the real command line, addresses are answered by the real routes, Python
is bound to real signatures, and modules with their options, targets and settings are there. Nothing
is run here; `test_doc_runs.py` runs what can be.
"""

import ast
import importlib
import importlib.util
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main
from fastapi import FastAPI
from starlette.routing import BaseRoute, Match

import registry
from registry.api.app import API, PAGES
from registry.cli.app import app
from registry.config import Settings
from tests.doc_pages import DOCS, PROJECT, code_of, commands_in, lines_of

SETTING = re.compile(r"\bREGISTRY_([A-Z0-9_]+)\b(?!\*)")
OPERATIONS = PROJECT / "docs" / "operations.md"
TARGETS = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))


def commands(name: str) -> list[tuple[str, list[str]]]:
    """Return the page and the words of every command that begins with `name`."""
    return [
        (page.name, words[1:])
        for page in DOCS
        for line in lines_of(page)
        for words in commands_in(line)
        if words[0] == name and len(words) > 1
    ]


def ids(found: list[tuple[str, list[str]]]) -> list[str]:
    return [f"{page}: {' '.join(words)}" for page, words in found]


AUTOLORA = commands("autolora")
# What stands for whatever somebody has.
PLACEHOLDERS = {"ID": "1", "…": "1"}


@cache
def command_line() -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize(("page", "words"), AUTOLORA, ids=ids(AUTOLORA))
def test_a_command_is_one_that_autolora_takes(page: str, words: list[str]) -> None:
    command = command_line()
    rest = [PLACEHOLDERS.get(word, word) for word in words]
    context = command.make_context("autolora", rest)
    while hasattr(command, "resolve_command"):
        asked = [*context._protected_args, *context.args]
        if not asked:  # options that stand before any command
            return
        name, command, rest = command.resolve_command(context, asked)
        # A name alone is told of, and not to be typed so.
        if rest or hasattr(command, "resolve_command"):
            context = command.make_context(name, list(rest), parent=context)


def asked_of(words: list[str]) -> tuple[str, str]:
    """Return the method and the path that a curl command asks."""
    method = "GET"
    sends = {"-d", "--data", "--data-binary", "-F", "-T"} & set(words)
    for option in ("-X", "--request"):
        if option in words:
            method, sends = words[words.index(option) + 1], set()
    (address,) = (word for word in words if ":8000/" in word)
    return "POST" if sends else method, urlsplit(f"//{address.split('//')[-1]}").path


CURL = [(page, asked_of(words)) for page, words in commands("curl")]
# "`POST /v1/fuse`" and "`/v1/images/{id}`": a path that is told of.
TOLD = [
    (page.name, (match[1] or "", re.sub(r"\{[^}]*\}|<[^>]*>", "1", match[2])))
    for page in DOCS
    for line in lines_of(page)
    if (match := re.fullmatch(r"(?:([A-Z]+) )?(/(?:v1/[^ ?…*]+|\w+z|metrics))(?:\?.*)?", line))
]


@cache
def routes() -> list[BaseRoute]:
    """Every route of the server, over no registry."""
    every = FastAPI(openapi_url="/v1/openapi.json")
    for router, _ in (*API, *PAGES):
        every.include_router(router)
    return every.routes


@pytest.mark.parametrize(("page", "asked"), [*CURL, *TOLD])
def test_an_address_is_one_that_the_server_answers(page: str, asked: tuple[str, str]) -> None:
    method, path = asked
    methods = [method] if method else ["GET", "POST", "PUT", "DELETE"]
    scopes = [{"type": "http", "path": path, "method": name} for name in methods]
    matches = [route.matches(scope)[0] for route in routes() for scope in scopes]

    assert Match.FULL in matches


SNIPPETS = [
    pytest.param(code.text, id=page.name)
    for page in DOCS
    for code in code_of(page)
    if code.language == "python"
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_is_bound_to_what_is_there(snippet: str) -> None:
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("registry."):
            called = getattr(registry, ast.unparse(node.func).removeprefix("registry."))
            named = {str(word.arg): None for word in node.keywords}
            inspect.signature(called).bind(*node.args, **named)


MODULES = [words[1:] for _, words in commands("python") if words[0] == "-m"]


@pytest.mark.parametrize("words", MODULES, ids=" ".join)
def test_a_module_is_there_and_takes_its_options(words: list[str]) -> None:
    spec = importlib.util.find_spec(words[0])

    assert spec is not None
    assert spec.origin is not None
    origin = Path(spec.origin)
    files = origin.parent.glob("*.py") if origin.name == "__init__.py" else [origin]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    assert [word for word in words if word[:2] == "--" and f'"{word}"' not in source] == []


def test_targets_are_there() -> None:
    targets = {words[0] for _, words in commands("make") if re.fullmatch("[a-z]+", words[0])}

    assert targets <= TARGETS


def test_settings_are_there() -> None:
    named = {name for page in DOCS for name in SETTING.findall(page.read_text(encoding="utf-8"))}

    known = {name.upper() for name in Settings.model_fields}
    # docs/operations.md shows with it what is said of a misspelt one.
    assert named - known == {"BASE_MODEL"}


def test_every_setting_is_in_the_table() -> None:
    """Of a row's names the first is in full, others may be by their ends: `_TAGS`."""
    known = {name.upper() for name in Settings.model_fields}
    table = set()
    for cell in re.findall(
        r"^\| (`REGISTRY_[^|]+) \|", OPERATIONS.read_text("utf-8"), re.MULTILINE
    ):
        group = cell.removeprefix("`REGISTRY_").partition("_")[0]
        for whole, end in re.findall(r"`(?:REGISTRY_(\w+)|_(\w+))`", cell):
            grouped = f"{group}_{end}"
            table.add(whole or (grouped if grouped in known else end))

    assert table == known


def test_something_was_found_of_each_kind() -> None:
    assert min(len(AUTOLORA) / 60, len(CURL) / 3, len(TOLD) / 10, len(SNIPPETS)) >= 1
