"""The command that says what counts on this machine, and where it was said."""

import json
import os
from typing import Any

import typer
from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from registry.cli.options import Json
from registry.cli.output import print_json, print_table
from registry.config import ENV_FILE, PREFIX, Settings

app = typer.Typer()

HIDDEN = "***"


@app.command("settings")
def show_settings(as_json: Json = False) -> None:
    """List all settings, each with its value and where that was said; secrets stay hidden."""
    settings = Settings()
    rows = {
        f"{PREFIX}{name.upper()}": {
            "value": _shown(settings, name),
            "source": _source(settings, name),
        }
        for name in Settings.model_fields
    }
    if as_json:
        print_json(rows)
        return
    print_table(
        [
            {"setting": name, "value": _words(row["value"]), "source": row["source"]}
            for name, row in rows.items()
        ],
        "There are none.",
    )


def _shown(settings: Settings, name: str) -> Any:
    value = getattr(settings, name)
    # An address of a database has its password in it.
    secret = isinstance(value, SecretStr) or not Settings.model_fields[name].repr
    return HIDDEN if secret and value is not None else to_jsonable_python(value)


def _words(value: Any) -> str:
    """Return a value as it is written in the environment; nothing, where it is not set."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _source(settings: Settings, name: str) -> str:
    if name not in settings.model_fields_set:
        return "default"
    in_environment = f"{PREFIX}{name.upper()}" in map(str.upper, os.environ)
    return "environment" if in_environment else ENV_FILE
