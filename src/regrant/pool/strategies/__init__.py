"""Whose turn it is: one file for each strategy, all behind `Strategy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from regrant.pool.field import Field
from regrant.pool.selector import Allowed, Candidate
from regrant.pool.strategies.fill_first import FillFirst
from regrant.pool.strategies.least_loaded import LeastLoaded
from regrant.pool.strategies.priority import Priority
from regrant.pool.strategies.round_robin import RoundRobin
from regrant.pool.strategies.sticky import Sticky
from regrant.pool.strategies.weighted import Weighted


class Strategy(Protocol):
    """`tiered`: it is asked for one priority at a time, the highest first. `shares`: it spreads requests over accounts, so that
    a new one can be given its share by and by.
    """

    tiered: bool
    shares: bool

    def pick(self, field: Field, key: int | None, allowed: Allowed | None = None) -> Candidate | None:
        """A candidate of `field` that is `allowed` (None: all are), or None only if there is none. `key` is the conversation."""
        ...


STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "sticky": Sticky,
    "round_robin": RoundRobin,
    "least_loaded": LeastLoaded,
    "fill_first": FillFirst,
    "weighted": Weighted,
    "priority": Priority,
}
"""The values of the setting `pool.strategy`."""
