"""docs/api.md has every route of the OpenAPI document.

`python -m tests.registry.api.test_api_page` writes its table.
"""

import re
from pathlib import Path

from fastapi import FastAPI

from registry.api.app import API

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
TABLE = re.compile(r"(?<=test_api_page -->\n).*?(?=<!-- end of routes -->)", re.DOTALL)


def make_table() -> str:
    """Return a row for each route: what it is, the first sentence about it, and its scope."""
    rows = ["| | | token |", "|---|---|---|"]
    for router, scope in API:
        app = FastAPI()
        app.include_router(router)
        rows += [
            f"| `{method.upper()} {path}` | {first_sentence(route['description'])} "
            f"| {scope.value if scope else 'none'} |"
            for path, methods in app.openapi()["paths"].items()
            for method, route in methods.items()
        ]
    return "\n".join(rows) + "\n"


def first_sentence(text: str) -> str:
    line = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.;]) ", line)[0].rstrip(".;").replace("|", "\\|")


def test_the_page_has_every_route() -> None:
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))

    assert found is not None
    assert found[0] == make_table(), "run python -m tests.registry.api.test_api_page"


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: make_table(), page), encoding="utf-8")
