"""One SQLite file that several processes share and that a disk may damage: opening it, transactions, putting a wreck aside.

What is in the files is known by `state.py` and `traffic/`; they also decide what is done when a write fails.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import filelock

BUSY_MS: Final = 5_000
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

Version = tuple[tuple[int, int] | None, int]
Prepare = Callable[[sqlite3.Connection], None]
"""Makes a connection ready for use: pragmas, and the tables of a new file. Raises sqlite3.Error."""


class Database:
    """One connection, opened when first used and again when the file was replaced. Serialized by its own lock.

    Every method raises sqlite3.Error or OSError when the file cannot be used.
    """

    def __init__(self, path: Path, prepare: Prepare) -> None:
        self._path = path
        self._prepare = prepare
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._lock = threading.RLock()

    def version(self) -> Version | None:
        """The file and a number that changes when anybody else wrote to it; None if it cannot be told."""
        try:
            rows = self.fetch("pragma data_version")
        except (sqlite3.Error, OSError):
            return None
        return self._inode, int(rows[0][0])

    def fetch(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._open().execute(query, values).fetchall()

    def run(self, script: str) -> None:
        """Statements without results, to their end: `execute` would take but the first step of an incremental vacuum."""
        with self._lock:
            self._open().executescript(script)

    def transaction(self) -> Transaction:
        return Transaction(self._open())

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(sqlite3.Error):  # closing a broken database may fail; nothing is lost by it
                    connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode != _inode(self._path):
            self.close()
        if self._connection is None:
            self._connection = _connect(self._path, self._prepare)
            self._inode = _inode(self._path)
        return self._connection


class Transaction:
    """`with` a cursor inside `begin immediate`: committed at the end, rolled back on an error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Cursor:
        return self._connection.execute("begin immediate")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._connection.execute("commit")
        finally:
            # A commit that fails may leave the transaction open, and none could ever be begun again.
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):  # the first error is the one to tell
                    self._connection.execute("rollback")


def is_damage(error: Exception) -> bool:
    """Whether the file itself is broken, so that only another one helps."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN


def move_aside(path: Path, now: int) -> Path | None:
    """Rename a damaged database and its journals; None if another process has already put a sound one in its place."""
    lock = path.parent / "locks" / f"{path.stem}.lock"
    lock.parent.mkdir(mode=0o700, exist_ok=True)
    with filelock.FileLock(lock, timeout=10):
        if _sound(path):
            return None
        moved = path.with_name(f"{path.name}.corrupt-{now}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.replace(f"{path}{suffix}", f"{moved}{suffix}")
        return moved


def _connect(path: Path, prepare: Prepare) -> sqlite3.Connection:
    _create_private(path)
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _create_private(path: Path) -> None:
    """Make an empty file of mode 0600, where SQLite alone would leave the mode to the umask.

    A file that is there is not even opened: closing it would end every lock that this process has on it, those of its
    other connections included, and another process could then take the journal away from under them.
    Source: https://www.sqlite.org/howtocorrupt.html section 2.2.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_MS / 1000)) as connection:
            return bool(connection.execute("pragma quick_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
