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
)
"""What turns version n into n + 1; a new file has version 0. Steps are added, never changed."""

VERSION = len(_STEPS)

# One statement for a whole batch: the interpreter's lock is given up once and not for each row, which a busy event loop
# would be slow to hand back. Written again after a commit of unknown outcome, a row counts once.
_INSERT = """
insert or ignore into exchange (
  id, at, dialect, model, served_model, status, key, ms, first_ms, problem,
  input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
  account, tries, attempts, dropped)
select
  json_extract(value, '$.id'), json_extract(value, '$.at'), json_extract(value, '$.dialect'),
  json_extract(value, '$.model'), json_extract(value, '$.served_model'), json_extract(value, '$.status'),
  json_extract(value, '$.key'), json_extract(value, '$.ms'), json_extract(value, '$.first_ms'),
  json_extract(value, '$.problem'),
  json_extract(value, '$.tokens.input_tokens'), json_extract(value, '$.tokens.cached_tokens'),
  json_extract(value, '$.tokens.cache_write_tokens'), json_extract(value, '$.tokens.output_tokens'),
  json_extract(value, '$.tokens.reasoning_tokens'),
  coalesce(json_extract(value, '$.attempts[#-1].account_id'), ''), json_array_length(value, '$.attempts'),
  json_extract(value, '$.attempts'), json_extract(value, '$.dropped')
from json_each(?)
"""


class TooNew(sqlite3.DatabaseError):
    """The file was written by a newer program."""


def prepare(connection: sqlite3.Connection) -> None:
    """Make a connection ready to write, and the file's tables those of this version. Raises sqlite3.Error."""
    connection.execute("pragma auto_vacuum = incremental")  # counts for a new file only, before all else
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
    cursor.execute(_INSERT, (msgspec.json.encode(records).decode(),))
    cursor.executemany(
        "insert or ignore into body select seq, ? from exchange where id = ?",
        [(msgspec.json.encode(pair).decode(), id_) for id_, pair in bodies],
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
