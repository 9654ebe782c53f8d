"""The gateways that run on the data folder, what their clients wait for, and who is told when something happens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from regrant import __version__
from regrant.app import App
from regrant.cli.doctor.finding import Finding
from regrant.cli.running import ask_waiting
from regrant.errors import RegrantError
from regrant.notify.formats import format_of
from regrant.pool.appeal import appeal_text
from regrant.transport.model import Request, Timeouts

TIMEOUTS = Timeouts(connect_s=2.0, first_byte_s=5.0, idle_s=5.0)


class RunNote(msgspec.Struct):
    """`<data>/run/<pid>.json`, which a gateway keeps while it runs."""

    pid: int
    url: str
    version: str = ""


async def check_gateways(app: App) -> list[Finding]:
    notes = await asyncio.to_thread(read_notes, app.settings.data_dir / "run")
    found = list(await asyncio.gather(*(_look_at(app, note) for note in notes)))
    if not found:
        found.append(Finding("gateway", "ok", "none runs on this data folder"))
    return [*found, *await _waiting(app)]


def check_alerts(app: App) -> Iterator[Finding]:
    webhooks = app.settings().notify.webhooks
    if not webhooks:
        yield Finding(
            "alerts", "note", "nobody is told when an account dies", "Set notify.webhooks: docs/alerts.md."
        )
        return
    named = ", ".join(f"{webhook.name} ({format_of(webhook)})" for webhook in webhooks)
    yield Finding("alerts", "ok", f"{named}; POST /api/notify/test tries them")


def read_notes(folder: Path) -> list[RunNote]:
    """The notes of processes that live."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            note = msgspec.json.decode(path.read_bytes(), type=RunNote)
        except (OSError, msgspec.MsgspecError):
            continue  # it has just ended
        if _lives(note.pid):
            found.append(note)
    return found


async def _look_at(app: App, note: RunNote) -> Finding:
    named = f"{note.url} (process {note.pid})"
    try:
        response = await app.transport.send(Request("GET", f"{note.url}/healthz", timeouts=TIMEOUTS))
        await response.close()
    except RegrantError as error:
        advice = "See its log: regrant logs. If it hangs, end it and start it again."
        return Finding("gateway", "FAIL", f"{named} does not answer: {error}", advice)
    if note.version != __version__:
        message = f"{named} runs version {note.version}, this command is {__version__}"
        return Finding("gateway", "note", message, "Restart it to have both the same.")
    return Finding("gateway", "ok", f"{named} runs")


async def _waiting(app: App) -> list[Finding]:
    """What the running gateways' clients wait for."""
    found = []
    async for url, said in ask_waiting(app):
        if said.waiting_for_you:
            advice = "They go on as soon as one of the dead accounts is signed in to: regrant accounts reauth EMAIL"
            found.append(Finding("waiting", "FAIL", f"{url}: {appeal_text(said.waiting_for_you)}", advice))
        elif said.waiting:
            text = f"{url}: {said.waiting} waiting for an account that cools"
            found.append(Finding("waiting", "note", text, "They go on by themselves."))
    return found


def _lives(pid: int) -> bool:
    if os.name == "nt":
        return True  # signal 0 would end a process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
