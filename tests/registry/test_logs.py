"""Lines of the log: as JSON, for people, with what they are about, harmless."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from registry.config import Settings
from registry.logs import REQUESTS, set_up_logs

LOG = logging.getLogger("registry.tests")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    for name in ("registry", REQUESTS):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.contextvars.clear_contextvars()


def test_json_lines_say_what_they_are_about(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logs(settings.model_copy(update={"log_format": "json"}))
    structlog.contextvars.bind_contextvars(request_id="abc12345")
    try:
        raise ValueError("a \x1b[2J name")
    except ValueError:
        LOG.exception("it failed for %s", "a\nfox", extra={"run_id": 7})

    line = json.loads(capsys.readouterr().err)

    assert line["event"] == "it failed for a fox"
    assert (line["request_id"], line["run_id"], line["level"]) == ("abc12345", 7, "error")
    assert line["logger"] == "registry.tests"
    assert "ValueError" in line["exception"]
    assert "\x1b" not in line["exception"]


def test_lines_for_people_are_one_each_and_said_once(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logs(settings)
    set_up_logs(settings)
    LOG.info("a fox\nin \x1b[31mred", extra={"run_id": 7})
    logging.getLogger(REQUESTS).info("request")
    logging.getLogger("somebody.elses").info("chatter")

    said = capsys.readouterr().err

    assert said.count("\n") == 1
    assert "a fox in \\x1b[31mred" in said
    assert "run_id=7" in said
