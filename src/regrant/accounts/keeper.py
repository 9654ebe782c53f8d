"""Keeps the accounts: the only writer of accounts, and the shell around `lifecycle.step`.

Events of one account are handled one after another under its lock. A durable change is a transaction of the store: the
stored record is read again, what others did to it is taken in first (`Observed`), then the event is applied, so that a
verdict meets the grant that is stored now and not the one in memory. An eviction does not wait for the disk: the
account leaves the pool first, and a write that fails is repeated until it succeeds. Refreshes run in tasks of their own
(`flights.py`); a caller that goes away does not cancel one. Adding accounts is `enrolment.py`.

Over 400 lines on purpose: what memory, the pool, the disk and the waiters know, and in which order, is one argument.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Protocol

import msgspec

from regrant import logs
from regrant.accounts import notices
from regrant.accounts.background import Background, Work
from regrant.accounts.entry import Entry, Landing, Ready
from regrant.accounts.events import (
    Admit,
    AttentionRaised,
    Effect,
    Event,
    Evict,
    Flight,
    Notify,
    Observed,
    RefreshAnswered,
    Save,
    Served,
    StartRefresh,
    TokenRejected,
    TokenWanted,
)
from regrant.accounts.flights import Flights, RefreshRunner
from regrant.accounts.lifecycle import Kept, next_refresh_at, rebased, step
from regrant.accounts.model import Account, Freshness, same_email
from regrant.accounts.store import AccountStore, Corrupt, StoreError
from regrant.clock import Clock
from regrant.errors import RegrantError
from regrant.oauth.google import Granted
from regrant.secret import Secret

RELOAD_AGAIN_S = 1.0
RETRY_WRITE_S = (0.25, 0.5, 1.0, 2.0, 5.0)
USED_FLUSH_S = 900.0  # how stale `last_used_at` on disk may be; it only steers refreshing ahead
BACKGROUND_FLIGHTS = 8
MAX_TURNS = 5  # how often a grant may be replaced under one waiting caller
CLIENT_BROKEN = Notify("attention", "client_broken")
log = logs.get("accounts")


class AccountUnusable(RegrantError):
    """No access token can be had from this account now. `why` is one of gone, disabled, paused, attention, client, refused, away."""

    def __init__(self, account_id: str, why: str, retry_at: float = 0.0) -> None:
        super().__init__(f"account {account_id} cannot serve now: {why}")
        self.account_id = account_id
        self.why = why
        self.retry_at = retry_at


class Listener(Protocol):
    """Whoever follows the accounts: the pool, the console's event stream, metrics. Must not block or raise."""

    def account_changed(self, account_id: str, entry: Entry | None) -> None:
        """The account is this now; None: it is gone."""
        ...

    def account_notice(self, account: Account, notice: Notify) -> None: ...


