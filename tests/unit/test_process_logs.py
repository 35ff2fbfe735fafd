"""What a log line looks like."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from rulecast.process.logs import LogFormat, LogLevel, configure_logging


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_facts_are_json_when_nobody_looks(out: io.StringIO) -> None:
    configure_logging(stream=out)

    with structlog.contextvars.bound_contextvars(request_id="abc"):
        structlog.get_logger("files").info("files committed", written=3, path=b"x")

    [line] = lines(out)
    assert (line["event"], line["written"], line["level"], line["request_id"]) == ("files committed", 3, "info", "abc")
    assert line["timestamp"].endswith("Z")


def test_the_standard_library_logs_the_same_way(out: io.StringIO) -> None:
    configure_logging(stream=out)

    logging.getLogger("aiohttp.server").warning("odd %s", "request", extra={"peer": "x"})

    [line] = lines(out)
    assert (line["event"], line["logger"], line["level"], line["peer"]) == (
        "odd request",
        "aiohttp.server",
        "warning",
        "x",
    )


def test_what_is_below_the_level_is_left_out(out: io.StringIO) -> None:
    configure_logging(LogLevel.WARNING, stream=out)

    structlog.get_logger().info("not shown")
    structlog.get_logger().warning("shown")

    assert [line["event"] for line in lines(out)] == ["shown"]


def test_a_logger_has_a_level_of_its_own(out: io.StringIO) -> None:
    configure_logging(LogLevel.ERROR, stream=out)
    logger = logging.getLogger("test of levels")
    logger.setLevel(logging.INFO)

    structlog.get_logger("test of levels").info("shown")
    structlog.get_logger("test of levels").debug("not shown")

    assert [line["event"] for line in lines(out)] == ["shown"]


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.CONSOLE])
def test_a_traceback_does_not_show_local_variables(out: io.StringIO, form: LogFormat) -> None:
    configure_logging(form=form, stream=out)
    password = "".join(["hun", "ter2"])

    try:
        raise ValueError(len(password))
    except ValueError:
        structlog.get_logger().exception("failed")

    assert "ValueError: 7" in out.getvalue()
    assert "hunter2" not in out.getvalue()


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.CONSOLE])
def test_text_from_outside_can_not_forge_a_line(out: io.StringIO, form: LogFormat) -> None:
    configure_logging(form=form, stream=out)

    structlog.get_logger().info("refused", file="a\n2026 [error] forged\x1b[2J")

    assert len(out.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in out.getvalue()
