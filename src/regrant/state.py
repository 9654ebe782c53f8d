"""Facts observed with an end, shared by all processes of a data folder: `<data>/state.sqlite3`.

A caller keeps its own memory right and merely tells this database, which writes in a thread of its own. Trouble with the disk never
reaches the caller: it is reported once and the write is tried again. What the facts mean (cool-downs, dead tokens) is known by those who
keep them; accounts are in `accounts/`, traffic in `traffic/`.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from regrant.clock import Clock
from regrant.database import Database, Version, is_damage, move_aside

MAX_PENDING: Final = 10_000  # distinct facts not written yet; beyond it the oldest is dropped and counted
BATCH: Final = 1_000
TOMBSTONE_S: Final = 3_600.0  # how long a deletion stays visible to the other processes
FOLLOW_S: Final = 0.5
PURGE_S: Final = 60.0  # what has ended is looked for in the whole table: not with every write
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0

_SCHEMA = """
create table if not exists observed (
  kind text not null, key text not null, value text, until real not null, writer text not null, changed_seq integer not null,
  primary key (kind, key)) without rowid;
create index if not exists observed_by_seq on observed (changed_seq);
create table if not exists counter (id integer primary key check (id = 1), seq integer not null);
insert or ignore into counter values (1, 0);
"""

_UPSERT = """
insert into observed values (?, ?, ?, ?, ?, ?)
on conflict (kind, key) do update set
  value = excluded.value, until = excluded.until, writer = excluded.writer, changed_seq = excluded.changed_seq
