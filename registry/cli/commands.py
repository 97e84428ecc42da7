"""Which commands there are, each in a file that is imported when the command is named."""

from importlib import import_module
from typing import Any

from typer import Typer
from typer.main import get_command_name, get_group

from registry.cli.errors import OneLineErrors
from registry.cli.loading import loading

# Each file with what it adds, a group under the group's name, in the order of `--help`.
FILES = {
    "search": ("search", "list", "facets", "show", "similar", "duplicates", "choose", "claim"),
    "download": ("download",),
    "remove": ("remove",),
    "inspect": ("inspect",),
    "fuse": ("fuse", "grid", "compare"),
    "export": ("export", "send"),
    "refresh": ("refresh", "crawl", "encode"),
    "caption": ("caption",),
    "draw_covers": ("draw-covers",),
    "encoders": ("encoders",),
    "train_encoder": ("train-encoder",),
    "train_gates": ("train-gates",),
    "serve": ("serve",),
    "mcp": ("mcp",),
    "worker": ("worker",),
    "night": ("night", "schedule", "runs"),
    "status": ("status",),
    "settings": ("settings",),
    "doctor": ("doctor",),
    "backup": ("backup", "restore"),
    "token": ("token",),
}
COMMANDS = {command: file for file, commands in FILES.items() for command in commands}


class CommandsByFile(OneLineErrors):
    """A group that knows its commands by name, and loads the file of one when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # What no command is called may be near to any: Typer looks among all of them.
        wanted = [cmd_name] if cmd_name in COMMANDS else list(COMMANDS)
        for name in wanted:
            if name not in self.commands:
                self.commands[name] = load_command(name)
        return super().get_command(ctx, cmd_name)


def load_command(name: str) -> Any:
    """Import a command's file, and make of what that adds to `autolora` this command alone."""
    with loading():
        app = import_module(f"registry.cli.{COMMANDS[name]}").app
    if app.info.name == name:
        return get_group(app)
    alone = Typer()
    alone.registered_commands = [
        command
        for command in app.registered_commands
        if name in (command.name, get_command_name(command.callback.__name__))
    ]
    return get_group(alone).commands[name]
