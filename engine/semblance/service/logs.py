"""What is logged, as lines that a machine or a person reads: always one line a record, whatever a stranger put in it.

In: records of every logger, uvicorn's and warnings too. Out: to stderr, JSON with the time in UTC, or text. What was
given as `extra` is a member of its own.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
import unicodedata
from collections.abc import Mapping
from typing import Any, TextIO

# what each record has of itself; `color_message` is uvicorn's text once more, for a terminal
_OWN = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"})

_UNCLEAR = re.compile(r'[\s"=]')  # what makes a value look like several, or like another


def configure(format: str = "json", level: str = "info", stream: TextIO | None = None) -> None:
    """Log everything from `level` on to `stream` (default: stderr), as "json" or "text", and nothing elsewhere."""
    handler = _Handler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    number = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    for before in list(root.handlers):
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(number)
    logging.getLogger("semblance").setLevel(logging.NOTSET)  # as the command line had set it
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # what uvicorn says of a process's beginning and end we say ourselves
    logging.getLogger("uvicorn").setLevel(number if number <= logging.DEBUG else max(number, logging.WARNING))
    logging.captureWarnings(True)
    logging.logProcesses = logging.logMultiprocessing = False  # a system call for each line, of which nothing is told


class _Lines(logging.Formatter):
    """The time of records, of which many fall into one second."""

    def __init__(self) -> None:
        super().__init__()
        self._second: tuple[int, str] = (-1, "")

    def time(self, record: logging.LogRecord) -> str:
        """2026-01-31T23:59:59.123Z."""
        second, text = self._second
        now = math.floor(record.created)
        if now != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            self._second = now, text  # together, since threads share it
        return f"{text}.{math.floor((record.created - now) * 1000):03d}Z"

    def trace(self, record: logging.LogRecord) -> str:
        """The exception with its traceback, or nothing."""
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        return "\n".join(filter(None, [record.exc_text, record.stack_info]))


class JsonLines(_Lines):
    """One object a line, in ASCII: whatever is read as UTF-8, Latin-1 or code page 437 reads the same."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().rstrip("\n"),
        }
        for name, value in _extras(record).items():
            line.setdefault(name, value)
        if trace := self.trace(record):
            line["exception"] = trace
        try:
            return json.dumps(line, default=str, allow_nan=False)
        except (ValueError, TypeError):  # NaN, or a key of another type, in what was given as an extra
            return json.dumps({name: value if isinstance(value, str) else repr(value) for name, value in line.items()})


class TextLines(_Lines):
    """For a person: time, level, logger, message, extras as name=value; an exception behind it, in the same line.

    A value that could be taken for more than one is in quotes.
    """

    def format(self, record: logging.LogRecord) -> str:
        extras = "".join(f" {name}={_clear(value)}" for name, value in _extras(record).items() if value is not None)
        trace = self.trace(record)
        text = f"{record.getMessage().rstrip()}{extras}{f' | {trace}' if trace else ''}"
        return f"{self.time(record)} {record.levelname:7} {record.name}: {_one_line(text)}"


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines that the stream can hold; where it is closed, nobody is left to be told."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if line.isascii():
            return line
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        return line.encode(encoding, "backslashreplace").decode(encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # its name in logging
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)


def _extras(record: logging.LogRecord) -> Mapping[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _clear(value: object) -> str:
    """In quotes, as JSON has them, where it could be taken for more than one value."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if _UNCLEAR.search(text) else text


def _one_line(text: str) -> str:
    """With what ends a line, or commands a terminal, written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        each if unicodedata.category(each)[0] != "C" and each not in "\u2028\u2029" else _escaped(each) for each in text
    )


def _escaped(each: str) -> str:
    return each.encode("unicode_escape").decode()
