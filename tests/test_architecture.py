"""Which room may import which: data flows one way, crawler → encoder → registry.

Where this fails, move what is imported to where it belongs, or draw the arrow here on purpose.

A room is a folder of a package, or a file at its top. An import counts wherever it stands, in a
function and for types too: what a room knows of, it depends on.
"""

import ast
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
# Each package, and each room of a package, with those that it may import, from the ground up.
PACKAGES: dict[str, set[str]] = {
    "crawler": set(),
    "encoder": {"crawler"},
    "registry": {"crawler", "encoder"},
    "migrations": {"registry"},
    "demo": {"crawler", "encoder", "registry"},
    "benchmarks": {"crawler", "encoder", "registry", "demo"},
}
CRAWLER: dict[str, set[str]] = {
    "counted": set(),
    "foreign_text": set(),
    "file_names": set(),
    "hashed_file": set(),
    "whole_file": set(),
    "records": {"hashed_file"},
    "errors": {"foreign_text"},
    "hub_json": {"errors"},
    "hub_text": {"foreign_text", "hub_json"},
    "peft_config": set(),
    "filters": {"records"},
    "disk": {"errors"},
    "broken_images": set(),
    "covers": {"broken_images", "errors"},
    "manners": {"errors"},
    "retry_after": set(),
    "addresses": {"errors", "foreign_text"},
    "transport": {"addresses"},
    "answers": {
        "addresses", "errors", "foreign_text", "hub_json", "retry_after", "transport",
    },
    "http": {
        "addresses", "answers", "errors", "foreign_text", "manners", "retry_after", "transport",
    },
    "download": {
        "addresses", "answers", "disk", "errors", "foreign_text", "hashed_file", "http", "records",
    },
    "pictures": {"covers", "hub_json", "hub_text"},
    "sources": {
        "addresses", "answers", "broken_images", "covers", "disk", "download", "errors",
        "file_names", "filters", "foreign_text", "hashed_file", "http", "hub_json", "hub_text",
        "manners", "peft_config", "pictures", "records",
    },
}  # fmt: skip
ENCODER: dict[str, set[str]] = {
    "errors": set(),
    "arrays": set(),
    "late_torch": set(),
    "threads": set(),
    "base_models": {"errors"},
    "chinese": set(),
    "text_encoder": {"chinese", "errors"},
    "captions": {"errors"},
    "image_encoder": {"errors", "text_encoder"},
    "adapter": {"arrays", "base_models", "errors", "late_torch"},
    "sketches": {"adapter", "arrays", "base_models", "errors", "late_torch"},
    "weight_encoders": {
        "adapter", "arrays", "base_models", "errors", "sketches", "text_encoder",
    },
    "training": {"adapter", "arrays", "errors", "sketches", "text_encoder", "weight_encoders"},
}  # fmt: skip
REGISTRY: dict[str, set[str]] = {
    "errors": set(),
    "advice": set(),
    "faults": set(),
    "local_copies": set(),
    "config": {"errors", "local_copies"},
    "measures": set(),
    "child_python": set(),
    "logs": {"config"},
    "text": {"measures"},
    "token_scopes": set(),
    "image_states": set(),
    "blobs": {"errors"},
    "shared_blobs": {"blobs", "errors", "local_copies"},
    "saving": {"errors"},
    "db": {"blobs", "config", "errors", "image_states", "text", "token_scopes"},
    "retrieval": {"blobs", "config", "db", "errors", "faults", "measures", "text"},
    "fusion": {"config", "errors", "measures", "retrieval", "text"},
    "refresh": {
        "blobs", "child_python", "config", "db", "errors", "fusion", "retrieval", "text",
    },
    "connection": {"advice", "blobs", "errors"},
    "running": {"blobs"},
    "remote": {
        "blobs", "config", "connection", "errors", "fusion", "local_copies", "retrieval",
    },
    "own_folders": {"blobs", "config", "db", "errors", "fusion", "refresh", "retrieval"},
    "image_history": {"db"},
    "open_registry": {"blobs", "config", "db", "errors", "retrieval", "shared_blobs", "text"},
    "upkeep": {"blobs", "config", "db", "errors", "open_registry", "running"},
    "picture_search": {"blobs", "config", "db", "fusion", "refresh", "retrieval"},
    "administration": {"db", "open_registry", "refresh", "retrieval", "token_scopes"},
    "search_service": {
        "config", "db", "errors", "open_registry", "picture_search", "retrieval", "text",
    },
    "image_service": {
        "config", "errors", "fusion", "image_history", "refresh", "retrieval",
        "search_service",
    },
    "service": {
        "administration", "db", "errors", "image_service", "own_folders", "refresh", "retrieval",
        "text", "upkeep",
    },
    "api": {
        "advice", "config", "connection", "db", "errors", "faults", "fusion", "image_states",
        "logs", "measures", "retrieval", "running", "service", "text", "token_scopes",
    },
    "client": {"api", "connection", "errors", "fusion", "retrieval", "saving"},
    "local": {"api", "fusion", "retrieval", "saving", "service"},
    "reader": {"api", "client", "config", "connection", "fusion", "retrieval", "running"},
    "assistant": {
        "api", "connection", "errors", "fusion", "local", "reader", "retrieval", "service",
        "token_scopes",
    },
    "__init__": {
        "api", "client", "config", "fusion", "local", "reader", "remote", "retrieval",
        "service",
    },
    "cli": {
        "api", "assistant", "child_python", "client", "config", "db", "errors", "faults", "fusion",
        "local", "logs", "reader", "refresh", "remote", "retrieval", "running", "service",
        "token_scopes", "upkeep",
    },
    "__main__": {"cli"},
}  # fmt: skip
PLANS = {"crawler": CRAWLER, "encoder": ENCODER, "registry": REGISTRY}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Yield each module of a package: its dotted name and its file."""
    for path in sorted((PROJECT / package).rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(code: str) -> Iterator[str]:
    """Yield what a file imports, and what it takes from there, by dotted names."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            assert node.module is not None
            yield from (f"{node.module}.{name.name}" for name in node.names)


