"""Requests that wait for an account, first come first served.

Asks for leases on their behalf whenever something may have come free; which account is free is the pool's knowledge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from regrant.clock import Clock
from regrant.pool.lease import Absence, Lease, Unavailable, Wish

LONGEST_NAP_S = 1.0  # a clock that was set, or a machine that slept, is noticed within this time
SHORTEST_NAP_S = 0.001


@dataclass(eq=False, slots=True)
class _Waiter:
    wish: Wish
    answer: asyncio.Future[Lease | Unavailable]
    patience_until: float
    """Monotonic seconds by which a known end must come."""
    rescue_until: float
    """Monotonic seconds up to which it waits for an account to be admitted."""
    needs_rescue: bool = False
    """No account has been left in the pool since."""

    def nap_s(self, outcome: Unavailable, now: float) -> float | None:
        """How long until it is worth asking again; None if waiting has become hopeless."""
        known = outcome.free_in_s
        if known is not None:
            return known if now + known <= self.patience_until else None
        # Only an account that its owner can bring back is worth waiting for without a known end.
        hopeful = outcome.reasons.get(Absence.DISABLED) and not outcome.reasons.get(Absence.TRIED)
        return self.rescue_until - now if hopeful and now < self.rescue_until else None


@dataclass(slots=True)
class Waits:
    """How the waiting of requests has ended so far, and how long it took in all; for metrics."""

    served: int = 0
    rescued: int = 0
    """Served although no account was left in the pool when the waiting began: somebody brought one back."""
    given_up: int = 0
    """No account came in time, or the client left."""
    turned_away: int = 0
    """Not let in: as many as may were waiting."""
    seconds: float = 0.0


class WaitingRoom:
    """`max_waiting` bounds how many wait; one more is turned away at once."""

    def __init__(
        self, clock: Clock, lease: Callable[[Wish], Lease | Unavailable], *, max_waiting: int
    ) -> None:
        self._clock = clock
        self._lease = lease
        self._max_waiting = max_waiting
        self._waiters: dict[_Waiter, None] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self.waits = Waits()

    def __len__(self) -> int:
        return len(self._waiters)

    def expects(self, model: str) -> bool:
        """Whether somebody waits for this model already, so that a newcomer has to stand behind."""
        return any(waiter.wish.model == model for waiter in self._waiters)

    async def wait(
        self, wish: Wish, *, deadline: float, max_wait_s: float, rescue_s: float
    ) -> Lease | Unavailable:
        """Stand in the queue until there is a lease, or no hope of one in time. A cancelled waiter leaves no trace."""
        if len(self._waiters) >= self._max_waiting:
            found = self._lease(wish)
            self.waits.turned_away += isinstance(found, Unavailable)
            return found
        now = self._clock.monotonic()
        waiter = _Waiter(
            wish=wish,
            answer=asyncio.get_running_loop().create_future(),
            patience_until=min(deadline, now + max_wait_s),
            rescue_until=min(deadline, now + rescue_s),
        )
        self._waiters[waiter] = None
        self.serve()
        if waiter.answer.done():
            return waiter.answer.result()
        outcome: Lease | Unavailable | None = None
        try:
            outcome = await asyncio.shield(waiter.answer)
            return outcome
        except asyncio.CancelledError:
            if waiter.answer.done() and isinstance(lease := waiter.answer.result(), Lease):
                lease.release()
                self.serve()
            raise
        finally:
            self._leave(waiter)
            self._count(waiter, outcome, self._clock.monotonic() - now)

    def _count(self, waiter: _Waiter, outcome: Lease | Unavailable | None, seconds: float) -> None:
        self.waits.seconds += seconds
        if not isinstance(outcome, Lease):
            self.waits.given_up += 1
        elif waiter.needs_rescue:
            self.waits.rescued += 1
        else:
            self.waits.served += 1

    def serve(self) -> None:
        """Hand out what is free, in the order of arrival, and send away those whose waiting became hopeless."""
        if not self._waiters:
            return
        now = self._clock.monotonic()
        naps: list[float] = []
        for waiter in list(self._waiters):
            outcome = self._lease(waiter.wish)
            nap_s = None if isinstance(outcome, Lease) else waiter.nap_s(outcome, now)
            if isinstance(outcome, Unavailable) and nap_s is not None:
                waiter.needs_rescue = outcome.free_in_s is None
                naps.append(nap_s)
                continue
            del self._waiters[waiter]
            waiter.answer.set_result(outcome)
        self._set_alarm(min(naps, default=None))

    def _leave(self, waiter: _Waiter) -> None:
        self._waiters.pop(waiter, None)
        if not self._waiters:
            self._set_alarm(None)

    def _set_alarm(self, nap_s: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if nap_s is not None:
            nap_s = min(max(nap_s, SHORTEST_NAP_S), LONGEST_NAP_S)
            self._alarm = asyncio.get_running_loop().call_later(nap_s, self.serve)
