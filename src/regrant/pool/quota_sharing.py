"""The ledger's numbers in `state.sqlite3`: what survives a restart, and what several processes on one data folder add up.

Each process writes rows of its own, a few seconds' worth at a time; limits and reports are everybody's. What the numbers mean is
`quota.py`; the ledger itself never reads a database.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec

from regrant.clock import Clock
from regrant.pool.quota import Counts, Ledger, Reported, Row
from regrant.pool.quota_limits import Limit, Measure, Source, life_s
from regrant.state import Change, StateDatabase, follow

COUNTS, LIMIT, USAGE = "quota_counts", "quota_limit", "quota_usage"
SHOWN_STALE = 2.0  # a limit is kept, to be shown as stale, for so many times the time that it counts


class SharedQuota:
    def __init__(self, ledger: Ledger, state: StateDatabase, clock: Clock) -> None:
        self._ledger = ledger
        self._state = state
        self._clock = clock
        self._writer = uuid.uuid4().hex[:12]

    async def take_in(self) -> None:
        """What is known now: what earlier and other processes counted and learned."""
        for kind in (LIMIT, USAGE, COUNTS):
            for key, (value, until) in (await asyncio.to_thread(self._state.load, kind)).items():
                self._apply(Change(kind, key, value, until, deleted=False))

    async def follow(self) -> None:
        """Take in what other processes count and learn, until cancelled."""
        await follow(self._state, self._apply)

    def flush(self) -> None:
        """Hand over what was counted since the last time."""
        for row in self._ledger.unwritten(self._clock.now()):
            key = _key(self._writer, *row.day, row.project, row.model)
            self._state.put(COUNTS, key, [row.minute, *row.counts], row.day[1])

    def tell_limit(self, project: str, model: str, measure: Measure, limit: Limit) -> None:
        """A limit that this process was told of."""
        until = limit.as_of + SHOWN_STALE * life_s(limit.source, measure)
        key = _key(project, model, measure, limit.source)
        self._state.put(LIMIT, key, [limit.value, limit.as_of], until)

    def tell_usage(
        self, project: str, model: str, measure: Measure, reported: Reported, day_ends: float
    ) -> None:
        """What this process was told of the use of the day."""
        key = _key(project, model, measure)
        self._state.put(USAGE, key, [reported.value, reported.source, reported.as_of], day_ends)

    def _apply(self, change: Change) -> None:
        if change.deleted:
            return
        try:
            match change.kind:
                case "quota_counts":
                    self._take_counts(change)
                case "quota_limit":
                    self._take_limit(change)
                case "quota_usage":
                    self._take_usage(change)
                case _:
                    pass
        except (msgspec.MsgspecError, ValueError):
            return  # written by a version that knows more; it keeps its own ledger right

    def _take_counts(self, change: Change) -> None:
        writer, starts, ends, project, model = _read(change.key, tuple[str, float, float, str, str])
        minute, *counts = msgspec.convert(change.value, tuple[int, int, int, int, int])
        if writer != self._writer and min(counts) >= 0:
            told: Counts = (counts[0], counts[1], counts[2], counts[3])
            row = Row(project=project, model=model, day=(starts, ends), minute=minute, counts=told)
            self._ledger.observe_counts(writer, row, self._clock.now())

    def _take_limit(self, change: Change) -> None:
        project, model, measure, source = _read(change.key, tuple[str, str, Measure, Source])
        value, as_of = msgspec.convert(change.value, tuple[int | None, float])
        limit = Limit(value, source, as_of)
        self._ledger.observe_limit(project, model, measure, limit, self._clock.now())

    def _take_usage(self, change: Change) -> None:
        project, model, measure = _read(change.key, tuple[str, str, Measure])
        value, source, as_of = msgspec.convert(change.value, tuple[int, Source, float])
        now = self._clock.now()
        if now < change.until:
            self._ledger.observe_usage(project, model, measure, Reported(value, source, as_of), now)


def _key(*parts: str | float) -> str:
    return msgspec.json.encode(parts).decode()


def _read(key: str, kind: Any) -> Any:
    return msgspec.json.decode(key, type=kind)
