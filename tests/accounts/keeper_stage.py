"""A keeper over real files with a scripted token endpoint, for `test_keeper*.py`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from msgspec.structs import replace as changed

from regrant import logs
from regrant.accounts.entry import Entry
from regrant.accounts.events import Notify
from regrant.accounts.file_store import FileStore
from regrant.accounts.keeper import Keeper
from regrant.accounts.model import Account, Token
from regrant.accounts.store import AccountStore, Corrupt, Decide, Records, RefreshLock, StoreError
from regrant.oauth.google import Granted, RefusalKind, Refused, Unavailable
from regrant.secret import Secret
from regrant.settings.model import Log

DEADLINE_S = 10.0
"""A change is noticed within a second; a loaded machine is given more before a test fails."""
NOW = 1_800_000_000.0
DAY_S = 86_400.0

Answer = Granted | Refused | Unavailable
DEAD = Refused(RefusalKind.invalid_grant, 400, "invalid_grant", "", "Token has been expired or revoked.")
BROKEN = Refused(RefusalKind.client_broken, 401, "invalid_client", "", "The OAuth client was not found.")
AWAY = Unavailable("connection refused")


def granted(access: str, *, refresh: str = "", lifetime_s: float = 3600.0) -> Granted:
    return Granted(Secret(access), lifetime_s, "Bearer", "", Secret(refresh) if refresh else None, None, None)


class MovableClock:
    """The time of day, moved by the test."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class TokenEndpoint:
    """Stands in for Google: which grants live, what it says instead, and a gate at which questions wait."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.asked: list[str] = []
        self.flying: dict[str, int] = {}
        self.most_at_once = 0
        self.script: list[Answer | Exception] = []
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Event()

    async def refresh(self, account: Account) -> Answer:
        token = account.token.refresh_token.reveal()
        self.asked.append(token)
        self.flying[account.id] = self.flying.get(account.id, 0) + 1
        self.most_at_once = max(self.most_at_once, self.flying[account.id])
        answer = self.script.pop(0) if self.script else self.verdict(token)
        self.arrived.set()
        try:
            await self.open.wait()
        finally:
            self.flying[account.id] -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def verdict(self, token: str) -> Answer:
        return granted(f"access-of-{token}-{len(self.asked)}") if token in self.alive else DEAD

    def hold(self) -> None:
        """From now on questions are answered as of when they arrive, and the answer is late until `open` is set."""
        self.open.clear()
        self.arrived.clear()


class FailingStore:
    """A FileStore whose disk fails while `failing` is set, and which can be told to be slow."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.failing = False
        self.before_write: Callable[[], None] = lambda: None

    def load_all(self) -> Records:
        return self._store.load_all()

    def load(self, account_id: str) -> Account | Corrupt | None:
        return self._store.load(account_id)

    def transact(self, account_id: str, decide: Decide) -> Account | None:
        self.before_write()
        if self.failing:
            raise StoreError("cannot write: no space left on device")
        return self._store.transact(account_id, decide)

    def delete(self, account_id: str) -> bool:
        return self._store.delete(account_id)

    def adding(self) -> AbstractContextManager[None]:
        return self._store.adding()

    def refresh_lock(self, account_id: str) -> RefreshLock:
        return self._store.refresh_lock(account_id)

    def changes(self) -> AsyncIterator[frozenset[str]]:
        return self._store.changes()


class Diary:
    """A listener that writes down whether each account was in the pool, and what was told about it."""

    def __init__(self) -> None:
        self.pool: dict[str, bool] = {}
        self.notices: list[tuple[str, str]] = []
        self.seen: list[tuple[str, bool]] = []

    def account_changed(self, account_id: str, entry: Entry | None) -> None:
        self.pool[account_id] = entry is not None and entry.account.in_pool
        self.seen.append((account_id, self.pool[account_id]))

    def account_notice(self, account: Account, notice: Notify) -> None:
        self.notices.append((account.id, notice.event))


class Stage:
    """A data folder, a token endpoint, a clock, and the keepers (processes, as it were) on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.google = TokenEndpoint()
        self.clock = MovableClock()
        self.files = FileStore(folder, now=self.clock.now)
        self.files.prepare()
        self.buried: list[str] = []
        self._keepers: list[Keeper] = []
        self.idle_check_s = 7 * DAY_S

    async def keeper(self, store: AccountStore | None = None, *, follow: bool = True) -> tuple[Keeper, Diary]:
        keeper = Keeper(
            store or FileStore(self.folder, now=self.clock.now),
            self.google,
            clock=self.clock,
            idle_check_s=lambda: self.idle_check_s,
            remember_death=lambda account: self.buried.append(account.token.refresh_token.reveal()),
        )
        diary = Diary()
        keeper.listen(diary)
        await (keeper.start() if follow else keeper.load())
        self._keepers.append(keeper)
        return keeper, diary

    def add(self, name: str = "ann", **fields: Any) -> Account:
        """Put an account with a living grant and an expired access token into the folder."""
        token = changed(
            Token(
                refresh_token=Secret(f"refresh-{name}-1"),
                access_token=Secret(f"access-{name}-1"),
                expiry_timestamp=int(self.clock.at) - 1,
            ),
            **fields.pop("token", {}),
        )
        account = Account(
            id=name,
            email=f"{name}@example.com",
            client_id="123-app",
            token=token,
            created_at=int(NOW) - 100,
            last_refresh_at=int(NOW) - 4000,
        )
        account = changed(account, **fields)
        self.google.alive.add(account.token.refresh_token.reveal())
        stored = self.files.transact(name, lambda _: account)
        assert stored is not None
        return stored

    def on_disk(self, name: str = "ann") -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "accounts" / f"{name}.json").read_bytes())
        return document

    def edit(self, name: str = "ann", **fields: Any) -> None:
        """As a person does it in an editor: in place, without locks, without touching `revision`."""
        document = self.on_disk(name)
        for key, value in fields.items():
            if value is None:
                document.pop(key, None)
            elif key == "token":
                document["token"] |= value
            else:
                document[key] = value
        (self.folder / "accounts" / f"{name}.json").write_text(json.dumps(document, indent=1))

    def file(self, name: str = "ann") -> Path:
        return self.folder / "accounts" / f"{name}.json"

    async def close(self) -> None:
        self.google.open.set()
        for keeper in self._keepers:
            await keeper.close()


async def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait until it is so; fails the test after DEADLINE_S."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, f"never: {what or condition}"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Send the log to a file in `folder`; gives a function that returns its lines."""
    logs.configure(Log(level="debug", format="json", file=True), folder)
    file = folder / logs.FILE

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    try:
        yield lines
    finally:
        logs.configure(Log(level="info", format="plain", file=False), folder)