class Keeper:
    def __init__(
        self,
        store: AccountStore,
        refresher: RefreshRunner,
        *,
        clock: Clock,
        idle_check_s: Callable[[], float],
        remember_death: Callable[[Account], None] = lambda _: None,
    ) -> None:
        self.store = store
        self.clock = clock
        self._idle_check_s = idle_check_s
        self._remember_death = remember_death
        self._entries: dict[str, Entry] = {}
        self._corrupt: dict[str, Corrupt] = {}
        self._in_pool: set[str] = set()
        self._listeners: list[Listener] = []
        self._flights = Flights(self, refresher)
        self._background = Background()
        self._loops: list[asyncio.Task[None]] = []
        self._started_at = 0.0

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def corrupt(self) -> list[Corrupt]:
        in_service = [entry.corrupt for entry in self._entries.values() if entry.corrupt is not None]
        return [*self._corrupt.values(), *in_service]

    def entry(self, account_id: str) -> Entry | None:
        return self._entries.get(account_id)

    def find(self, email: str) -> Entry | None:
        return next(
            (entry for entry in self._entries.values() if same_email(entry.account.email, email)), None
        )

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def load(self) -> None:
        """Read all accounts. Raises StoreError."""
        self._started_at = self.clock.now()
        records = await asyncio.to_thread(self.store.load_all)
        for corrupt in records.corrupt.values():
            self._note_corrupt(corrupt)
        for account in records.accounts.values():
            self._enter(account)

    async def start(self) -> None:
        """Load, then follow the store and refresh ahead of time until `close`."""
        changes = self.store.changes()
        await anext(changes)
        await self.load()
        self._loops = [
            self.spawn(self._follow(changes), "follow the account store"),
            self.spawn(self._keep_ahead(), "refresh ahead of expiry"),
        ]

    async def close(self) -> None:
        """Stop following. A question that Google has been asked is waited for: a rotated token must not be lost."""
        await self._background.cancel(self._loops)
        await self._flights.drain()
        await self._background.cancel()
        for entry in self.entries():
            if entry.pending:
                await self._try_to_store(entry)
            elif entry.account.last_used_at > entry.stored.last_used_at:
                await self._store_use(entry)
        await self._background.cancel()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a background task that is held, named and whose failure is logged."""
        return self._background.spawn(work, name)

    def keep_running(self, work: Work, name: str) -> asyncio.Task[None]:
        """Run a background task that lasts until `close`: one that fails is begun again."""
        return self._background.keep_running(work, name)

    async def _follow(self, changes: AsyncIterator[frozenset[str]]) -> None:
        async for ids in changes:
            for account_id in ids:
                following = self._reload_until_read(account_id)
                if account_id in self._entries:
                    self.spawn(
                        following, "take in a change"
                    )  # one that has to wait holds up no other account
                else:
                    await self._background.supervise(following, "take in a new account")

    async def _reload_until_read(self, account_id: str) -> None:
        """A change that could not be read is not announced again."""
        try:
            await self.reload(account_id)
        except StoreError as error:
            log.error("account_unread", f"cannot read a changed account: {error}", account=account_id)
            self.spawn(self._reload_later(account_id), "read a changed account later")

    async def _reload_later(self, account_id: str) -> None:
        await asyncio.sleep(RELOAD_AGAIN_S)
        await self._reload_until_read(account_id)

    async def _keep_ahead(self) -> None:
        while True:
            await asyncio.sleep(max(1.0, len(self._entries) / 1000))
            await self._background.supervise(self._look_ahead(), "refresh ahead of expiry")

    async def _look_ahead(self) -> None:
        now = self.clock.now()
        for entry in self.entries():
            due = next_refresh_at(entry.kept, now, idle_check_s=self._idle_check_s(), since=self._started_at)
            if due is not None and due <= now and self._flights.count < BACKGROUND_FLIGHTS:
                self._want(entry, explicit=entry.kept.freshness(now) is Freshness.FRESH)
            if entry.persisted and entry.account.last_used_at - entry.stored.last_used_at > USED_FLUSH_S:
                await self._store_use(entry)

    def ready_token(self, account_id: str, *, trial: bool = False) -> Secret | None:
        """The access token if it can be used at once; a stale one starts a refresh in the background.

        `trial`: also that of an account which is out of the pool for its attention alone.
        """
        entry = self._entries.get(account_id)
        if entry is None:
            return None
        kept, now, ready = entry.kept, self.clock.now(), entry.ready
        if ready is not None and ready.kept is kept and now < ready.until:
            return ready.token
        account = kept.account
        if not (account.in_pool or (trial and account.needs_attention_only)):
            return None
        match kept.freshness(now):
            case Freshness.FRESH:
                if account.in_pool:
                    entry.ready = Ready(kept, account.token.access_token, account.fresh_until)
                return account.token.access_token
            case Freshness.STALE:
                self._want(entry)
                return kept.account.token.access_token
            case Freshness.EXPIRED if kept.holds_off(now) and kept.lasts(now):
                return (
                    kept.account.token.access_token
                )  # refreshing fails for now: it is used until it really ends
            case Freshness.EXPIRED:
                return None

    async def token(self, account_id: str, *, trial: bool = False) -> Secret:
        """A usable access token, waiting for a refresh where needed. Raises AccountUnusable.

        Any number of callers wait for one refresh; cancelling one of them does not cancel it.
        """
        for _ in range(MAX_TURNS):
            token = self.ready_token(account_id, trial=trial)
            if token is not None:
                return token
            entry = self._usable(account_id, trial=trial)
            landing = self._want(entry)
            if landing is None:
                raise AccountUnusable(account_id, "away", entry.kept.retry_at)
            landed = await asyncio.shield(landing)
            # However short its life is, the token just received is used; unless the grant was replaced meanwhile.
            if isinstance(landed.answer, Granted):
                kept = self._usable(account_id, trial=trial).kept
                if kept.account.token.access_token == landed.answer.access_token and kept.rejected is None:
                    return landed.answer.access_token
        raise AccountUnusable(account_id, "away")

    def _usable(self, account_id: str, *, trial: bool) -> Entry:
        entry = self._entries.get(account_id)
        if entry is None:
            raise AccountUnusable(account_id, "gone")
        account = entry.account
        if account.disabled is not None:
            raise AccountUnusable(account_id, "disabled")
        if not (account.in_pool or (trial and account.needs_attention_only)):
            raise AccountUnusable(account_id, "paused" if account.paused else "attention")
        if entry.landing is None and entry.kept.holds_off(self.clock.now()):
            raise AccountUnusable(account_id, _why_not_refreshed(account), entry.kept.retry_at)
        return entry

    def reject(self, account_id: str, token: Secret) -> None:
        """Google answered 401 to `token`: it is not used again. A newer token is left alone."""
        entry = self._entries.get(account_id)
        if entry is not None:
            self._adopt(entry, *step(entry.kept, TokenRejected(token), self.clock.now()))

    def _want(self, entry: Entry, *, explicit: bool = False) -> asyncio.Future[Landing] | None:
        """The flight that is under way or was just started; None when none may start now."""
        self._adopt(entry, *step(entry.kept, TokenWanted(explicit=explicit), self.clock.now()))
        return entry.landing

    async def ask_google(self, entry: Entry) -> Landing:
        """One explicit refresh, also of a disabled account: a person wants to know. Joins one that is under way."""
        landing = self._want(entry, explicit=True)
        if landing is None:
            return Landing(None)
        landed = await asyncio.shield(landing)
        async with entry.lock:  # the verdict is stored, or known not to be
            return landed

    def served(self, account_id: str) -> None:
        """A request was answered with this account. Cheap: the disk is touched every quarter of an hour at most."""
        entry = self._entries.get(account_id)
        if entry is None:
            return
        if entry.account.attention is not None and not entry.account.attention.about_refresh:
            self.spawn(self.settle(entry, Served()), "record a success")
            return
        now = int(self.clock.now())
        if entry.account.last_used_at != now:
            entry.kept = step(entry.kept, Served(), now)[0]

    async def _store_use(self, entry: Entry) -> None:
        async with entry.lock:
            try:
                await self._transact(entry, [])  # the later of the two uses is the one that is stored
            except StoreError as error:
                self._defer(entry, [], error)

    def needs_attention(self, account_id: str, code: str, message: str, url: str) -> None:
        entry = self._entries.get(account_id)
        if entry is not None:
            event = AttentionRaised(code, message, url)
            self.spawn(self.settle(entry, event), "record what needs attention")

    async def change(self, account_id: str, event: Event) -> Account:
        """Apply a person's wish durably, or not at all. Raises StoreError, AccountUnusable (`gone`)."""
        entry = self._entries.get(account_id)
        if entry is None:
            raise AccountUnusable(account_id, "gone")
        async with entry.lock:
            await self._transact(entry, [(event, self.clock.now())])
        if account_id not in self._entries:
            raise AccountUnusable(account_id, "gone")
        return entry.account

    @contextlib.asynccontextmanager
    async def adding(self) -> AsyncIterator[None]:
        """Among all processes, one at a time matches and creates accounts; begins with what others have just added."""
        guard = self.store.adding()
        await asyncio.to_thread(guard.__enter__)
        try:
            records = await asyncio.to_thread(self.store.load_all)
            for account_id in records.accounts.keys() - self._entries.keys():
                await self.reload(account_id)
            yield
        finally:
            await asyncio.to_thread(guard.__exit__, None, None, None)

    async def create(self, account: Account) -> Entry:
        """Store a new account and take it in. Raises StoreError, in which case nothing was stored."""
        stored = await asyncio.to_thread(self.store.transact, account.id, lambda _: account)
        assert stored is not None
        return self._entries.get(account.id) or self._enter(stored)

    async def remove(self, account_id: str) -> bool:
        """Delete the account's record; a late answer for it is dropped. Raises StoreError."""
        removed = await asyncio.to_thread(self.store.delete, account_id)
        self._corrupt.pop(account_id, None)
        self._forget(account_id)
        return removed

    async def settle(
        self, entry: Entry, event: Event, *, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Apply what has happened. The pool knows at once; a write that fails is repeated in the background.

        A new token alone is stored before it is used. `meanwhile` is called when memory is up to date, before the disk.
        """
        async with entry.lock:
            now = self.clock.now()
            kept, effects = step(entry.kept, event, now)
            stored_first = isinstance(event, RefreshAnswered) and isinstance(event.answer, Granted)
            if Save() not in effects or not stored_first:
                self._adopt(entry, kept, effects)
            meanwhile()
            if Save() not in effects:
                return
            try:
                await self._transact(entry, [(event, now)], told=not stored_first)
            except StoreError as error:
                if stored_first:
                    self._adopt(entry, *step(entry.kept, event, now))
                self._defer(entry, [(event, now)], error)

    async def _transact(self, entry: Entry, events: list[tuple[Event, float]], *, told: bool = False) -> None:
        """One transaction of the store: what others wrote, what is pending, what is new. Raises StoreError."""
        before = entry.kept
        base = msgspec.structs.replace(before, account=entry.stored) if entry.pending or told else before
        result: list[tuple[Kept, tuple[Effect, ...]]] = []

        def decide(current: Account | None) -> Account | None:
            if current is None:
                return None
            kept, seen = step(base, Observed(current), self.clock.now())
            kept, late = _fold(kept, entry.pending)
            kept, new = _fold(kept, events)
            again = (*late, *new) if told else late
            fresh = () if told else new
            result[:] = [(kept, (*seen, *(e for e in again if isinstance(e, Admit | Evict)), *fresh))]
            return kept.account

        stored = await asyncio.to_thread(self.store.transact, entry.account.id, decide)
        if stored is None:
            self._forget(entry.account.id)
            return
        late = bool(entry.problem)
        entry.pending.clear()
        entry.problem = ""
        entry.corrupt = None
        entry.stored = stored
        kept, effects = result[0]
        self._adopt(
            entry, rebased(msgspec.structs.replace(kept, account=stored), before, entry.kept), effects
        )
        if late:
            notices.tell_persisted(stored)
            self._publish(stored.id, entry)

    def _defer(self, entry: Entry, events: Iterable[tuple[Event, float]], error: StoreError) -> None:
        """Keep the events for a later write, and see to it that there is one."""
        first = not entry.problem
        entry.pending += events
        entry.problem = str(error)
        self._publish(entry.account.id, entry)
        if first:
            notices.tell_not_persisted(entry.account, entry.problem)
            self.spawn(self._store_later(entry), "store an account later")

    async def _store_later(self, entry: Entry) -> None:
        for attempt in range(1_000_000):
            await asyncio.sleep(RETRY_WRITE_S[min(attempt, len(RETRY_WRITE_S) - 1)])
            async with entry.lock:
                if not entry.problem or self._entries.get(entry.account.id) is not entry:
                    return
                if await self._try_to_store(entry):
                    return

    async def _try_to_store(self, entry: Entry) -> bool:
        try:
            await self._transact(entry, [])
        except StoreError as error:
            entry.problem = str(error)
            return False
        return True

    async def reload(self, account_id: str) -> None:
        """Take in the stored record as it is now; this process's own writes change nothing."""
        entry = self._entries.get(account_id)
        if entry is None:
            record = await asyncio.to_thread(self.store.load, account_id)
            entry = self._entries.get(account_id)
            if entry is None:
                self._take_in(account_id, record)
                return
            # It was created here while the disk was read; two entries of one account would make two flights.
        async with entry.lock:
            record = await asyncio.to_thread(self.store.load, account_id)
            if not isinstance(record, Account):
                self._take_in(account_id, record)
            elif record != entry.stored or entry.corrupt is not None:
                mended, entry.corrupt = entry.corrupt is not None, None
                await self._observe(entry, record)
                if mended:
                    self._publish(account_id, entry)

    def _take_in(self, account_id: str, record: Account | Corrupt | None) -> None:
        match record:
            case None:
                self._corrupt.pop(account_id, None)
                self._forget(account_id)
            case Corrupt():
                self._note_corrupt(record)
            case Account():
                self._corrupt.pop(account_id, None)
                self._enter(record)

    async def _observe(self, entry: Entry, record: Account) -> None:
        kept, effects = step(entry.kept, Observed(record), self.clock.now())
        if entry.pending or Save() in effects:
            try:
                await self._transact(entry, [])
            except StoreError as error:
                self._defer(entry, [], error)  # the record is read anew when it can be written
            return
        entry.stored = record
        self._adopt(entry, kept, effects)
        if record.disabled is not None:
            notices.tell_skipped(record)

    def _note_corrupt(self, corrupt: Corrupt) -> None:
        entry = self._entries.get(corrupt.id)
        if corrupt == (self._corrupt.get(corrupt.id) if entry is None else entry.corrupt):
            return
        if entry is not None:
            entry.corrupt = corrupt
        else:
            self._corrupt[corrupt.id] = corrupt
        notices.tell_corrupt(corrupt)
        self._publish(corrupt.id, entry)

    def _enter(self, account: Account) -> Entry:
        entry = Entry(Kept(account), account)
        self._entries[account.id] = entry
        if account.in_pool:
            self._in_pool.add(account.id)
        if account.disabled is not None:
            notices.tell_skipped(account)
        self._publish(account.id, entry)
        return entry

    def _forget(self, account_id: str) -> None:
        entry = self._entries.pop(account_id, None)
        self._in_pool.discard(account_id)
        if entry is not None:
            entry.pending.clear()
            self._publish(account_id, None)

    def _adopt(self, entry: Entry, kept: Kept, effects: Iterable[Effect]) -> None:
        account_id = entry.account.id
        moved = entry.kept.account != kept.account
        entry.kept = kept
        if self._entries.get(account_id) is not entry:
            return
        if kept.account.in_pool:
            self._in_pool.add(account_id)
        else:
            self._in_pool.discard(account_id)
        if moved:
            self._publish(account_id, entry)
        for effect in effects:
            match effect:
                case StartRefresh(flight):
                    self._launch(entry, flight)
                case Notify():
                    self._tell(entry.account, effect)

    def _launch(self, entry: Entry, flight: Flight) -> None:
        entry.landing = self._flights.launch(entry, flight)

    def land(self, entry: Entry, landing: asyncio.Future[Landing], result: Landing) -> None:
        """Called by a flight when its waiters may go on."""
        if entry.landing is landing:
            entry.landing = None
        if not landing.done():
            landing.set_result(result)

    def _publish(self, account_id: str, entry: Entry | None) -> None:
        for listener in self._listeners:
            listener.account_changed(account_id, entry)

    def _tell(self, account: Account, notice: Notify) -> None:
        others = len(self._in_pool) > (account.id in self._in_pool)
        if notice == CLIENT_BROKEN:
            # One alarm for the OAuth client, however many accounts wait for it.
            if not any(self._waits_for_client(entry, account) for entry in self._entries.values()):
                notices.tell_client_broken(account)
        else:
            notices.tell(account, notice, others=others)
        if notice.event == "disabled":
            self._remember_death(account)
        for listener in self._listeners:
            listener.account_notice(account, notice)

    def _waits_for_client(self, entry: Entry, account: Account) -> bool:
        """Whether another account of the same OAuth client is known to wait for it to be mended."""
        other = entry.account
        return (
            other.id != account.id
            and other.client_id == account.client_id
            and other.attention is not None
            and other.attention.code == CLIENT_BROKEN.detail
        )


def _why_not_refreshed(account: Account) -> str:
    """What keeps the account from a new token while refreshing backs off: its OAuth client, a refusal, or a passing trouble."""
    match account.attention.code if account.attention is not None else "":
        case "client_broken" | "wrong_client":
            return "client"
        case "" | "refresh_failing":
            return "away"
        case _:
            return "refused"


def _fold(kept: Kept, events: Iterable[tuple[Event, float]]) -> tuple[Kept, tuple[Effect, ...]]:
    effects: list[Effect] = []
    for event, at in events:
        kept, more = step(kept, event, at)
        effects += more
    return kept, tuple(effects)
