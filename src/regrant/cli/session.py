"""The gateway's parts in this process, for one command: the accounts are loaded and nothing runs in the background.

A gateway that serves the same data folder meanwhile notices what a command changes; a command sees what is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from regrant import logs
from regrant.accounts.entry import Entry
from regrant.app import App, build
from regrant.cli.folder import prepared_folder
from regrant.cli.terminal import USAGE, Failure
from regrant.settings.live import LiveSettings

T = TypeVar("T")


def run_on(folder: Path | None, work: Callable[[App], Awaitable[T]]) -> T:
    """Do `work` on the parts of the data folder. Raises RegrantError."""

    async def main() -> T:
        async with opened(prepared_folder(folder)) as app:
            return await work(app)

    return asyncio.run(main())


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[App]:
    settings = LiveSettings(folder, {}, os.environ)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: ASYNC230 - the null device never waits
        # What is loaded is no news, what happens is: for the log file, while the terminal gets the command's own words.
        logs.configure(msgspec.structs.replace(settings().log, file=False), folder, nowhere)
        app = build(settings)
        try:
            await app.keeper.load()
            await app.shared_cooldowns.take_in(app.pool)
            await app.quota.take_in()
            await app.cloud_quotas.take_in()
            logs.configure(settings().log, folder, nowhere)
            yield app
        finally:
            await app.close()
            logs.configure(msgspec.structs.replace(settings().log, file=False), folder, nowhere)


def pick(app: App, who: str) -> Entry:
    """The account with that e-mail or id. Raises Failure saying which there are."""
    entry = app.keeper.entry(who) or app.keeper.find(who)
    if entry is not None:
        return entry
    corrupt = next((one for one in app.keeper.corrupt() if one.id == who), None)
    if corrupt is not None:
        raise Failure(
            f"the file of account {who} is corrupt: {corrupt.problem}", f"Mend or move it: {corrupt.path}"
        )
    known = sorted(one.account.email for one in app.keeper.entries())
    if not known:
        raise Failure(f"there is no account {who}", "There are none yet: regrant accounts add --oauth")
    [nearest] = difflib.get_close_matches(who, known, n=1, cutoff=0.0)
    raise Failure(
        f"there is no account {who}; the nearest is {nearest}", f"Known accounts: {', '.join(known[:20])}."
    )


def pick_some(app: App, who: Sequence[str] | None, *, everyone: bool) -> list[Entry]:
    """The accounts named, in that order and each once, or all. Raises Failure."""
    if bool(who) == everyone:
        raise Failure("name one or more accounts, or give --all", code=USAGE)
    entries = app.keeper.entries() if everyone else [pick(app, one) for one in who or ()]
    return list({entry.account.id: entry for entry in entries}.values())


def check_stored(entry: Entry) -> None:
    """Raises Failure when what was decided about the account could not be written."""
    if not entry.persisted:
        raise Failure(
            f"the account {entry.account.email} could not be stored: {entry.problem}",
            "Free space or make the data folder writable, then repeat the command.",
        )
