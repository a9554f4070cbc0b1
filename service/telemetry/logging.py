"""Structured logs: one line per event, with the id of the request it belongs to.

Photos are biometric data: nothing here, and nothing handed to it, holds image content,
file names or coefficients.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from contextvars import ContextVar
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request being served; threads that work on it run in a copy of its context."""

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PLAIN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_UVICORN_ATTRIBUTES = frozenset({"color_message"})
_LONGEST_TRACEBACK = 8000
_LINE_BREAKERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def choose_request_id(proposed: str | None) -> str:
    """Return the client's id if it is short and harmless, else a new one."""
    if proposed and _ACCEPTED_ID.fullmatch(proposed):
        return proposed
    return uuid.uuid4().hex


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    known = _PLAIN_ATTRIBUTES | _UVICORN_ATTRIBUTES
    # Libraries that make records of their own, as Ray does, mark theirs by an underscore.
    fields = {
        name: value
        for name, value in vars(record).items()
        if name not in known and not name.startswith("_")
    }
    if identifier := request_id.get():
        fields.setdefault("request_id", identifier)
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, then the fields of `extra`."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break at its end."""
        entry: dict[str, Any] = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)[-_LONGEST_TRACEBACK:]
        return json.dumps(entry, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """The same for people: time, level, message, name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback if there is one."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        time_of_day = self.formatTime(record, "%H:%M:%S")
        line = f"{time_of_day} {record.levelname.lower():7} {record.getMessage()}{fields}"
        # A path that a client sent must not forge entries or reach the terminal's controls.
        line = _LINE_BREAKERS.sub(lambda found: repr(found[0])[1:-1], line)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)[-_LONGEST_TRACEBACK:]
        return line


class _TooEarly(logging.Filter):
    """Drops uvicorn's line with the address: it comes before the models are loaded."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep the record."""
        return not str(record.msg).startswith("Uvicorn running on")


def logging_config(level: str, form: str) -> dict[str, Any]:
    """The configuration for `logging.config.dictConfig`: everything to standard error.

    `level` is a level's name in small letters, `form` is "json", "text" or "auto": text if standard
    error is a terminal.
    """
    if form == "auto":
        form = "text" if sys.stderr.isatty() else "json"
    formatter = {"json": JsonFormatter, "text": TextFormatter}[form]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{formatter.__module__}.{formatter.__name__}"}},
        "filters": {"early": {"()": f"{_TooEarly.__module__}.{_TooEarly.__name__}"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["early"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            "uvicorn": {"level": level.upper()},
            # Its upload parser would repeat the bodies of requests at the debug level.
            "python_multipart": {"level": "WARNING"},
            # Its compiler would write the bytecode of every kernel at the debug level.
            "numba": {"level": "WARNING"},
        },
    }
