"""What the gateways that run on a data folder say of themselves, asked over their admin API.

Most commands never ask: they work on the files, whether a gateway runs or not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import msgspec

from regrant.admin.token import ensure_token
from regrant.app import App
from regrant.errors import RegrantError, TransportError
from regrant.transport.model import Request, Timeouts

T = TypeVar("T")

TIMEOUTS = Timeouts(connect_s=2.0, first_byte_s=10.0, idle_s=5.0)
MAX_BYTES = 64 << 20


class _Note(msgspec.Struct):
    url: str


class Waiting(msgspec.Struct):
    """How many requests wait for an account, and how many of them for somebody to sign in."""

    waiting: int = 0
    waiting_for_you: int = 0


async def ask_waiting(app: App) -> AsyncIterator[tuple[str, Waiting]]:
    """The address of each running gateway and what it says; one that does not answer is left out."""
    for url in _addresses(app.settings.data_dir / "run"):
        said = await _ask(app, f"{url}/api/pool", Waiting)
        if said is not None:
            yield url, said


async def ask_any(app: App, path: str, kind: type[T]) -> T | None:
    """What the first running gateway that answers says; None where none does."""
    for url in _addresses(app.settings.data_dir / "run"):
        said = await _ask(app, url + path, kind)
        if said is not None:
            return said
    return None


def _addresses(folder: Path) -> list[str]:
    found = []
    for note in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(note.read_bytes(), type=_Note).url)
        except (OSError, msgspec.MsgspecError):
            continue  # it has just ended
    return found


async def _ask(app: App, url: str, kind: type[T]) -> T | None:
    try:
        token = ensure_token(app.settings.data_dir).reveal().encode()
        headers = ((b"authorization", b"Bearer " + token),)
        response = await app.transport.send(Request("GET", url, headers, timeouts=TIMEOUTS))
        try:
            body = await response.read(MAX_BYTES)
        finally:
            await response.close()
        return msgspec.json.decode(body, type=kind) if response.status == 200 else None
    except (msgspec.MsgspecError, TransportError, RegrantError):
        return None  # it has just ended, or was killed: nothing is known of it
