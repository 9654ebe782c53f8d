"""How commands speak: results on stdout, everything else on stderr, readable on a terminal and plain in a pipe.

What is said is decided by each command; which exit code follows is in `commands.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from regrant.errors import RegrantError

USAGE = 2


class Failure(RegrantError):
    """What was asked for cannot be done; `hint` says what to do next."""

    def __init__(self, message: str, hint: str = "", *, code: int = 1) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def prepare_streams() -> None:
    """Characters that a terminal cannot show become question marks instead of an exception."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def say(line: str = "") -> None:
    """One line of the result, at once."""
    print(line, flush=True)


def remark(line: str) -> None:
    """One line for the person at the terminal; never part of the result."""
    _print_error(line)


def complain(message: str, hint: str = "") -> None:
    _print_error(f"regrant: {message}")
    if hint:
        _print_error(hint)


def _print_error(line: str) -> None:
    # A reader of stderr that has gone is no reason to fail.
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def show_json(document: Any) -> None:
    """The result as one indented JSON document; ASCII only where the terminal is not UTF-8."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    print(json.dumps(document, indent=2, ensure_ascii=not encoding.startswith("utf")), flush=True)


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns: folded to the width of a terminal, never cut; in a pipe one line per row."""
    cleaned = [[one_line(cell) for cell in row] for row in rows]
    if sys.stdout is not None and sys.stdout.isatty():
        _show_folded(headings, cleaned)
        return
    widths = [max(len(row[column]) for row in (headings, *cleaned)) for column in range(len(headings))]
    for row in (headings, *cleaned):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _show_folded(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(file=sys.stdout, highlight=False).print(table)


_STYLES = {
    "active": "green",
    "ok": "green",
    "disabled": "red",
    "corrupt": "red",
    "FAIL": "red",
    "paused": "yellow",
    "attention": "yellow",
    "cooling": "yellow",
    "protected": "yellow",
}


def one_line(text: str) -> str:
    """`text` without what could move the cursor, break the line or colour the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def moment(at: float) -> str:
    """A unix second in local time; "never" for 0."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else "never"


def interactive() -> bool:
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def ask(question: str) -> bool:
    """A yes-or-no question on the terminal; anything but yes is no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def silence_stdout() -> None:
    """After a failed write: what is still buffered goes nowhere, so that the end of the program is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
