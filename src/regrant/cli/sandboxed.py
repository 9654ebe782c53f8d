"""`serve --sandbox`: the built-in pretend Google beside the gateway, and three accounts whose grants it has given.

The sandbox forgets its grants when it ends, so every account of the folder gets a new one at the start. It lives in a
thread with an event loop of its own: whatever ends the gateway ends it too. What it can be told is in `docs/sandbox.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace as changed

from regrant.accounts.file_store import FileStore
from regrant.accounts.model import Account, Token, same_email
from regrant.cli.terminal import remark
from regrant.errors import RegrantError
from regrant.sandbox.google import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from regrant.sandbox.server import DEFAULT_PEOPLE, Sandbox
from regrant.secret import Secret

ADDRESS = (
    "REGRANT_SANDBOX"  # tells workers, which are processes of their own, of the sandbox that runs already
)
START_S = 20.0


@contextlib.contextmanager
def running_sandbox(folder: Path) -> Iterator[dict[str, str]]:
    """A sandbox until the block ends: the settings that send everything to it. The data folder `folder` is furnished.

    Raises RegrantError.
    """
    inherited = os.environ.get(ADDRESS)
    if inherited:
        yield overrides(inherited)
        return
    with sandbox_thread() as url:
        os.environ[ADDRESS] = url
        try:
            furnish(folder, url)
            remark(f"A pretend Google is at {url}; what it can be told is in docs/sandbox.md.")
            yield overrides(url)
        finally:
            del os.environ[ADDRESS]


def overrides(url: str) -> dict[str, str]:
    """Settings by key: no host but the sandbox is ever contacted."""
    return {
        "google.client_id": DEFAULT_CLIENT_ID,
        "google.client_secret": DEFAULT_CLIENT_SECRET,
        "google.endpoints.authorize": f"{url}/o/oauth2/v2/auth",
        "google.endpoints.token": f"{url}/token",
        "google.endpoints.revoke": f"{url}/revoke",
        "google.endpoints.userinfo": f"{url}/v1/userinfo",
        "google.endpoints.gemini": url,
        "google.endpoints.vertex": url,
        "google.endpoints.cloudquotas": url,
        "google.endpoints.monitoring": url,
        "google.endpoints.serviceusage": url,
    }


def furnish(folder: Path, url: str) -> None:
    """Give every account of the folder a grant of this sandbox, and make those of ann, bob and cara that are missing."""
    store = FileStore(folder)
    store.prepare()
    accounts = list(store.load_all().accounts.values())
    missing = [
        email
        for email in (f"{name}@example.com" for name in DEFAULT_PEOPLE)
        if not any(same_email(account.email, email) for account in accounts)
    ]
    fresh = [Account(id=str(uuid.uuid4()), email=email, created_at=int(time.time())) for email in missing]
    for account in (*accounts, *fresh):
        _store(store, _with_grant(account, _mint(url, account.email)))


def _store(store: FileStore, account: Account) -> None:
    store.transact(account.id, lambda _: account)


def _mint(url: str, email: str) -> dict[str, Any]:
    body = json.dumps({"email": email}).encode()
    # A proxy of the environment has no business between two parts of one process.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(  # noqa: S310 - the address is the sandbox's own
        f"{url}/_sandbox/grants", body, {"content-type": "application/json"}
    )
    try:
        with opener.open(request, timeout=START_S) as answer:
            grant: dict[str, Any] = json.loads(answer.read())
    except OSError as error:
        raise RegrantError(f"the sandbox gives no grant to {email}: {error}") from error
    return grant


def _with_grant(account: Account, grant: dict[str, Any]) -> Account:
    now = int(time.time())
    token = Token(
        refresh_token=Secret(grant["refresh_token"]),
        access_token=Secret(grant["access_token"]),
        expiry_timestamp=now + grant["expires_in"],
        expires_in=grant["expires_in"],
        scope=grant["scope"],
        consented_at=now,
    )
    return changed(
        account,
        sub=grant["sub"],
        name=account.name or account.email.partition("@")[0].capitalize() + " Example",
        client_id=grant["client_id"],
        client_secret=Secret(),
        token=token,
        generation=account.generation + bool(account.token.refresh_token),
        disabled=None,
        attention=None,
        last_refresh_at=now,
    )


@contextlib.contextmanager
def sandbox_thread() -> Iterator[str]:
    """The sandbox's address while it runs."""
    started: list[str] = []
    problems: list[BaseException] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def live() -> None:
        sandbox = Sandbox()
        try:
            started.append(await sandbox.start())
        finally:
            ready.set()
        await over.wait()
        await sandbox.stop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(live())
        except BaseException as error:  # told by the thread that waits for it
            problems.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run, name="sandbox", daemon=True)
    thread.start()
    if not ready.wait(START_S) or not started:
        raise RegrantError(f"the sandbox does not start: {problems[0] if problems else 'no answer'}")
    try:
        yield started[0]
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(over.set)
        thread.join(START_S)
