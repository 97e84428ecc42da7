"""Logs on stderr, a line each: for people, or JSON for programs, with what each is about.

Whatever logs does so by Python's own `logging`; what a line is about (the request, the refresh) is
bound by structlog's contextvars, which follow the work into threads.
"""

import logging
import sys
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict

from crawler.foreign_text import one_line, visible
from registry.config import Settings

# Every request is logged here, if that is wanted.
REQUESTS = "registry.requests"


def set_up_logs(settings: Settings) -> None:
    """Let this process log as the settings say; called once, where a long-lived command begins."""
    json = settings.log_format == "json"
    chain: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _harmless,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False, sort_keys=True)
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for earlier in list(root.handlers):
        if isinstance(earlier.formatter, ProcessorFormatter):
            root.removeHandler(earlier)
    root.addHandler(handler)
    # Of libraries only what went wrong.
    root.setLevel(logging.WARNING)
    logging.getLogger("registry").setLevel(logging.INFO)
    logging.getLogger(REQUESTS).setLevel(logging.INFO if settings.log_requests else logging.WARNING)


def _harmless(_: Any, __: str, event: EventDict) -> EventDict:
    """Write out what acts on a terminal: a name of a hub's, a path of a client's."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value) if name == "exception" else one_line(value)
    return event
