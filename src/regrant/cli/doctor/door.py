"""The gateway's front door: what it asks of clients, and which layer would refuse a key: mode, header or key.

The door itself is `gateway/guard.py`. A key may be given alone, or as a client sends it: `x-api-key: KEY`.
"""

from __future__ import annotations

import asyncio
import re

from regrant.app import App
from regrant.cli.doctor.finding import Finding, Level
from regrant.cli.doctor.gateways import read_notes
from regrant.errors import RegrantError
from regrant.gateway.keys import ACCEPTED, Mode, effective_mode, needs_key, shown_keys
from regrant.secret import Secret
from regrant.transport.model import Request, Timeouts

TIMEOUTS = Timeouts(connect_s=2.0, first_byte_s=5.0, idle_s=5.0)
PATH = "/v1/models"
ASKED = "/v1/chat/completions"
"""A route that takes no GET: a key is judged there and nothing is done."""
_SENT = re.compile(r"([A-Za-z][A-Za-z-]*):[ \t]*(.*)", re.DOTALL)


async def check_door(app: App, key: str | None) -> list[Finding]:
    mode = effective_mode(app.settings().server)
    app.load_keys()
    if mode == "off":
        door = Finding(
            "front door", "ok", "auth_mode is off: no key is needed, only this machine may connect"
        )
    elif not app.keys:
        message = f"auth_mode is {mode} and there is no key yet; serve makes one when it starts"
        door = Finding("front door", "note", message)
    else:
        count = len(app.keys.keys)
        door = Finding("front door", "ok", f"auth_mode is {mode}; {count} key{'' if count == 1 else 's'}")
    return [door] if key is None else [door, *await _judge(app, key.strip(), mode)]


async def _judge(app: App, given: str, mode: Mode) -> list[Finding]:
    """The layers in the order in which they refuse."""
    needed = needs_key(mode, PATH)
    header, value = _taken_apart(app, given)
    found = [
        Finding(
            "mode",
            "ok",
            f"auth_mode {mode} {'asks for a key' if needed else 'asks for none: requests are served without'}",
        ),
        _judge_header(header, needed=needed),
        _judge_key(app, value, needed=needed),
    ]
    return [*found, *await _ask_gateways(app, header, value)]


def _taken_apart(app: App, given: str) -> tuple[str, str]:
    """The header ("" when it is not known) and the key in it."""
    sent = _SENT.fullmatch(given)
    if sent is None or app.keys.match([given]) is not None:
        return "", given
    header, value = sent[1], sent[2].strip()
    shown = shown_keys([(header.lower().encode(), value.encode("utf-8", "replace"))], b"")
    return header, shown[0][1] if shown else value


def _judge_header(header: str, *, needed: bool) -> Finding:
    accepted = f"Keys are looked for in: {', '.join(ACCEPTED)}."
    if not header:
        return Finding("header", "ok", "give the key as NAME: KEY to have its header judged too", accepted)
    if header.lower() in {name.lower() for name in ACCEPTED}:
        return Finding("header", "ok", f"{header} is one in which keys are looked for")
    return Finding("header", "FAIL" if needed else "note", f"no key is looked for in {header}", accepted)


def _judge_key(app: App, key: str, *, needed: bool) -> Finding:
    found = app.keys.match([key])
    if found is not None:
        return Finding("key", "ok", f'it is the key "{found.name}"')
    level: Level = "FAIL" if needed else "note"
    if _is_admin_token(app, Secret(key)):
        message = "it is the admin token, which the gateway's routes do not accept"
    elif key.lower().startswith("bearer "):
        message = 'give the key alone, without "Bearer", or the whole header: Authorization: Bearer KEY'
    elif needed:
        message = "it is none of the keys: requests with it are refused with 401"
    else:
        message = (
            "it is none of the keys; auth_mode asks for none now, so requests with it are served all the same"
        )
    return Finding(
        "key", level, message, "regrant keys list shows their endings; regrant keys create NAME makes one."
    )


async def _ask_gateways(app: App, header: str, key: str) -> list[Finding]:
    """What those say that run: they may have been started with other settings than this command sees."""
    notes = await asyncio.to_thread(read_notes, app.settings.data_dir / "run")
    return [found for note in notes if (found := await _ask(app, note.url, header, key)) is not None]


async def _ask(app: App, url: str, header: str, key: str) -> Finding | None:
    name = (header or "Authorization").lower()
    value = f"Bearer {key}" if name == "authorization" else key
    headers = ((name.encode(), value.encode("utf-8", "replace")),)
    try:
        response = await app.transport.send(Request("GET", url + ASKED, headers, timeouts=TIMEOUTS))
        await response.close()
    except RegrantError:
        return None  # whether it answers at all is a finding of its own
    if response.status in {401, 403}:
        advice = (
            "Was it started with other settings, in its environment or by flags? See: regrant config show"
        )
        return Finding("gateway's word", "FAIL", f"{url} refuses it with {response.status}", advice)
    return Finding("gateway's word", "ok", f"{url} lets it in")


def _is_admin_token(app: App, key: Secret) -> bool:
    try:
        content = (app.settings.data_dir / "admin.token").read_text(errors="replace").strip()
    except OSError:
        return False
    return bool(content) and Secret(content) == key
