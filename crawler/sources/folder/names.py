"""What a file is called, for people: often its folder's name says more than its own."""

import re
from collections.abc import Sequence
from pathlib import PurePath

from crawler.file_names import is_generic
from crawler.foreign_text import one_line

# The folders that trainers write one stage of a run to: `checkpoint-500`, `step_00500`.
STAGE = re.compile(r"(checkpoint|step|epoch)[-_ ]?0*(\d+)", re.IGNORECASE)
# What trainers put behind a run's name. sd-scripts and musubi-tuner: `run-000004` is an epoch,
# `run-step00000500` a step; ai-toolkit: `run_000000500` is a step.
RUN_STAGE = re.compile(r"-(?P<epoch>\d+)|(?:-step(?=\d)|_(?=\d{9}$))(?P<step>\d+)")

# Control characters (C0, C1), what breaks a line, and what turns the direction of writing. All
# else is in names that people give: Chinese spaces, what joins an emoji, emoji to come.
ACTS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def display_name(parts: Sequence[str], output_name: str) -> str:
    """Name a file from the parts of its path, the folder that was given first.

    `output_name` is what its trainer called the run, "" where that is not known.
    """
    *folders, stem = parts
    if output_name and not is_generic(output_name):
        return output_name + run_stage(stem, output_name)
    if not is_generic(stem) or not folders:
        return stem
    if is_stage(folders[-1]) and len(folders) > 1:
        return f"{folders[-2]} {_stage(folders[-1])}"
    return folders[-1]


def run_stage(stem: str, output_name: str) -> str:
    """Return what a trainer put behind its run's name, in words; "" if that is nothing."""
    match = RUN_STAGE.fullmatch(stem.removeprefix(output_name))
    if match is None or not stem.startswith(output_name):
        return ""
    kind = "epoch" if match["epoch"] else "step"
    return f" {kind} {int(match[kind])}"


def is_stage(folder: str) -> bool:
    """Whether a folder holds one stage of a run, whose name is that of the folder above."""
    return STAGE.fullmatch(folder) is not None


def is_hidden(name: str) -> bool:
    """Whether a file or a folder of this name is left out, with all that is in it."""
    return name.startswith(".")


def why_not_stored(path: PurePath) -> str | None:
    """Say why a file of this path is not taken, None if it is: file systems take any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "its path is not UTF-8 and cannot be stored; rename it"
    if ACTS.search(str(path)):
        # Shown as it is it would act on a terminal; cleaned it would name another file.
        return "its path holds control characters; rename it"
    return None


def shown(name: str) -> str:
    """Return a name as one line of text, whatever bytes it is made of."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return one_line(text)


def _stage(folder: str) -> str:
    match = STAGE.fullmatch(folder)
    assert match is not None
    kind, number = match[1].lower(), match[2]
    return f"{'epoch' if kind == 'epoch' else 'step'} {number}"
