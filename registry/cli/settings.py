"""The command that says what counts on this machine, and where it was said."""

import typer

from registry.cli.options import Json
from registry.cli.output import print_json, print_table

app = typer.Typer()


@app.command("settings")
def show_settings(as_json: Json = False) -> None:
    """List all settings, each with its value and where that was said; secrets stay hidden."""
    from registry.cli.setting_facts import setting_facts, words

    facts = setting_facts()
    if as_json:
        print_json(facts)
        return
    print_table(
        [
            {"setting": name, "value": words(fact["value"]), "source": fact["source"]}
            for name, fact in facts.items()
        ],
        "There are none.",
    )
