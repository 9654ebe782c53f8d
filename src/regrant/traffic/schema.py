"""The tables of `traffic.sqlite3`, how a file of an older version becomes one of this, and how records are put in.

Who writes is `log.py`, who reads `history.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from regrant.traffic.record import BodyPair, Record

FILE = "traffic.sqlite3"

_STEPS: tuple[tuple[str, ...], ...] = (
    (
        """create table exchange (
          seq integer primary key, id text not null unique, at real not null, dialect text not null,
          model text not null, served_model text not null, status integer not null, key text not null,
          ms real not null, first_ms real, problem text not null,
          input_tokens integer, cached_tokens integer, cache_write_tokens integer, output_tokens integer,
          reasoning_tokens integer,
          account text not null, tries integer not null, attempts text not null, dropped text not null)""",
        "create index exchange_by_time on exchange (at)",
    ),
    (
        """create table body (
          seq integer primary key references exchange (seq) on delete cascade, pair text not null)""",
    ),
    ("alter table exchange add column reasons text not null default '{}'",),
)
"""What turns version n into n + 1; a new file has version 0. Steps are added, never changed."""

VERSION = len(_STEPS)

ROWS = 25
"""Rows that one statement puts in. The interpreter's lock is given up once for each statement, and a busy event loop is slow to
hand it back; more rows are not faster."""

_COLUMNS = (
    "id, at, dialect, model, served_model, status, key, ms, first_ms, problem,"
    " input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,"
    " account, tries, attempts, dropped, reasons"
)
_ROW = f"({', '.join('?' * len(_COLUMNS.split(',')))})"


class TooNew(sqlite3.DatabaseError):
    """The file was written by a newer program."""


def prepare(connection: sqlite3.Connection) -> None:
    """Make a connection ready to write, and the file's tables those of this version. Raises sqlite3.Error."""
    if connection.execute("pragma page_count").fetchone() == (0,):
        # Counts for a new file only, before all else. In one that has it, it is a write, which readers must not need.
        connection.execute("pragma auto_vacuum = incremental")
    connection.execute("pragma journal_mode = wal")
    # A killed process loses nothing that was committed; a power cut may take the last seconds, never the file.
    connection.execute("pragma synchronous = normal")
    connection.execute("pragma foreign_keys = on")
    if check_version(connection) < VERSION:
        _migrate(connection)


def check_version(connection: sqlite3.Connection) -> int:
    """The version of the file's tables, 0 for a new file. Raises TooNew, sqlite3.Error."""
    version = int(connection.execute("pragma user_version").fetchone()[0])
    if version > VERSION:
        raise TooNew(
            f"{FILE} was written by a newer Regrant (its version is {version}, this one knows {VERSION});"
            f" update Regrant, or move {FILE} away to begin a new one"
        )
    return version


def insert(cursor: sqlite3.Cursor, records: Sequence[Record], bodies: Sequence[tuple[str, BodyPair]]) -> None:
    """Add records, and the bodies of some of them by their ids. Raises sqlite3.Error."""
    for first in range(0, len(records), ROWS):
        some = records[first : first + ROWS]
        # Written again after a commit of unknown outcome, a row counts once.
        statement = f"insert or ignore into exchange ({_COLUMNS}) values {', '.join([_ROW] * len(some))}"  # noqa: S608 - ours
        cursor.execute(statement, [value for record in some for value in _values(record)])
    cursor.executemany(
        "insert or ignore into body select seq, ? from exchange where id = ?",
        [(msgspec.json.encode(pair).decode(), id_) for id_, pair in bodies],
    )


def _values(record: Record) -> tuple[object, ...]:
    """In the order of the columns."""
    tokens, attempts = record.tokens, record.attempts
    return (
        record.id,
        record.at,
        record.dialect,
        record.model,
        record.served_model,
        record.status,
        record.key,
        record.ms,
        record.first_ms,
        record.problem,
        tokens.get("input_tokens"),
        tokens.get("cached_tokens"),
        tokens.get("cache_write_tokens"),
        tokens.get("output_tokens"),
        tokens.get("reasoning_tokens"),
        attempts[-1].account_id if attempts else "",
        len(attempts),
        msgspec.json.encode(attempts).decode(),
        msgspec.json.encode(record.dropped).decode(),
        msgspec.json.encode(record.reasons).decode() if record.reasons else "{}",
    )


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("begin immediate")
    try:
        done = check_version(connection)  # another process may have been faster
        for statement in (one for step in _STEPS[done:] for one in step):
            connection.execute(statement)
        connection.execute(f"pragma user_version = {VERSION}")
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
