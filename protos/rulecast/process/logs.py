"""Log lines: facts as keys and values, on stderr; for people in a terminal, as JSON for machines."""

import logging
import os
import sys
from enum import StrEnum
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Final, TextIO

import structlog
from structlog.typing import Processor

from rulecast.process.supervise import CanNotStart


class LogFormat(StrEnum):
    """auto: console when stderr is a terminal, JSON otherwise."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


AUDIT: Final = "audit"
"""The logger of who has written what, and who was refused."""

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def configure_logging(
    level: LogLevel = LogLevel.INFO, form: LogFormat = LogFormat.AUTO, stream: TextIO | None = None
) -> None:
    """Sets structlog and the standard library's logging up, both to the same lines. Call once, at start."""
    out = stream or sys.stderr
    console = form is LogFormat.CONSOLE or (form is LogFormat.AUTO and out.isatty())
    structlog.configure(
        # first of all, so that a line that nobody wants costs nothing
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(_formatter(_rendering(console, out.isatty())))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class LogFileFailed(CanNotStart):
    """A file for log lines can not be written; the message says which and why."""


def configure_audit(file: Path | None) -> None:
    """The audit log is written whatever the level, and to a file too where there is one. Raises LogFileFailed."""
    logger = logging.getLogger(AUDIT)
    logger.setLevel(logging.INFO)
    if file is None:
        return
    try:
        handler = _PrivateFile(file, encoding="utf-8")
    except OSError as error:
        raise LogFileFailed(f"the log file {file} can not be written: {error.strerror}") from error
    handler.setFormatter(_formatter(_rendering(console=False, colors=False)))
    logger.addHandler(handler)


class _PrivateFile(WatchedFileHandler):
    """For its owner alone. Opened anew when somebody has moved it away."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _formatter(rendering: list[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )


def _rendering(console: bool, colors: bool) -> list[Processor]:
    if console:
        # values are quoted: a text from outside must not forge a line or move the cursor
        return [
            structlog.dev.ConsoleRenderer(
                colors=colors, repr_native_str=True, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    return [
        structlog.processors.format_exc_info,  # text: tracebacks as data show local variables, and so secrets
        structlog.processors.JSONRenderer(),
    ]
