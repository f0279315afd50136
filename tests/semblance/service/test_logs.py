"""Lines of the log: one a record, readable by a machine, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semblance.service.logs import configure

_NASTY = 'a\nb\r\n{"level": "error"}\x1b[31m\u2028\u202e\udcff"\\ü\x00'
_NAMES = ("", "semblance", "uvicorn", "uvicorn.error", "uvicorn.access", "py.warnings")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _NAMES]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def _json(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_of_json() -> None:
    configure("json", "info", stream := io.StringIO())
    logger = logging.getLogger("semblance.x")
    logger.info("hello %s", "you", extra={"request_id": "ab", "ms": 1.5, "client": None, "path": Path("/x")})
    logger.debug("not this")
    (line,) = _json(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info", "logger": "semblance.x", "message": "hello you",
        "request_id": "ab", "ms": 1.5, "client": None, "path": "/x",
    }  # fmt: skip


def test_the_time_is_utc() -> None:
    configure("json", "info", stream := io.StringIO())
    handler = logging.getLogger().handlers[0]
    record = logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": "m"})
    for created, text in [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
        (1_700_000_001.001, "2023-11-14T22:13:21.001Z"),
    ]:
        record.created = created
        handler.handle(record)
        assert _json(stream)[-1]["time"][:-4] == text[:-4]
    assert len(_json(stream)) == 3


@pytest.mark.parametrize("format", ["json", "text"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_always_one_line(format: str, encoding: str) -> None:
    stream = io.TextIOWrapper(raw := io.BytesIO(), encoding, newline="\n")
    configure(format, "info", stream)
    try:
        raise ValueError(_NASTY)
    except ValueError:
        logging.getLogger("semblance").exception("%s", _NASTY, extra={"name_": _NASTY})
    stream.flush()
    text = raw.getvalue().decode(encoding)
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    assert len(text.splitlines()) == 1
    if format == "json":
        line = json.loads(text)
        assert line["message"] == line["name_"] == _NASTY
        assert line["exception"].startswith("Traceback")
        assert "\n" in line["exception"]


def test_what_json_has_not() -> None:
    configure("json", "info", stream := io.StringIO())
    logging.getLogger("semblance").info("x", extra={"a": float("nan"), "b": {1, 2}, "c": {"d": 1}})
    (line,) = _json(stream)
    assert line["a"] == "nan"


def test_an_extra_changes_no_member_of_the_line() -> None:
    configure("json", "info", stream := io.StringIO())
    logging.getLogger("semblance").info("x", extra={"level": "error", "time": "never"})
    (line,) = _json(stream)
    assert line["level"] == "info"
    assert line["time"] != "never"


def test_text() -> None:
    configure("text", "info", stream := io.StringIO())
    logging.getLogger("semblance.x").warning("hot", extra={"request_id": "ab", "client": None})
    assert stream.getvalue()[24:] == " WARNING semblance.x: hot request_id=ab\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/v1/info", "/v1/info"),
        ("/x status=200", '"/x status=200"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("tab\there", r'"tab\there"'),
        ("a\u2003b", '"a\u2003b"'),
        (1.5, "1.5"),
    ],
)
def test_a_value_in_text_is_one_value(value: object, shown: str) -> None:
    configure("text", "info", stream := io.StringIO())
    logging.getLogger("semblance").info("x", extra={"path": value, "status": 404})
    assert stream.getvalue().endswith(f": x path={shown} status=404\n")


def test_uvicorn_and_warnings_go_the_same_way() -> None:
    logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())
    configure("json", "info", stream := io.StringIO())
    logging.getLogger("uvicorn.error").error("broken\n", extra={"color_message": "x"})
    logging.getLogger("uvicorn.error").info("Started server process")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", stacklevel=1)
    lines = _json(stream)
    assert [line["logger"] for line in lines] == ["uvicorn.error", "py.warnings"]
    assert lines[0]["message"] == "broken"
    assert "color_message" not in lines[0]


def test_again_is_not_twice() -> None:
    configure("json", "info", io.StringIO())
    configure("json", "debug", stream := io.StringIO())
    logging.getLogger("semblance").debug("once")
    assert len(_json(stream)) == 1


def test_a_stream_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info", stream := io.StringIO())
    stream.close()
    logging.getLogger("semblance").info("to nobody")
    assert capsys.readouterr().err == ""
