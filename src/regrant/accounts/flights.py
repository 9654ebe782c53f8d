"""Refreshes under way: one per account, in this process and across all processes on the store.

A flight takes the account's refresh lock, reads the stored record once more (another process may have asked already),
asks Google, and hands the answer to the keeper. It is a task of its own: no caller's cancellation ends it, and a
rotated refresh token is stored before anybody uses the access token that came with it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

from regrant import logs
from regrant.accounts.entry import Entry, Landing
from regrant.accounts.events import (
    Event,
    Flight,
    FlightAbandoned,
    RefreshAnswered,
)
from regrant.accounts.lifecycle import current, overtaken
from regrant.accounts.model import Account
from regrant.accounts.store import AccountStore, RefreshLock, StoreError
from regrant.oauth.google import Granted, Refused, Unavailable

LOCK_POLL_S = 0.02
LOCK_POLL_MAX_S = 0.1
LOCK_WAIT_S = (
    60.0  # longer than any answer may take; a process stopped in mid-refresh is waited for no longer
)

log = logs.get("accounts")


class RefreshRunner(Protocol):
    """Asks the token endpoint once, with the OAuth client that minted the account's grant."""

    async def refresh(self, account: Account) -> Granted | Refused | Unavailable: ...


class Home(Protocol):
    """The keeper, as far as a flight needs it."""

    store: AccountStore

    async def settle(self, entry: Entry, event: Event, *, meanwhile: Callable[[], None] = ...) -> None: ...

    async def reload(self, account_id: str) -> None: ...

    def land(self, entry: Entry, landing: asyncio.Future[Landing], result: Landing) -> None: ...


class Flights:
    def __init__(self, keeper: Home, runner: RefreshRunner) -> None:
        self._keeper = keeper
        self._runner = runner
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    @property
    def count(self) -> int:
        return len(self._tasks)

    def launch(self, entry: Entry, flight: Flight) -> asyncio.Future[Landing]:
        """Start the flight; the future is done as soon as its waiters may go on."""
        landing: asyncio.Future[Landing] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(self._fly(entry, flight, landing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return landing

    async def drain(self) -> None:
        """Wait until no flight is under way; those that have not asked Google yet do not begin to."""
        self._draining = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _fly(self, entry: Entry, flight: Flight, landing: asyncio.Future[Landing]) -> None:
        lock = self._keeper.store.refresh_lock(entry.account.id)
        held = False
        try:
            held = await self._take(lock, entry, flight)
            if not await self._answered_by_store(entry, flight):
                await self._finish(entry, flight, landing, await self._runner.refresh(entry.account))
        except Exception as error:
            # The boundary of a background task: whatever broke, the waiters go on and the next caller asks again.
            log.error("refresh_crashed", f"refresh failed unexpectedly: {error!r}", account=entry.account.id)
            await self._finish(entry, flight, landing, Unavailable(f"internal error: {type(error).__name__}"))
        finally:
            if held:
                lock.release()
            # Whatever happened, the flight is over and nobody waits for it any more.
            try:
                await self._keeper.settle(entry, FlightAbandoned(flight))
            finally:
                self._keeper.land(entry, landing, Landing(None))

    async def _finish(
        self,
        entry: Entry,
        flight: Flight,
        landing: asyncio.Future[Landing],
        answer: Granted | Refused | Unavailable,
    ) -> None:
        # Rule 1: before a verdict of death is stored the account is read again.
        if Landing(answer).dead and await self._replaced(entry, flight):
            return
        event = RefreshAnswered(flight, answer, random.random())  # noqa: S311  # jitter is no secret
        if isinstance(answer, Granted):
            await self._keeper.settle(entry, event)
            self._keeper.land(entry, landing, Landing(answer))
        else:
            # Waiters go on with another account while the verdict is being written.
            await self._keeper.settle(
                entry, event, meanwhile=lambda: self._keeper.land(entry, landing, Landing(answer))
            )

    async def _take(self, lock: RefreshLock, entry: Entry, flight: Flight) -> bool:
        """Wait for the refresh lock. False where there can be none: then this process alone keeps to one flight."""
        loop = asyncio.get_running_loop()
        until, pause_s = loop.time() + LOCK_WAIT_S, LOCK_POLL_S
        try:
            while not lock.try_acquire():
                if loop.time() > until:
                    log.warning(
                        "refresh_lock_busy",
                        "refresh lock held for a minute by another process",
                        account=entry.account.id,
                    )
                    return False
                if self._called_off(entry, flight):
                    return False
                await asyncio.sleep(pause_s)
                pause_s = min(LOCK_POLL_MAX_S, pause_s * 1.5)
        except StoreError as error:
            log.warning(
                "refresh_lock_missing", f"refreshing without a lock: {error}", account=entry.account.id
            )
            return False
        return True

    async def _answered_by_store(self, entry: Entry, flight: Flight) -> bool:
        """Take in what is stored now; whether that makes the question needless."""
        if not entry.pending:
            stored = await asyncio.to_thread(self._keeper.store.load, entry.account.id)
            if stored is None or (isinstance(stored, Account) and overtaken(flight, stored)):
                await self._keeper.reload(entry.account.id)
                return True
        return self._called_off(entry, flight)

    def _called_off(self, entry: Entry, flight: Flight) -> bool:
        """The grant was replaced, another flight has taken this one's place, or the process is closing."""
        return entry.kept.flight != flight or self._draining

    async def _replaced(self, entry: Entry, flight: Flight) -> bool:
        stored = await asyncio.to_thread(self._keeper.store.load, entry.account.id)
        if isinstance(stored, Account) and not current(stored, flight) and not entry.pending:
            await self._keeper.reload(entry.account.id)
        return not current(entry.account, flight)
