"""`GET /api/logs`: the newest lines of the log file, as the objects that they are."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.params import QueryParameter

from regrant import logs
from regrant.admin.desk import AtDesk
from regrant.admin.fields import MAX_ITEMS

MAX_BYTES = 2_000_000


class LogList(msgspec.Struct, frozen=True):
    """The newest first."""

    items: list[dict[str, Any]]
    next: str | None


@get("/api/logs", operation_id="list_log_lines", summary="The newest lines of the log file")
async def list_log_lines(
    desk: AtDesk, limit: Annotated[int, QueryParameter(ge=1, le=MAX_ITEMS)] = 100
) -> LogList:
    path = desk.parts.settings.data_dir / logs.FILE
    return LogList(await asyncio.to_thread(read_newest, path, limit), None)


def read_newest(path: Path, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` lines from the file's last two megabytes; [] when there is no file. Raises OSError."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_BYTES))
            lines = file.read(MAX_BYTES).splitlines()
    except FileNotFoundError:
        return []
    found: list[dict[str, Any]] = []
    for line in reversed(lines):
        if len(found) == limit:
            break
        try:
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # the cut first line, or one that is being written
    return found


ROUTES = [list_log_lines]
