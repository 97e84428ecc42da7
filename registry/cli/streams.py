"""What a terminal can show."""

import io
import sys
from typing import TextIO


def write_any_text() -> None:
    """Let no output fail on a terminal that cannot show it: signs are written out instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not is_unicode(stream):
            stream.reconfigure(errors="backslashreplace")


def is_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")
