"""The traffic log: finished requests, written to `<data>/traffic.sqlite3` in batches by one thread off the event loop.

`record` costs an append. What waits is bounded: beyond it records are counted and dropped, and nobody waits. Trouble with
the disk is reported once and tried again. The file is kept under its age and size while it is written (`bounds.py`); its
tables are `schema.py`, reading it is `history.py`. Several processes may write one file.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from regrant.clock import Clock
from regrant.database import Database, is_damage, move_aside
from regrant.secret import Secret
from regrant.settings.model import Traffic
from regrant.traffic import schema
from regrant.traffic.bounds import Bounds
from regrant.traffic.exchange import Bodies, Exchange
from regrant.traffic.record import bodies_of, record_of

MAX_QUEUED: Final = 10_000
MAX_QUEUED_BODY_BYTES: Final = 32 << 20
BATCH: Final = 1_000
BATCH_BODY_BYTES: Final = 4 << 20
FLUSH_S: Final = 0.25
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 10.0

_STRANGE = (sqlite3.DataError, sqlite3.ProgrammingError)
"""What SQLite refuses a value with that no column can hold; it is no trouble with the file."""

Report = Callable[[str, str], None]
"""Told, from the writer's thread, an event and a sentence; must not raise."""


class TrafficLog:
    """`limits` are read at each batch, so that changed settings count at once. `secrets` are known ones, to be masked."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        limits: Callable[[], Traffic],
        secrets: Callable[[], Iterable[Secret]] = tuple,
        report: Report = lambda _event, _sentence: None,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._path = path
        self._clock = clock
        self._limits = limits
        self._secrets = secrets
        self._report = report
        self._max_queued = max_queued
        self._queue: deque[Exchange] = deque()
        self._dropped = 0
        self._bodies_dropped = 0
        # Two counters that each have one writer: no lock is needed between the event loop and the thread.
        self._body_bytes_in = 0
        self._body_bytes_out = 0
        self._unwritable = 0
        self._dropped_before = 0
        self._failures = 0
        self._retry_at = 0.0
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Requests that were not recorded, because too many waited or they cannot be written; since the start."""
        return self._dropped + self._unwritable

    @property
    def bodies_dropped(self) -> int:
        """Requests recorded without their bodies, because too much text waited."""
        return self._bodies_dropped

    @property
    def queued(self) -> int:
        """Requests that wait to be written."""
        return len(self._queue)

    @property
    def failures(self) -> int:
        """Writes that failed in a row; 0 when all is well."""
        return self._failures

    def start(self) -> None:
        """Begin to write. What was recorded before is kept."""
        self._thread = threading.Thread(target=self._write_until_closed, name="traffic-writer", daemon=True)
        self._thread.start()

    def record(self, exchange: Exchange) -> None:
        """Have the exchange written soon. Called in the event loop; returns at once and never raises."""
        if len(self._queue) >= self._max_queued:
            self._dropped += 1
            return
        if exchange.bodies is not None and not self._take_bodies(exchange.bodies):
            exchange.bodies = None
        self._queue.append(exchange)

    def flush(self, timeout_s: float) -> bool:
        """Have everything written that was recorded so far; whether it is."""
        deadline = time.monotonic() + timeout_s
        while self._queue and time.monotonic() < deadline:
            self._wake.set()
            time.sleep(0.005)
        return not self._queue

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, if the disk lets us in time, and stop. Idempotent."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _take_bodies(self, bodies: Bodies) -> bool:
        size = bodies.kept_bytes
        if self._body_bytes_in - self._body_bytes_out + size > MAX_QUEUED_BODY_BYTES:
            self._bodies_dropped += 1
            return False
        self._body_bytes_in += size
        return True

    def _write_until_closed(self) -> None:
        database = Database(self._path, schema.prepare)
        bounds = Bounds(database, self._path, self._clock)
        closing = False
        while not closing:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            closing = self._closing
            if closing or self._clock.monotonic() >= self._retry_at:
                self._write_what_waits(database, bounds)
        database.close()

    def _write_what_waits(self, database: Database, bounds: Bounds) -> None:
        try:
            while batch := self._next_batch():
                self._mend_and_write(database, batch)
                self._forget(batch)
                bounds.keep(self._limits())
            if bounds.due(self._limits()) and self._path.exists():
                bounds.keep(self._limits())
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        else:
            self._recover()

    def _next_batch(self) -> list[Exchange]:
        """The oldest that wait. They stay in the queue until they are written: only this thread takes from it."""
        max_mb = self._limits().max_mb
        # A batch passes through the -wal file, which counts as well: it is small where the whole is to be.
        most = min(len(self._queue), BATCH, max_mb * 100)
        most_body_bytes = min(BATCH_BODY_BYTES, (max_mb << 20) // 16)
        batch: list[Exchange] = []
        size = 0
        for position in range(most):
            exchange = self._queue[position]
            size += exchange.bodies.kept_bytes if exchange.bodies is not None else 0
            if batch and size > most_body_bytes:
                break
            batch.append(exchange)
        return batch

    def _forget(self, batch: list[Exchange]) -> None:
        for _ in batch:
            written = self._queue.popleft()
            if written.bodies is not None:
                self._body_bytes_out += written.bodies.kept_bytes

    def _mend_and_write(self, database: Database, batch: list[Exchange]) -> None:
        try:
            self._write(database, batch)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            database.close()
            moved = move_aside(self._path, int(self._clock.now()))
            if moved is not None:
                self._report(
                    "traffic_damaged",
                    f"{self._path.name} was damaged; it is kept as {moved.name} and a new one begun",
                )
            self._write(database, batch)

    def _write(self, database: Database, batch: list[Exchange]) -> None:
        try:
            self._insert(database, batch)
        except Exception as error:
            # The boundary of the writer's thread: whatever is wrong with one exchange, the others are written.
            if isinstance(error, sqlite3.Error | OSError) and not isinstance(error, _STRANGE):
                raise
            if len(batch) == 1:
                self._unwritable += 1  # it would keep all that come after it from being written
                return
            for exchange in batch:
                self._write(database, [exchange])

    def _insert(self, database: Database, batch: list[Exchange]) -> None:
        secrets = tuple(self._secrets())
        records = [record_of(exchange, secrets) for exchange in batch]
        bodies = [
            (exchange.id, bodies_of(exchange.bodies, secrets))
            for exchange in batch
            if exchange.bodies is not None
        ]
        with database.transaction() as cursor:
            schema.insert(cursor, records, bodies)

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        pause_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 10))
        self._retry_at = self._clock.monotonic() + pause_s
        if self._failures == 1:
            self._dropped_before = self.dropped
            advice = (
                ""
                if isinstance(error, schema.TooNew)
                else f" Free space, or make {self._path.name} and its folder writable."
            )
            self._report(
                "traffic_not_recorded",
                f"cannot write {self._path.name}: {error}. Requests are served as before;"
                f" up to {self._max_queued} wait to be recorded, what comes after them is lost.{advice}",
            )

    def _recover(self) -> None:
        if not self._failures:
            return
        self._failures = 0
        lost = self.dropped - self._dropped_before
        self._report(
            "traffic_recorded_again",
            f"{self._path.name} is written again; {lost} requests were lost"
            if lost
            else f"{self._path.name} is written again; nothing was lost",
        )
