"""`regrant accounts add|reauth`: where a credential comes from, the sign-in in the browser, and what became of it.

Who is matched and what a grant changes is decided in `accounts/enrolment.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from regrant.accounts.enrolment import Addition, AdditionRefused, Outcome
from regrant.accounts.model import Account
from regrant.accounts.refresher import client_of
from regrant.accounts.signin import Flow
from regrant.app import App
from regrant.cli.session import check_stored, pick, run_on
from regrant.cli.shown import account_view, advise_in_words
from regrant.cli.terminal import USAGE, Failure, is_terminal, remark, say, show_json
from regrant.errors import SettingsError
from regrant.files import read_bounded
from regrant.oauth.imports import default_adc_path, parse_adc, parse_client_secret
from regrant.oauth.login import CallbackRefused, read_callback
from regrant.oauth.loopback import listening
from regrant.oauth.wire import usable_token
from regrant.secret import Secret
from regrant.settings import parse_value

MAX_FILE_BYTES = 1 << 20
PASTE_REDIRECT = (
    "http://127.0.0.1:48045/"  # nothing answers there: the address bar keeps what is to be pasted
)
WORD_SETTINGS = {"project_id": "google.project_id", "location": "google.location"}


class Sources(msgspec.Struct, frozen=True):
    """Where the credential comes from; exactly one is given. `adc` is "" for the usual place."""

    oauth: bool
    refresh_token_file: str | None
    access_token_file: str | None
    adc: str | None

    def check(self) -> None:
        given = (
            self.oauth,
            *(one is not None for one in (self.refresh_token_file, self.access_token_file, self.adc)),
        )
        if sum(given) != 1:
            raise Failure(
                "give exactly one of --oauth, --refresh-token-file, --access-token-file and --adc", code=USAGE
            )


class Preferences(msgspec.Struct, frozen=True):
    email: str
    project_id: str
    upstream: str
    location: str
    label: str

    def check(self) -> None:
        """Raises Failure for what the settings would not accept either."""
        for name, key in WORD_SETTINGS.items():
            value = getattr(self, name)
            try:
                if value:
                    parse_value(key, value)
            except SettingsError as error:
                raise Failure(
                    error.problems[0].replace(key, f"--{name.partition('_')[0]}"), code=USAGE
                ) from None


class SignInStyle(msgspec.Struct, frozen=True):
    paste: bool
    browser: bool
    wait_s: float


def add(
    folder: Path | None,
    sources: Sources,
    preferences: Preferences,
    client_file: Path | None,
    style: SignInStyle,
    *,
    as_json: bool,
) -> None:
    sources.check()
    preferences.check()
    addition = _addition(sources, preferences, client_file)
    if sources.oauth:
        enrol = _signing_in(style, login_hint=preferences.email)
    else:
        if style.paste:
            raise Failure("--paste goes with --oauth", code=USAGE)
        enrol = _enrolling
    _finish(run_on(folder, _adding(lambda _: addition, enrol)), as_json=as_json)


def reauthorize(
    folder: Path | None, who: str, client_file: Path | None, style: SignInStyle, *, as_json: bool
) -> None:
    client = read_client_file(client_file)

    def addition(app: App) -> Addition:
        account = pick(app, who).account
        chosen = msgspec.structs.replace(client, account_id=account.id)
        if client_file is None and client_of(account, app.oauth_clients()) is not None:
            chosen = msgspec.structs.replace(
                chosen, client_id=account.client_id, client_secret=account.client_secret
            )
        return chosen

    async def enrol(app: App, wanted: Addition) -> tuple[Account, Outcome]:
        return await _signing_in(style, login_hint=pick(app, wanted.account_id).account.email)(app, wanted)

    _finish(run_on(folder, _adding(addition, enrol)), as_json=as_json)


Enrol = Callable[[App, Addition], Awaitable[tuple[Account, Outcome]]]


def _adding(addition: Callable[[App], Addition], enrol: Enrol) -> Callable[[App], Awaitable[dict[str, Any]]]:
    async def work(app: App) -> dict[str, Any]:
        account, outcome = await enrol(app, addition(app))
        entry = pick(app, account.id)
        if entry.landing is not None:  # an access token alone: the grant behind it is asked at once
            await asyncio.shield(entry.landing)
            async with entry.lock:
                pass
        check_stored(entry)
        return {"account": account_view(app, entry), "outcome": outcome.value}

    return work


def _finish(result: dict[str, Any], *, as_json: bool) -> None:
    account = result["account"]
    if as_json:
        show_json(result)
        return
    say(f"{account['email']}: {result['outcome']} ({account['state']})")
    advise_in_words(account, indent="  ")
    if result["outcome"] == "unverified" and account["verified"]:
        say("  The grant behind the access token is alive.")


async def _enrolling(app: App, addition: Addition) -> tuple[Account, Outcome]:
    return await app.enrolment.add(addition)


def _signing_in(style: SignInStyle, *, login_hint: str) -> Enrol:
    async def enrol(app: App, addition: Addition) -> tuple[Account, Outcome]:
        if style.paste:
            return await _paste(app, addition, login_hint, style.wait_s)
        async with listening(app.clock) as listener:
            flow = app.signins.start(addition, redirect_uri=listener.redirect_uri, login_hint=login_hint)
            say(f"Open: {flow.authorize_url}")
            if style.browser:
                _open_browser(flow.authorize_url)
            read = await listener.wait(flow.login, style.wait_s)
            return await app.signins.finish(flow, read)

    return enrol


async def _paste(app: App, addition: Addition, login_hint: str, wait_s: float) -> tuple[Account, Outcome]:
    flow = app.signins.start(addition, redirect_uri=PASTE_REDIRECT, login_hint=login_hint)
    say(f"Open: {flow.authorize_url}")
    remark("Sign in. The browser ends at a page that does not load: paste its whole address here.")
    try:
        async with asyncio.timeout(wait_s):
            return await _take_pasted(app, flow)
    except TimeoutError:
        raise AdditionRefused(
            "timed_out", "the sign-in failed: no address was pasted in time", "Start the sign-in again."
        ) from None


async def _take_pasted(app: App, flow: Flow) -> tuple[Account, Outcome]:
    async for line in _lines():
        read = read_callback(flow.login, line, app.clock.now())
        if isinstance(read, CallbackRefused) and read.foreign:
            remark(read.advice)
            continue
        return await app.signins.finish(flow, read)
    raise Failure(
        "the sign-in failed: no address was pasted", "Start it again and paste the address of the last page."
    )


async def _lines() -> AsyncIterator[str]:
    """The lines of stdin, read by a thread that nobody has to wait for: Ctrl-C and the time limit end the wait."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    def tell(line: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(queue.put_nowait, line)

    def read() -> None:
        # Not by sys.stdin: its lock, held by a thread that never ends, would break the end of the interpreter.
        pending = b""
        with contextlib.suppress(OSError):
            while len(pending) < MAX_FILE_BYTES and (chunk := os.read(0, 65_536)):
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    tell(line.decode(errors="replace"))
        if pending:
            tell(pending.decode(errors="replace"))
        tell(None)

    threading.Thread(target=read, name="read stdin", daemon=True).start()
    while (line := await queue.get()) is not None:
        if line.strip():
            yield line