"""


class Change(msgspec.Struct, frozen=True):
    """What another process put (or, with `deleted`, removed). `until` is unix seconds, infinite for no end."""

    kind: str
    key: str
    value: Any
    until: float
    deleted: bool


class StateDatabase:
    """`report` is told, from the writer's thread and once per row of failures, what is wrong; it must not raise."""

    def __init__(
        self, path: Path, clock: Clock, *, report: Callable[[str], None] = lambda _sentence: None
    ) -> None:
        self._path = path
        self._clock = clock
        self._report = report
        self._writer_id = uuid.uuid4().hex
        self._lock = threading.Condition()
        self._pending: dict[tuple[str, str], tuple[str | None, float]] = {}
        self._writing = False
        self._closing = False
        self._failures = 0
        self._dropped = 0
        self._purge_at = -math.inf
        self._reader = Database(path, _prepare)
        self._seen: tuple[Version, int] | None = None
        """The file's version at the last look for changes, and the last number that it then held."""
        self._begin()
        self._thread = threading.Thread(target=self._write_until_closed, name="state-writer", daemon=True)
        self._thread.start()

    @property
    def failures(self) -> int:
        """Writes that failed in a row; 0 when all is well."""
        return self._failures

    @property
    def dropped(self) -> int:
        """Facts given up because too many waited for a disk that does not write."""
        return self._dropped

    def put(self, kind: str, key: str, value: Any, until: float) -> None:
        """Remember a JSON value under (kind, key) until then (unix seconds). Returns at once; the last put wins."""
        self._enqueue(kind, key, msgspec.json.encode(value).decode(), until)

    def delete(self, kind: str, key: str) -> None:
        """Forget (kind, key), here and in the other processes. Returns at once."""
        self._enqueue(kind, key, None, self._clock.now() + TOMBSTONE_S)

    def load(self, kind: str) -> dict[str, tuple[Any, float]]:
        """What is remembered and has not ended, as {key: (value, until)}; empty if the database cannot be read. Blocks: not per request."""
        rows = self._read(
            "select key, value, until from observed where kind = ? and value is not null and until > ?",
            (kind, self._clock.now()),
        )
        return {key: (msgspec.json.decode(value), until) for key, value, until in rows if _is_json(value)}

    def changes(self, since_seq: int) -> tuple[list[Change], int]:
        """What other processes changed after `since_seq`, and the number to pass next time. Costs one pragma if nothing did.

        Pass 0 to begin: everything is new then. Blocks for a moment; an unreadable database has no changes.
        """
        version = self._reader.version()
        if version is None or (since_seq and self._seen == (version, since_seq)):
            return [], since_seq
        if self._seen is not None and version[0] != self._seen[0][0]:
            since_seq = 0  # another file took the place of a damaged one, and counts from the beginning
        elif since_seq and self._read("select 1 from counter where seq < ?", (since_seq,)):
            since_seq = 0  # the same, and another follower has seen it already
        rows = self._read(
            "select kind, key, value, until, writer, changed_seq from observed where changed_seq > ? order by changed_seq",
            (since_seq,),
        )
        last = max((row[5] for row in rows), default=since_seq)
        self._seen = version, last
        return [
            _change(row) for row in rows if row[4] != self._writer_id and (row[2] is None or _is_json(row[2]))
        ], last

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything told so far is written; whether it is."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._pending and not self._writing, timeout_s)

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is pending, if the disk lets us in time, and stop. Idempotent."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join(timeout_s)
        self._reader.close()

    def _begin(self) -> None:
        try:
            self._mend_and_write(self._reader, {})
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            self._report(
                f"cannot write {self._path.name}: {error}; what it shares between processes is kept in memory"
            )

    def _read(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._reader.fetch(query, values)
        except (sqlite3.Error, OSError):
            return []  # the writer meets the same trouble, reports it and mends it

    def _enqueue(self, kind: str, key: str, value: str | None, until: float) -> None:
        with self._lock:
            self._pending.pop((kind, key), None)
            self._drop_beyond(MAX_PENDING - 1)
            self._pending[kind, key] = (value, until)
            self._lock.notify_all()

    def _drop_beyond(self, limit: int) -> None:
        while len(self._pending) > limit:
            del self._pending[next(iter(self._pending))]
            self._dropped += 1

    def _write_until_closed(self) -> None:
        with closing(Database(self._path, _prepare)) as connection:
            while batch := self._take_batch():
                try:
                    self._mend_and_write(connection, batch)
                except (sqlite3.Error, OSError) as error:
                    if not self._put_back(batch, error):
                        return
                else:
                    self._failures = 0
                    with self._lock:
                        self._writing = False
                        self._lock.notify_all()

    def _take_batch(self) -> dict[tuple[str, str], tuple[str | None, float]]:
        """The next facts to write, waiting for some; empty once closed and done."""
        with self._lock:
            self._lock.wait_for(lambda: self._pending or self._closing)
            keys = list(self._pending)[:BATCH]
            self._writing = bool(keys)
            return {key: self._pending.pop(key) for key in keys}

    def _put_back(self, batch: dict[tuple[str, str], tuple[str | None, float]], error: Exception) -> bool:
        """Keep a failed batch for later, unless newer news came, and wait; False when it is time to stop trying."""
        self._fail(error)
        with self._lock:
            self._pending = batch | self._pending
            self._drop_beyond(MAX_PENDING)
            self._writing = False
            pause_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 10))
            return not self._lock.wait_for(lambda: self._closing, pause_s)

    def _mend_and_write(
        self, connection: Database, batch: dict[tuple[str, str], tuple[str | None, float]]
    ) -> None:
        try:
            self._write(connection, batch)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            connection.close()
            moved = move_aside(self._path, int(self._clock.now()))
            if moved is not None:
                self._report(f"{self._path.name} was damaged; it is kept as {moved.name} and a new one begun")
            self._write(connection, batch)

    def _write(self, connection: Database, batch: dict[tuple[str, str], tuple[str | None, float]]) -> None:
        with connection.transaction() as cursor:
            (seq,) = cursor.execute("select seq from counter").fetchone()
            rows = [
                (kind, key, value, until, self._writer_id, seq + number)
                for number, ((kind, key), (value, until)) in enumerate(batch.items(), 1)
            ]
            cursor.executemany(_UPSERT, rows)
            cursor.execute("update counter set seq = ?", (seq + len(rows),))
            if self._clock.monotonic() >= self._purge_at:
                cursor.execute("delete from observed where until <= ?", (self._clock.now(),))
                self._purge_at = self._clock.monotonic() + PURGE_S


async def follow(
    database: StateDatabase, apply: Callable[[Change], None], *, interval_s: float = FOLLOW_S
) -> None:
    """Tell `apply`, in the event loop, of every change by another process, until cancelled. Begins with all that is there."""
    seq = 0
    while True:
        changes, seq = await asyncio.to_thread(database.changes, seq)
        for change in changes:
            apply(change)
        await asyncio.sleep(interval_s)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    if connection.execute("pragma user_version").fetchone()[0] == 0:
        connection.executescript("begin immediate;" + _SCHEMA + "pragma user_version = 1; commit;")


def _change(row: tuple[Any, ...]) -> Change:
    kind, key, value, until, _, _ = row
    return Change(
        kind, key, None if value is None else msgspec.json.decode(value), until, deleted=value is None
    )


def _is_json(value: object) -> bool:
    """Whether a stored value can be read; what somebody else scribbled into the file is passed over."""
    try:
        msgspec.json.decode(value if isinstance(value, str) else b"")
    except msgspec.DecodeError:
        return False
    return True
