"""Which commands there are, each in a file that is imported when the command is named."""

from importlib import import_module
from typing import Any

from typer.main import get_group

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
                self.commands.update(load_commands(COMMANDS[name]))
        return super().get_command(ctx, cmd_name)


def load_commands(file: str) -> dict[str, Any]:
    """Import a file of commands; return what it adds to `autolora`."""
    with loading():
        app = import_module(f"registry.cli.{file}").app
    group = get_group(app)
    return {group.name: group} if group.name else dict(group.commands)
