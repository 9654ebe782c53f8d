"""`GET /metrics`: what was counted, what is so at this moment, and the other processes of the same server.

What happened is counted by `recorder.py`; what can be looked up (states, queues, connections) is looked up when
somebody asks. The event loop only copies; counting accounts, files and the text itself are a thread's work.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable, Sequence

import msgspec

from regrant import __version__, logs
from regrant.accounts.entry import Entry
from regrant.accounts.keeper import Keeper
from regrant.accounts.store import Corrupt
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.pool import Pool
from regrant.pool.states import CooldownIndex, state_of
from regrant.traffic import meters
from regrant.traffic.ledger import Ledger
from regrant.traffic.recorder import Recorder
from regrant.traffic.tally import Tally, adds_up

BEAT_S = 0.5
PUBLISH_S = 1.0
AT_A_TIME = 200
"""Exchanges counted in one go: about half a millisecond, which no request notices."""

log = logs.get("metrics")


class Views(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look when somebody asks. All of it is cheap: copies and lengths."""

    keeper: Keeper
    pool: Pool
    default_client_id: Callable[[], str]
    in_flight: Callable[[], int]
    connections: Callable[[], int]
    incidents: Callable[[], int]
    traffic_queue: Callable[[], tuple[int, int]]
    """How many exchanges wait to be written, and how many were dropped."""


class _Stock(msgspec.Struct, frozen=True, kw_only=True):
    """What a thread goes on with: the numbers of this process, and copies of what else is looked at."""

    number: int
    """Counts up: an older copy must not replace a newer one on disk."""
    tally: Tally
    entries: Sequence[Entry]
    corrupt: Sequence[Corrupt]
    cooldowns: Sequence[tuple[CooldownKey, Cooldown]]
    default_client_id: str
    incidents: int


class Metrics:
    """The metrics of one App. Belongs to its event loop; `ledger` only where the server has several processes."""

    def __init__(self, recorder: Recorder, views: Views, ledger: Ledger | None = None) -> None:
        self.recorder = recorder
        self._views = views
        self._ledger = ledger
        self._taken = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Count from now on."""
        self.recorder.begin(self._views.keeper.entries())
        self._await_beat()

    async def close(self) -> None:
        """Stop counting; other processes keep what was counted."""
        if self._timer is not None:
            self._timer.cancel()
        await self._publish()

    async def publish(self) -> None:
        """Show the other processes of the server what this one has counted, until cancelled."""
        while self._ledger is not None:
            await self._publish()
            await asyncio.sleep(PUBLISH_S)

    async def scrape(self, accept: str) -> tuple[str, bytes]:
        """Content type and body for a scraper with this Accept header."""
        return await asyncio.to_thread(self._answer, self._take_stock(), accept)

    async def _publish(self) -> None:
        if self._ledger is not None:
            await asyncio.to_thread(self._share, self._take_stock())

    def _await_beat(self) -> None:
        self._due = time.perf_counter() + BEAT_S
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        late_s = max(0.0, time.perf_counter() - self._due)
        self.recorder.loop_was_late(late_s)
        self._await_beat()
        self._drain()

    def _drain(self) -> None:
        self.recorder.drain(AT_A_TIME)
        if self.recorder.exchanges:
            asyncio.get_running_loop().call_soon(self._drain)

    def _take_stock(self) -> _Stock:
        tally, views, pool = self.recorder.snapshot(), self._views, self._views.pool
        queued, dropped = views.traffic_queue()
        tally.put(meters.REQUESTS_IN_FLIGHT, views.in_flight())
        tally.put(meters.ATTEMPTS_IN_FLIGHT, pool.leases)
        tally.put(meters.UPSTREAM_CONNECTIONS, views.connections())
        tally.put(meters.WAITING, pool.waiting)
        tally.put(meters.WAIT_SECONDS, pool.waits.seconds)
        for outcome in meters.WAITS:
            tally.put(meters.WAITED, getattr(pool.waits, outcome), (outcome,))
        tally.put(meters.TRAFFIC_QUEUE, queued)
        tally.put(meters.TRAFFIC_DROPPED, dropped)
        tally.put(meters.LOG_FAILURES, logs.failures())
        tally.put(meters.WORKERS, 1)
        self._taken += 1
        return _Stock(
            number=self._taken,
            tally=tally,
            entries=views.keeper.entries(),
            corrupt=views.keeper.corrupt(),
            cooldowns=pool.cooldowns(),
            default_client_id=views.default_client_id(),
            incidents=views.incidents(),
        )

    def _answer(self, stock: _Stock, accept: str) -> tuple[str, bytes]:
        from regrant.traffic.exposition import render  # slow: the first scrape pays, in its thread

        tally = stock.tally
        if self._share(stock):
            tally = self._with_others(tally)
        _look_around(tally, stock)
        return render(tally, accept)

    def _share(self, stock: _Stock) -> bool:
        """Show the other processes the numbers of this one, if there are others."""
        stock.tally.put(meters.ACCOUNTS_NOT_PERSISTED, sum(not entry.persisted for entry in stock.entries))
        if self._ledger is None:
            return False
        try:
            self._ledger.write(stock.tally, stock.number)
        except OSError as error:
            _warn(error)
        return True

    def _with_others(self, tally: Tally) -> Tally:
        assert self._ledger is not None
        try:
            for other in self._ledger.others():
                tally.add(other, adds_up)
        except (OSError, msgspec.MsgspecError) as error:
            _warn(error)
        return tally


def _look_around(tally: Tally, stock: _Stock) -> None:
    """Put in what every process sees alike."""
    index = CooldownIndex(stock.cooldowns)
    for entry in stock.entries:
        state = state_of(entry, index.of(entry.account, stock.default_client_id))
        tally.count(meters.ACCOUNTS, (state,))
    in_service = sum(entry.corrupt is not None for entry in stock.entries)
    tally.count(meters.ACCOUNTS, ("corrupt",), len(stock.corrupt) - in_service)
    for _, cooldown in stock.cooldowns:
        tally.count(meters.COOLDOWNS_ACTIVE, (cooldown.why.value,))
    tally.put(meters.INCIDENTS_OPEN, stock.incidents)
    tally.put(meters.BUILD, 1, (__version__, platform.python_version()))


def _warn(error: Exception) -> None:
    log.warning("metrics_not_shared", f"cannot share metrics with the other processes: {error}")
