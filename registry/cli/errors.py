"""Failures as one line on stderr and exit code 1; never a traceback for what is not a bug."""

import errno
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer
from typer import TyperException
from typer.core import TyperGroup

from crawler.errors import AutoLoraError
from crawler.foreign_text import one_line
from registry.errors import RegistryError

# What goes on where it was stopped, when it is run again.
RESUMED = (
    "refresh",
    "crawl",
    "encode",
    "caption",
    "draw-covers",
    "night",
    "worker",
    "schedule",
    "train-encoder",
    "train-gates",
    "restore",
)
# What writes an image once that is whole.
DRAWING = ("fuse", "grid", "compare")


class OneLineErrors(TyperGroup):
    """A group of commands that reports our errors; other exceptions are bugs and stay loud."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; what Typer cannot read of it is one line as well, with exit code 2."""
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args)
        if not standalone_mode:
            return run(**extra)
        try:
            ended = run(**extra)
        except TyperException as error:
            # Of a group without a command Typer has printed the help.
            if type(error).__name__ != "NoArgsIsHelpError":
                report(usage_words(error))
            sys.exit(error.exit_code)
        except typer.Abort:
            report("stopped.")
            sys.exit(1)
        sys.exit(ended if isinstance(ended, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _database_errors():
                return super().invoke(ctx)
        except AutoLoraError as error:
            report(str(error))
            raise typer.Exit(1) from error
        except OSError as error:
            # Whoever writes a file says where; what is left is the output itself.
            if error.errno != errno.ENOSPC:
                raise
            report("no space is left where the output goes. Free some, or send it elsewhere.")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            report(f"stopped.{kept_of(ctx.invoked_subcommand)}")
            # Shells report a program that Ctrl-C ended by this code.
            raise typer.Exit(130) from error


@contextmanager
def _database_errors() -> Iterator[None]:
    """Tell as ours what a database says that went away or is full, where one was opened."""
    try:
        yield
    except Exception:
        # Any, and raised again: which are the database's own, only its driver tells. It is not
        # imported for that, since most commands ask a server and load none.
        session = sys.modules.get("registry.db.session")
        if session is None:
            raise
        with session.one_line_errors():
            raise


def kept_of(command: str | None) -> str:
    """Say what is left of a command that was stopped, and how it goes on."""
    if command in RESUMED:
        return " What was done is kept: the same command goes on from there."
    if command in DRAWING:
        return " No half image was written: the same command draws all of it."
    if command == "download":
        return " No half file was written: the same command fetches all of it."
    return ""


def usage_words(error: TyperException) -> str:
    """Say what was typed wrong, and where it is told what would be right."""
    said = error.format_message().strip().rstrip(".")
    given = re.fullmatch(r"Invalid value for (.+?): (.+)", said, re.DOTALL)
    if given is not None:
        from registry.faults import fault_words

        name = given[1].replace("'", "")
        # Typer has pydantic read values.
        faults: list[Any] = getattr(error.__cause__, "errors", list)()
        said = fault_words(name, faults[0]) if faults else f"{name}: {given[2]}"
        said = said.replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)
    is_dashed = said.startswith("No such option") and not getattr(error, "possibilities", None)
    said = said[:1].lower() + said[1:] + ("" if said.endswith("?") else ".")
    if context is None:
        return said
    if is_dashed:
        said += f" Words that begin with - go last, behind --: `{context.command_path} -- -x`."
    return f"{said} `{context.command_path} --help` lists what it takes."


def report(message: str) -> None:
    """Write one line to stderr, whatever a hub or a driver put into the message."""
    typer.echo(f"autolora: {one_line(message)}", err=True)


class UsageError(RegistryError):
    """What was typed makes no sense."""


class PortError(RegistryError):
    """The server cannot listen where it was told to."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"cannot serve on {host}:{port}: {reason}. "
            f"Choose another with `--port {port + 1 if port < 65535 else 8000}`."
        )
