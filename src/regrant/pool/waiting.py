"""Requests that wait for an account, first come first served.

Asks for leases on their behalf whenever something may have come free; which account is free is the pool's knowledge.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable

import msgspec

from regrant.clock import Clock
from regrant.pool.appeal import Appeal
from regrant.pool.lease import Absence, Lease, Unavailable, Wish
from regrant.pool.pacing import PACE_S, Pacing

LONGEST_NAP_S = 1.0  # a clock that was set, or a machine that slept, is noticed within this time
SHORTEST_NAP_S = 0.001


class _Waiter(msgspec.Struct, eq=False):
    wish: Wish
    answer: asyncio.Future[Lease | Unavailable]
    patience_until: float
    """Monotonic seconds by which a known end must come."""
    rescue_until: float
    """Monotonic seconds up to which it waits for an account to be admitted."""
    needs_rescue: bool = False
    """No account has been left in the pool since."""

    @property
    def is_plain(self) -> bool:
        return not self.wish.exclude and self.wish.suits is None

    def nap_s(self, outcome: Unavailable, now: float) -> float | None:
        """How long until it is worth asking again; None if waiting has become hopeless."""
        known = outcome.free_in_s
        if known is not None:
            return known if now + known <= self.patience_until else None
        # Only an account that its owner can bring back is worth waiting for without a known end.
        hopeful = outcome.reasons.get(Absence.DISABLED) and not outcome.reasons.get(Absence.TRIED)
        return self.rescue_until - now if hopeful and now < self.rescue_until else None


class Waits(msgspec.Struct):
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
        self._models: Counter[str] = Counter()
        self._in_need = 0
        self._pacing = Pacing()
        self._alarm: asyncio.TimerHandle | None = None
        self.waits = Waits()
        self.appeal = Appeal()

    def __len__(self) -> int:
        return len(self._waiters)

    def expects(self, model: str) -> bool:
        """Whether somebody waits for this model already, so that a newcomer has to stand behind."""
        return model in self._models

    async def wait(
        self, wish: Wish, *, deadline: float, max_wait_s: float, rescue_s: float
    ) -> Lease | Unavailable:
        """Stand in the queue until there is a lease, or no hope of one in time. A cancelled waiter leaves no trace."""
        if len(self._waiters) >= self._max_waiting:
            self.waits.turned_away += 1
            return self._lease(wish)
        now = self._clock.monotonic()
        waiter = _Waiter(
            wish=wish,
            answer=asyncio.get_running_loop().create_future(),
            patience_until=min(deadline, now + max_wait_s),
            rescue_until=min(deadline, now + rescue_s),
        )
        self._waiters[waiter] = None
        self._models[wish.model] += 1
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
        spent = self._pacing.spent(now)
        # Those who want the same thing get the same answer: after the first in vain, nobody asks the pool again.
        in_vain: dict[tuple[str, str], Unavailable | None] = {}
        nap_s = math.inf
        for waiter in list(self._waiters):
            name = (waiter.wish.model, waiter.wish.client)
            if waiter.is_plain and name in in_vain:
                outcome: Lease | Unavailable | None = in_vain[name]
            else:
                outcome = self._ask(waiter.wish, spent)
            if isinstance(outcome, Lease):
                self._pacing_took(outcome, spent, now)
            elif waiter.is_plain:
                in_vain[name] = outcome
            nap_s = min(nap_s, self._answer(waiter, outcome, now))
        self._set_alarm(None if math.isinf(nap_s) else nap_s)
        self.appeal.note(self._in_need)

    def _ask(self, wish: Wish, spent: set[str]) -> Lease | Unavailable | None:
        """A lease, or why there is none; None if only accounts are free whose next batch is due in a moment."""
        if not spent:
            return self._lease(wish)
        outcome = self._lease(msgspec.structs.replace(wish, exclude={*wish.exclude, *spent}))
        if isinstance(outcome, Unavailable):
            return None if outcome.reasons.get(Absence.TRIED) else self._lease(wish)
        return outcome

    def _pacing_took(self, lease: Lease, spent: set[str], now: float) -> None:
        if self._pacing.took(lease.account.id, now):
            spent.add(lease.account.id)

    def _answer(self, waiter: _Waiter, outcome: Lease | Unavailable | None, now: float) -> float:
        """Send the waiter off with its outcome (infinity), or let it wait on: how long until the next look."""
        if outcome is None:
            if now + PACE_S <= max(waiter.patience_until, waiter.rescue_until):
                return PACE_S
            outcome = self._lease(waiter.wish)  # it cannot wait for its turn: the pace refuses nobody
        if isinstance(outcome, Unavailable):
            nap_s = waiter.nap_s(outcome, now)
            if nap_s is not None:
                needs_rescue = outcome.free_in_s is None
                self._in_need += needs_rescue - waiter.needs_rescue
                waiter.needs_rescue = needs_rescue
                return nap_s
        self._remove(waiter)
        waiter.answer.set_result(outcome)
        return math.inf

    def _remove(self, waiter: _Waiter) -> None:
        if waiter not in self._waiters:
            return
        del self._waiters[waiter]
        self._in_need -= waiter.needs_rescue
        model = waiter.wish.model
        self._models[model] -= 1
        if not self._models[model]:
            del self._models[model]

    def _leave(self, waiter: _Waiter) -> None:
        self._remove(waiter)
        self.appeal.note(self._in_need)
        if not self._waiters:
            self._set_alarm(None)

    def _set_alarm(self, nap_s: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if nap_s is not None:
            nap_s = min(max(nap_s, SHORTEST_NAP_S), LONGEST_NAP_S)
            self._alarm = asyncio.get_running_loop().call_later(nap_s, self.serve)
