"""Cool-downs that all processes on one data folder share, and that survive a restart.

Kept in `state.sqlite3` (`regrant/state.py`); the pool itself never reads a database.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.pool import Pool
from regrant.state import StateDatabase
from regrant.upstream.faults import FaultKind

KIND = "cooldown"
FOLLOW_S = 0.5


class SharedCooldowns:
    def __init__(self, state: StateDatabase) -> None:
        self._state = state

    def publish(self, key: CooldownKey, cooldown: Cooldown | None) -> None:
        """Tell the other processes; the pool's `on_cooldown`."""
        if cooldown is None:
            self._state.delete(KIND, key.encode())
        else:
            value = [cooldown.why, cooldown.strikes, cooldown.since]
            self._state.put(KIND, key.encode(), value, cooldown.until)

    async def take_in(self, pool: Pool) -> None:
        """Take in what is known now."""
        for key, (value, until) in (await asyncio.to_thread(self._state.load, KIND)).items():
            _take(pool, key, value, until)

    async def follow(self, pool: Pool) -> None:
        """Take in what is known and what other processes change, until cancelled."""
        seq = 0
        await self.take_in(pool)
        while True:
            changes, seq = await asyncio.to_thread(self._state.changes, seq)
            for change in changes:
                if change.kind == KIND:
                    _take(pool, change.key, None if change.deleted else change.value, change.until)
            pool.look_at_clock()
            await asyncio.sleep(FOLLOW_S)


def _take(pool: Pool, key: str, value: Any, until: float) -> None:
    """`value` is the kind of fault, the failures in a row (where the end is a guess) and when it began; None: it is over."""
    try:
        cooldown = None
        if value is not None:
            why, strikes, since = msgspec.convert(value, tuple[FaultKind, int, float | None])
            cooldown = Cooldown(until, why, strikes, since=since)
        pool.observe(CooldownKey.decode(key), cooldown)
    except (msgspec.MsgspecError, ValueError):
        return  # written by a version that knows more; it keeps its own pool right
