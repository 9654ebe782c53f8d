"""`regrant logs`: the end of `<data>/logs/regrant.log`, for people or as it is. Who writes it is `regrant/logs.py`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from regrant import logs
from regrant.cli.terminal import is_terminal, remark, say
from regrant.settings import data_dir

POLL_S = 0.2


def show_log(folder: Path | None, lines: int, *, follow: bool, as_json: bool) -> None:
    path = data_dir(folder, os.environ) / logs.FILE
    if not path.exists() and not follow:
        remark(f"There is no log yet: {path}")
        return
    for line in _last(path, lines):
        say(line if as_json else _readable(line))
    if follow:
        for line in _appended(path):
            say(line if as_json else _readable(line))


def _last(path: Path, count: int) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def _appended(path: Path) -> Iterator[str]:
    """Lines as they come, also into the new file after a rotation; without end."""
    seen, at = _identity(path), _size(path)
    pending = ""
    while True:
        time.sleep(POLL_S)
        now = _identity(path)
        if now != seen:
            seen, at, pending = now, 0, ""
        if now is None or _size(path) <= at:
            continue
        with open(path, "rb") as file:
            file.seek(at)
            content = file.read()
        at += len(content)
        *lines, pending = (pending + content.decode(errors="replace")).split("\n")
        yield from lines


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _readable(line: str) -> str:
    try:
        return logs.render_plain(json.loads(line), coloured=is_terminal(sys.stdout))
    except (ValueError, KeyError, TypeError, AttributeError):
        return line  # not one of ours, or cut