def _open_browser(url: str) -> None:
    """Open the address where there is a browser to be seen; whether it worked is seen there."""
    graphical = sys.platform in {"win32", "darwin"} or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not graphical or os.environ.get("SSH_CONNECTION"):
        return
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(url,), name="open browser", daemon=True).start()


def _addition(sources: Sources, preferences: Preferences, client_file: Path | None) -> Addition:
    addition = msgspec.structs.replace(
        read_client_file(client_file),
        email=preferences.email,
        project_id=preferences.project_id,
        upstream=preferences.upstream,
        location=preferences.location,
        label=preferences.label,
    )
    if sources.refresh_token_file is not None:
        return msgspec.structs.replace(addition, refresh_token=_read_token(sources.refresh_token_file))
    if sources.access_token_file is not None:
        if not preferences.email:
            raise Failure("--access-token-file needs --email", code=USAGE)
        return msgspec.structs.replace(addition, access_token=_read_token(sources.access_token_file))
    return _with_adc(addition, sources.adc) if sources.adc is not None else addition


def read_client_file(client_file: Path | None) -> Addition:
    if client_file is None:
        return Addition()
    client = parse_client_secret(read_file(str(client_file)))
    return Addition(client_id=client.client_id, client_secret=client.client_secret)


def _with_adc(addition: Addition, file: str) -> Addition:
    path = file or default_adc_path(os.environ, sys.platform)
    if path is None:
        raise Failure("where Application Default Credentials lie is not known here", "Give --adc FILE.")
    credential = parse_adc(read_file(str(path)))
    return msgspec.structs.replace(
        addition,
        refresh_token=credential.refresh_token,
        client_id=credential.client_id,
        client_secret=credential.client_secret,
        project_id=addition.project_id or credential.quota_project_id,
    )


def _read_token(file: str) -> Secret:
    if file == "-" and is_terminal(sys.stdin):
        import getpass

        text = getpass.getpass("Token (it is not shown): ")
    else:
        text = read_file(file).decode("utf-8-sig", errors="replace")
    token = usable_token(text.strip())
    if token is None:
        raise Failure(f"{_name(file)} does not hold a token", "It must hold the token and nothing else.")
    return token


def read_file(file: str) -> bytes:
    """The content of a file, or of stdin for `-`. Raises Failure."""
    try:
        if file == "-":
            return _read_stdin()
        return read_bounded(Path(file).expanduser(), limit=MAX_FILE_BYTES)
    except OSError as error:
        raise Failure(
            f"{_name(file)} cannot be read: {error.strerror or error}", "Check the path and its permissions."
        ) from error
    except ValueError as error:  # a null character in a path
        raise Failure(f"{file!r} is not a path") from error


def _read_stdin() -> bytes:
    return b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_FILE_BYTES)


def _name(file: str) -> str:
    return "stdin" if file == "-" else file
