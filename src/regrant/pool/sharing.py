"""Cool-downs shared by all processes of a data folder: the bridge between a Pool and the state database.

How the database writes and follows is `regrant/state.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.pool import CooldownChanged, Pool
from regrant.state import Change, StateDatabase
from regrant.upstream.faults import FaultKind

KIND = "cooldown"


def share_cooldowns(database: StateDatabase) -> CooldownChanged:
    """What to pass to a Pool as `on_cooldown`, so that the other processes learn of its cool-downs."""

    def tell(key: CooldownKey, cooldown: Cooldown | None) -> None:
        if cooldown is None:
            database.delete(KIND, key.encode())
        else:
            database.put(KIND, key.encode(), {"why": cooldown.why}, cooldown.until)

    return tell


def load_cooldowns(pool: Pool, database: StateDatabase) -> None:
    """Take over what was known before this process started. Blocks on the disk."""
    for key, (value, until) in database.load(KIND).items():
        _observe(pool, key, value, until)


def apply_change(pool: Pool, change: Change) -> None:
    """Take over one change by another process; changes of other kinds are ignored."""
    if change.kind == KIND:
        _observe(pool, change.key, None if change.deleted else change.value, change.until)


def _observe(pool: Pool, text: str, value: Any, until: float) -> None:
    try:
        key = CooldownKey.decode(text)
        cooldown = None if value is None else Cooldown(until, FaultKind(value["why"]))
    except (msgspec.MsgspecError, TypeError, KeyError, ValueError):
        return  # written by a version that knows other scopes or faults; it ends by itself
    pool.observe(key, cooldown)
