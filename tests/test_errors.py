"""The tree of errors in crawler/errors.py is the one that the code has.

`python -m tests.test_errors` writes it there.
"""

import ast
import pickle
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.errors import AutoLoraError, NoAnswerError
from registry.errors import AdapterNotFoundError

PROJECT = Path(__file__).parents[1]
ROOT_PAGE = PROJECT / "crawler" / "errors.py"
PACKAGES = ("crawler", "encoder", "registry")
START, END = "raise on purpose:\n\n", '"""\n'


def make_tree() -> str:
    """Return every error below the root, indented by ancestry, packages in their order."""
    children: dict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            for name, base in _classes(path):
                children[base].append(name)

    def lines(name: str, depth: int) -> Iterator[str]:
        yield f"{'  ' * depth}{name}\n"
        for child in children[name]:
            yield from lines(child, depth + 1)

    return "".join(lines(AutoLoraError.__name__, 0))


def _classes(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names of a file's error classes, and of what each is derived from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and node.bases:
            yield node.name, ast.unparse(node.bases[0]).rpartition(".")[2]


def test_the_docstring_shows_the_tree_of_errors() -> None:
    page = ROOT_PAGE.read_text(encoding="utf-8")

    written = page.partition(START)[2].partition(END)[0]

    assert written == make_tree(), "run python -m tests.test_errors"


@pytest.mark.parametrize(
    "error",
    [
        AdapterNotFoundError(7),
        NoAnswerError("the hub", "refused", retryable=True, retry_after_seconds=5),
        AutoLoraError("nothing"),
    ],
)
def test_an_error_comes_out_of_another_process_as_it_went_in(error: AutoLoraError) -> None:
    """A pool of processes pickles it, and waits for ever where that fails."""
    came = pickle.loads(pickle.dumps(error))

    assert type(came) is type(error)
    assert str(came) == str(error)
    assert vars(came) == vars(error)


def write_tree() -> None:
    page = ROOT_PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    ROOT_PAGE.write_text(before + START + make_tree() + END + after, encoding="utf-8")


if __name__ == "__main__":
    write_tree()
