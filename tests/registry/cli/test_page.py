"""docs/cli.md says what `--help` says.

`python -m tests.registry.cli.test_page` writes the page.
"""

from pathlib import Path

import typer.cli
import typer.main

from registry.cli.app import app

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
TITLE = "The command line"


def make_page() -> str:
    """Return the help of every command, as Typer's own tool for documents lays it out."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="autolora")
    page = typer.cli.get_docs_for_click(obj=command, ctx=context, name="autolora", title=TITLE)
    return f"{page.strip()}\n"


def test_the_page_says_what_help_says() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == make_page(), "run python -m tests.registry.cli.test_page"


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
