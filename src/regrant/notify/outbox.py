"""Alerts that wait for their webhooks, in `<data>/state.sqlite3`, shared by all processes of a data folder.

Each webhook has a line of its own that one process at a time may serve, first come first sent. What was sent is remembered,
so that another process or a restart does not tell it again. Sending is `courier.py`. Every method blocks for a moment, and
raises sqlite3.Error or OSError when the file cannot be used.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

import msgspec

from regrant.database import BUSY_MS, Database, Transaction
from regrant.notify.alert import Alert

P = ParamSpec("P")
T = TypeVar("T")

MAX_WAITING: Final = 500  # per webhook; beyond it the oldest is given up
MAX_AGE_S: Final = 86_400.0
KEEP_S: Final = 400 * 86_400.0  # how long it is known what was told: an incident may last
HOLD_S: Final = 45.0  # longer than one try may take; after it another process takes over from one that died

_SCHEMA = """
create table if not exists alert (
  seq integer primary key autoincrement, webhook text not null, id text not null, alert text,
  tries integer not null default 0, at real not null, due real not null,
  unique (webhook, id));
create index if not exists alert_waiting on alert (webhook, seq) where alert is not null;
create table if not exists alert_line (webhook text primary key, holder text not null, until real not null) without rowid;
"""


class Delivery(msgspec.Struct, frozen=True):
    """An alert whose turn it is, and how often it was tried in vain."""

    seq: int
    alert: Alert
    tries: int


class Later(msgspec.Struct, frozen=True):
    """Nothing may be sent before `at` (unix seconds)."""

    at: float


class Transactions(Protocol):
    def transaction(self) -> AbstractContextManager[sqlite3.Cursor]: ...
    def close(self) -> None: ...


class Outbox:
    """`webhook`, wherever it is asked for, is the fingerprint of a webhook's address."""

    def __init__(self, database: Transactions) -> None:
        self._database = database
        self._holder = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alerts")

    async def off_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what blocks in the one thread of this box: a file that is locked for long keeps no thread from anybody else."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    def put(self, webhook: str, alert: Alert, now: float, *, certain: bool = False) -> bool:
        """Add an alert to the webhook's line unless it was told, or what it ends was never told. Whether it was added.

        `certain`: what it ends may have been told, only not from this box.
        """
        with self._lock, self._database.transaction() as cursor:
            if not certain and not _follows(cursor, webhook, alert):
                return False
            text = msgspec.json.encode(alert).decode()
            cursor.execute(
                "insert or ignore into alert (webhook, id, alert, at, due) values (?, ?, ?, ?, ?)",
                (webhook, alert.id, text, now, now),
            )
            added = cursor.rowcount > 0
            cursor.execute("delete from alert where at < ?", (now - KEEP_S,))
        return added

    def give_up(self, webhook: str, now: float) -> int:
        """Drop what waits too long or is too much, oldest first. How many were dropped."""
        with self._lock, self._database.transaction() as cursor:
            cursor.execute(
                "update alert set alert = null where webhook = ? and alert is not null and (at < ? or seq <= "
                "(select seq from alert where webhook = ? and alert is not null order by seq desc limit 1 offset ?))",
                (webhook, now - MAX_AGE_S, webhook, MAX_WAITING),
            )
            return cursor.rowcount

    def take(self, webhook: str, now: float) -> Delivery | Later | None:
        """The alert whose turn it is, held for this process; or when to come again; None when none waits."""
        with self._lock, self._database.transaction() as cursor:
            head = cursor.execute(
                "select seq, alert, tries, due from alert where webhook = ? and alert is not null order by seq limit 1",
                (webhook,),
            ).fetchone()
            if head is None:
                return None
            seq, text, tries, due = head
            alert = _read(text)
            if alert is None:
                cursor.execute("update alert set alert = null where seq = ?", (seq,))
                return Later(now)
            held = cursor.execute(
                "select until from alert_line where webhook = ? and holder != ? and until > ?",
                (webhook, self._holder, now),
            ).fetchone()
            wait = max(due, held[0] if held else 0.0)
            if wait > now:
                return Later(wait)
            cursor.execute(
                "insert into alert_line values (?, ?, ?) "
                "on conflict (webhook) do update set holder = excluded.holder, until = excluded.until",
                (webhook, self._holder, now + HOLD_S),
            )
            return Delivery(seq, alert, tries)

    def finish(self, webhook: str, seq: int) -> None:
        """It was delivered, or never will be: the next one's turn."""
        with self._lock, self._database.transaction() as cursor:
            cursor.execute("update alert set alert = null where seq = ?", (seq,))
            self._release(cursor, webhook)

    def postpone(self, webhook: str, seq: int, due: float) -> None:
        """It is tried again at `due`, by whichever process comes first."""
        with self._lock, self._database.transaction() as cursor:
            cursor.execute("update alert set tries = tries + 1, due = ? where seq = ?", (due, seq))
            self._release(cursor, webhook)

    def close(self) -> None:
        """Let other processes send at once what this one held."""
        with self._lock:
            try:
                with self._database.transaction() as cursor:
                    cursor.execute("delete from alert_line where holder = ?", (self._holder,))
            finally:
                self._database.close()
                self._thread.shutdown(wait=False)

    def _release(self, cursor: sqlite3.Cursor, webhook: str) -> None:
        cursor.execute("delete from alert_line where webhook = ? and holder = ?", (webhook, self._holder))


def file_outbox(path: Path) -> Outbox:
    return Outbox(Database(path, prepare))


def memory_outbox() -> Outbox:
    """For what cannot be written: it is sent all the same, and forgotten with the process."""
    return Outbox(_Memory())


class _Memory:
    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.executescript(_SCHEMA)

    def transaction(self) -> Transaction:
        return Transaction(self._connection)

    def close(self) -> None:
        self._connection.close()


def _read(text: str) -> Alert | None:
    """What is stored; None for what another version wrote, or somebody scribbled."""
    try:
        return msgspec.json.decode(text, type=Alert)
    except msgspec.MsgspecError:
        return None


def _follows(cursor: sqlite3.Cursor, webhook: str, alert: Alert) -> bool:
    """Whether the webhook was told of the beginning, or is about to be."""
    if alert.phase == "opened":
        return True
    beginning = (webhook, f"{alert.incident}-opened")
    return (
        cursor.execute("select 1 from alert where webhook = ? and id = ?", beginning).fetchone() is not None
    )


def prepare(connection: sqlite3.Connection) -> None:
    """Make a connection to the shared file ready, its tables included."""
    connection.execute(f"pragma busy_timeout = {BUSY_MS}")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    connection.executescript(_SCHEMA)
