"""Reading `traffic.sqlite3`: the newest requests, one of them, those that came since.

Works whether or not a gateway runs and writes it; never holds the file for longer than a query. Figures over many requests
are `stats.py`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from regrant.database import BUSY_MS
from regrant.errors import RegrantError
from regrant.traffic import schema
from regrant.traffic.record import CLIENT_LEFT, AttemptRecord, BodyPair, Record

FAILED = f"(problem != '{CLIENT_LEFT}' and (problem != '' or status >= 400 or status = 0))"
"""A client that left is nobody's failure."""

_COLUMNS = (
    "seq, id, at, dialect, model, served_model, status, key, ms, first_ms, problem,"
    " input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, attempts, dropped, reasons"
)
_TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


class TrafficUnreadable(RegrantError):
    """The traffic log cannot be read; `hint` says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.hint = (
            "See that the data folder and its disk can be used. A running gateway replaces a damaged file by itself;"
            " without one, move traffic.sqlite3 away."
        )


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are meant; what is "" or None does not matter. `since` is inside, `until` is not.

    `model` is the name asked for or the one that served; `account` any account that was tried; `fault` that of any attempt.
    """

    model: str = ""
    account: str = ""
    status: int | None = None
    key: str = ""
    fault: str = ""
    problem: str = ""
    since: float | None = None
    until: float | None = None
    failed: bool = False

    def conditions(self) -> tuple[str, list[object]]:
        """As SQL, and its values."""
        wanted: list[tuple[bool, str, list[object]]] = [
            (bool(self.model), "(model = ? or served_model = ?)", [self.model, self.model]),
            (bool(self.account), "instr(attempts, ?)", [_member("account_id", self.account)]),
            (self.status is not None, "status = ?", [self.status]),
            (bool(self.key), "key = ?", [self.key]),
            (bool(self.fault), "instr(attempts, ?)", [_member("fault", self.fault)]),
            (bool(self.problem), "problem = ?", [self.problem]),
            (self.since is not None, "at >= ?", [self.since]),
            (self.until is not None, "at < ?", [self.until]),
            (self.failed, FAILED, []),
        ]
        clauses = [clause for wants, clause, _ in wanted if wants]
        values = [value for wants, _, some in wanted if wants for value in some]
        return " and ".join(clauses) or "1", values


class Page(msgspec.Struct, frozen=True):
    """Records and, for the next page, the number of the last one; None at the end."""

    records: list[Record]
    last: int | None


class History:
    """Every method blocks for a moment, and raises TrafficUnreadable. Where there is no file, there was no traffic."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / schema.FILE

    def newest(self, wanted: Filter, limit: int, before: int | None = None) -> Page:
        """The newest first, as they were written; `before` is the `last` of the page before."""
        clause, values = wanted.conditions()
        if before is not None:
            clause, values = f"seq < ? and {clause}", [before, *values]
        rows = self.query(
            f"select {_COLUMNS} from exchange where {clause} order by seq desc limit ?",  # noqa: S608 - ours
            (*values, limit + 1),
        )
        last = rows[limit - 1][0] if len(rows) > limit else None
        return Page([_record(row) for row in rows[:limit]], last)

    def since(self, wanted: Filter, after: int, limit: int) -> Page:
        """The oldest first of those that were written after number `after`; `last` is the newest number seen."""
        clause, values = wanted.conditions()
        rows = self.query(
            f"select {_COLUMNS} from exchange where seq > ? and {clause} order by seq limit ?",  # noqa: S608 - ours
            (after, *values, limit),
        )
        return Page([_record(row) for row in rows], rows[-1][0] if rows else after)

    def last_number(self) -> int:
        """The number of the newest record, 0 if there is none."""
        rows = self.query("select max(seq) from exchange")
        return int(rows[0][0] or 0) if rows else 0

    def matching(self, prefix: str, limit: int = 10) -> list[Record]:
        """The records whose ids begin so, with or without `req_`."""
        begin = "req_" + prefix.removeprefix("req_")
        rows = self.query(
            f"select {_COLUMNS} from exchange where id >= ? and id < ? order by seq desc limit ?",  # noqa: S608 - ours
            (begin, begin + "\U0010ffff", limit),
        )
        return [_record(row) for row in rows]

    def bodies(self, id_: str) -> BodyPair | None:
        rows = self.query("select pair from body join exchange using (seq) where id = ?", (id_,))
        return msgspec.json.decode(rows[0][0], type=BodyPair) if rows else None

    def query(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement of ours; [] where there is no file."""
        try:
            with self._opened() as connection:
                return connection.execute(statement, values).fetchall() if connection is not None else []
        except sqlite3.Error as error:
            raise TrafficUnreadable(f"the traffic log cannot be read: {error}") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        if not self._path.exists():
            yield None
            return
        # Not read-only: what a killed gateway left in the -wal file is taken in by whoever opens it first.
        address = f"{self._path.absolute().as_uri()}?mode=rw"
        with contextlib.closing(
            sqlite3.connect(address, uri=True, timeout=BUSY_MS / 1000, isolation_level=None)
        ) as connection:
            schema.prepare(connection)
            connection.execute("pragma query_only = on")
            yield connection


def _member(name: str, value: str) -> str:
    """A member of an object as it stands in stored JSON, where a quotation mark inside a text is always escaped."""
    return f'"{name}":{msgspec.json.encode(value).decode()}'


def _record(row: tuple[Any, ...]) -> Record:
    counted = {name: count for name, count in zip(_TOKENS, row[11:16], strict=True) if count is not None}
    return Record(
        id=row[1],
        at=row[2],
        dialect=row[3],
        model=row[4],
        served_model=row[5],
        status=row[6],
        key=row[7],
        ms=row[8],
        first_ms=row[9],
        problem=row[10],
        tokens=counted,
        attempts=msgspec.json.decode(row[16], type=list[AttemptRecord]),
        dropped=msgspec.json.decode(row[17], type=list[str]),
        reasons=msgspec.json.decode(row[18], type=dict[str, int]),
    )
