"""What the program says while it runs: named events to stderr and to <data>/logs/regrant.log.

The file and its rotation are in `log_file`. Which messages belong to which event is decided where they happen;
requests are recorded by `traffic`, not here.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from regrant.clock import Clock, SystemClock
from regrant.log_file import LogFile
from regrant.secret import Secret
from regrant.settings.model import Log

FILE = Path("logs", "regrant.log")
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_DEEPEST = 8


class Logger:
    """Says events in the name of one part of the program. No call raises, whatever the sinks or the fields do.

    `event` is a stable name for programs, `message` a sentence for people, `fields` facts by name. A Secret in them,
    however deep, shows as its mask.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, message: str, /, **fields: Any) -> None:
        _outlet.say("debug", self._name, event, message, fields)

    def info(self, event: str, message: str, /, **fields: Any) -> None:
        _outlet.say("info", self._name, event, message, fields)

    def warning(self, event: str, message: str, /, **fields: Any) -> None:
        _outlet.say("warning", self._name, event, message, fields)

    def error(self, event: str, message: str, /, **fields: Any) -> None:
        _outlet.say("error", self._name, event, message, fields)


class Outlet:
    """Where events go: a stream, and a file if there is one."""

    def __init__(
        self, level: str, stream: TextIO, *, plain: bool, coloured: bool, file: LogFile | None, clock: Clock
    ) -> None:
        self.least = LEVELS[level]
        self.stream = stream
        self.plain = plain
        self.coloured = coloured
        self.file = file
        self.clock = clock
        self.failures = 0
        self._file_failing = False

    def say(self, level: str, name: str, event: str, message: str, fields: Mapping[str, Any]) -> None:
        if LEVELS[level] < self.least:
            return
        at = self.clock.now()
        try:
            record = make_record(at, level, event, message, fields, logger=name)
            line = render_json(record)
        except Exception:  # whatever a field's own code did; the event matters more than its facts
            record = make_record(at, level, event, message, {"unprintable": sorted(fields)}, logger=name)
            line = render_json(record)
        self._to_stream(render_plain(record, coloured=self.coloured) if self.plain else line)
        if self.file is not None:
            self._to_file(self.file, line)

    def _to_stream(self, line: str) -> None:
        try:
            try:
                self.stream.write(line + "\n")
            except UnicodeEncodeError:
                self.stream.write(_only_ascii(line) + "\n")
            self.stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed; there is nowhere left to tell it
            self.failures += 1

    def _to_file(self, file: LogFile, line: str) -> None:
        try:
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:
            self.failures += 1
            if not self._file_failing:
                self._file_failing = True
                reason = f"cannot write {file.path}: {error.strerror or error}; the log goes to stderr only until it can"
                self._tell_stream("error", "log_file_failed", reason)
        else:
            if self._file_failing:
                self._file_failing = False
                self._tell_stream("info", "log_file_recovered", f"writing {file.path} again")

    def _tell_stream(self, level: str, event: str, message: str) -> None:
        record = make_record(self.clock.now(), level, event, message, {}, logger="logs")
        self._to_stream(render_plain(record, coloured=self.coloured) if self.plain else render_json(record))


class _FromLibraries(logging.Handler):
    """Hands what libraries say through the standard `logging` to the outlet."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = (
                {"traceback": "".join(traceback.format_exception(*record.exc_info))}
                if record.exc_info
                else {}
            )
            level = "error" if record.levelno >= logging.ERROR else "warning"
            _outlet.say(level, record.name, "library", record.getMessage(), fields)
        except (
            Exception
        ):  # a library's broken format string must not break the caller; logging counts it the same way
            self.handleError(record)


def get(name: str) -> Logger:
    return Logger(name)


def configure(log: Log, data_dir: Path, stream: TextIO | None = None, clock: Clock | None = None) -> None:
    """Send events where `log` says from now on; may be called again when the settings change."""
    global _outlet  # noqa: PLW0603 - the one place that says where the whole process logs to
    target = stream or sys.stderr
    terminal = target.isatty()
    plain = log.format == "plain" or (log.format == "auto" and terminal)
    file = LogFile(data_dir / FILE, data_dir / "locks" / "log.lock") if log.file else None
    old = _outlet
    _outlet = Outlet(
        log.level,
        target,
        plain=plain,
        coloured=plain and terminal and not os.environ.get("NO_COLOR"),
        file=file,
        clock=clock or SystemClock(),
    )
    if old.file is not None:
        old.file.close()
    logging.root.handlers[:] = [_FromLibraries()]
    logging.root.setLevel(logging.WARNING)


def failures() -> int:
    """How many lines could not be written since `configure`."""
    return _outlet.failures


def make_record(
    at: float, level: str, event: str, message: str, fields: Mapping[str, Any], *, logger: str
) -> dict[str, Any]:
    """One line as JSON can hold it. Fields never replace the contract's own keys."""
    record: dict[str, Any] = {"at": round(at, 3), "level": level, "event": event, "message": str(message)}
    first = [field for field in ("account", "email") if field in fields]
    for field in (*first, *fields):
        record.setdefault(field, printable(fields[field]))
    record.setdefault("logger", logger)
    return record


def render_json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def render_plain(record: Mapping[str, Any], *, coloured: bool) -> str:
    """For people: local time, level, message, facts. Control characters are escaped, so that a line stays a line."""
    clock_time = time.strftime("%H:%M:%S", time.localtime(record["at"]))
    level, message = record["level"], _escape(record["message"])
    hidden = {"at", "level", "event", "message", "logger"}
    facts = " ".join(
        _escape(f"{name}={_compact(value)}") for name, value in record.items() if name not in hidden
    )
    shown = f"{_COLOURS[level]}{level:<7}\x1b[0m" if coloured else f"{level:<7}"
    return f"{clock_time} {shown} {message}{'  ' + facts if facts else ''}"


def printable(value: Any, depth: int = 0) -> Any:
    """`value` as JSON can hold it. Secrets are masked by their type; what cannot be shown says so instead of raising."""
    if depth > _DEEPEST:
        return "…"
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Secret():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping():
            return {str(name): printable(item, depth + 1) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [printable(item, depth + 1) for item in value]
        case _:
            return _printable_object(value, depth)


def _printable_object(value: Any, depth: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: printable(getattr(value, field.name), depth + 1)
            for field in dataclasses.fields(value)
        }
    if hasattr(value, "__struct_fields__") and not isinstance(value, type):
        return {name: printable(getattr(value, name), depth + 1) for name in value.__struct_fields__}
    return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _only_ascii(line: str) -> str:
    """Escaped as JSON does it, so that a line of JSON stays one."""
    return _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], line)


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


_outlet = Outlet("info", sys.stderr, plain=True, coloured=False, file=None, clock=SystemClock())