def room_of(name: str) -> str:
    """Return the folder or file at the top of its package that a dotted name is in."""
    return name.split(".")[1] if "." in name else "__init__"


def rooms_imported(package: str) -> dict[str, set[str]]:
    """Return for each room of a package the other rooms of it that it imports."""
    arrows: dict[str, set[str]] = {}
    for name, path in modules(package):
        targets = arrows.setdefault(room_of(name), set())
        for imported in imports(path.read_text()):
            if imported.split(".")[0] == package:
                targets.add(room_of(imported))
        targets.discard(room_of(name))
    return arrows


def files_imported(packages: Iterable[str]) -> dict[str, set[str]]:
    """Return for each module the modules of `packages` that it imports when it is imported."""
    known = {name for package in packages for name, _ in modules(package)}
    arrows = {}
    for package in packages:
        for name, path in modules(package):
            code = path.read_text()
            taken = {
                target if target in known else target.rpartition(".")[0] for target in imports(code)
            }
            arrows[name] = (taken & known) - {name}
    return arrows


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_those_that_data_comes_from(package: str) -> None:
    for name, path in modules(package):
        others = {imported.split(".")[0] for imported in imports(path.read_text())}
        assert others & PACKAGES.keys() <= PACKAGES[package] | {package}, name


@pytest.mark.parametrize("package", PLANS)
def test_rooms_import_as_the_plan_says(package: str) -> None:
    """The plan is exact: an arrow that is gone from the code goes from it as well."""
    arrows = rooms_imported(package)
    if not arrows["__init__"]:
        del arrows["__init__"]

    assert arrows == PLANS[package]


@pytest.mark.parametrize("plan", [PACKAGES, *PLANS.values()])
def test_the_plan_has_nothing_that_imports_upward(plan: dict[str, set[str]]) -> None:
    """So it has no circle either."""
    floor = {room: number for number, room in enumerate(plan)}

    upward = [(room, at) for room, below in plan.items() for at in below if floor[at] > floor[room]]

    assert upward == []


def test_encoder_takes_from_crawler_only_what_knows_no_hub() -> None:
    taken = {
        room_of(imported)
        for _, path in modules("encoder")
        for imported in imports(path.read_text())
        if imported.split(".")[0] == "crawler"
    }

    # The last four are how anything is asked over a network, whoever it is.
    knowing_none = {
        "records", "errors", "foreign_text", "peft_config", "covers", "whole_file", "counted",
    }  # fmt: skip
    assert taken <= knowing_none | {"addresses", "http", "retry_after", "transport"}


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(files_imported(PACKAGES)).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))
