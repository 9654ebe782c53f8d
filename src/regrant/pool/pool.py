"""The accounts that may serve now: leases on them, cool-downs, and waiting for one.

Performs no I/O and belongs to one event loop. Who is in the pool is the keeper's word (`accounts/keeper.py`); choosing among the free ones
is `selector.py`; what an absence is explained with is `standing.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from regrant.clock import Clock
from regrant.pool.census import Census, take_census
from regrant.pool.choices import Choice, Choices
from regrant.pool.cooldown import Blocked, Cooldown, CooldownKey, Cooldowns
from regrant.pool.field import Fields
from regrant.pool.lease import Absence, Lease, Unavailable, Wish
from regrant.pool.selector import Allowed, Candidate, Roster
from regrant.pool.slow_start import SlowStart
from regrant.pool.strategies import Strategy
from regrant.pool.waiting import WaitingRoom, Waits
from regrant.upstream.faults import Fault, Scope

MAX_STRIKES_KEPT = 10_000
MAX_CENSUSES = 1_000


CooldownChanged = Callable[[CooldownKey, Cooldown | None], None]
"""Told of each cool-down set (or cleared: None) by this process, to share it."""


class Pool:
    def __init__(
        self,
        clock: Clock,
        strategy: Strategy,
        *,
        max_waiting: int = 1000,
        on_cooldown: CooldownChanged = lambda _key, _cooldown: None,
    ) -> None:
        self._clock = clock
        self._strategy = strategy
        self._on_cooldown = on_cooldown
        self._roster = Roster()
        self._absent: dict[str, Absence] = {}
        self._absences: Counter[Absence] = Counter()
        self._cooldowns = Cooldowns()
        self._none: dict[str, _Census] = {}
        self._strikes: dict[tuple[str, str], int] = {}
        self._in_flight: Counter[str] = Counter()
        self._room = WaitingRoom(clock, self.lease, max_waiting=max_waiting)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The accounts in the pool, in the order of their ids: a snapshot that never changes."""
        return self._roster.candidates

    @property
    def absences(self) -> Mapping[Absence, int]:
        """How many known accounts are out of the pool, by reason."""
        return +self._absences

    def use(self, strategy: Strategy) -> None:
        """Choose by another strategy from the next lease on."""
        self._strategy = strategy

    def replace(self, candidates: Iterable[Candidate], absent: Mapping[str, Absence] | None = None) -> None:
        """Swap the whole pool at once; `absent` gives the reasons of the known accounts that are out of it."""
        self._roster = Roster(candidates)
        self._absent = dict(absent or {})
        self._absences = Counter(self._absent.values())
        self._changed()

    def admit(self, candidate: Candidate) -> None:
        """Let an account in, or swap it for its changed self. One that was out starts without the cool-downs that its repair ends."""
        was_out = self._drop_absence(candidate.id)
        self._roster = self._roster.with_one(candidate)
        if was_out:
            self.pardon(candidate)
        self._changed()

    def evict(self, id_: str, why: Absence) -> None:
        """Take an account out, at once and for every later lease; leases in use go on."""
        self._drop_absence(id_)
        self._absent[id_] = why
        self._absences[why] += 1
        self._roster = self._roster.without(id_)
        self._changed()

    def forget(self, id_: str) -> None:
        """Take an account out that exists no more."""
        self._drop_absence(id_)
        self._roster = self._roster.without(id_)
        self._changed()

    def lease(self, wish: Wish) -> Lease | Unavailable:
        """An account that is free now, or why there is none. Never waits."""
        model, now = wish.model, self._clock.now()
        plain = not wish.exclude and wish.suits is None
        if plain and (none := self._none.get(model)) is not None and now < none.ends:
            return none.describe(now)
        blocked = self._cooldowns.blocked(model, now)
        account = None
        if blocked.model is None:
            free = _freedom(wish, blocked)
            account = self._strategy.pick(self._roster, free, model=model, key=wish.key)
        if account is None:
            none = _take_census(wish, self._roster.candidates, self._absences, blocked)
            if plain and len(self._none) < MAX_CENSUSES:
                self._none[model] = none
            return none.describe(now)
        self._in_flight[account.id] += 1
        strikes = 0
        if self._strikes:
            strikes = max(self._strikes.get((account.project, model), 0), self._strikes.get(("", model), 0))
        return Lease(account, model, strikes, self._return)

    def renew(self, lease: Lease) -> Lease:
        """Another lease on the same account: for the one replay after its token was refused."""
        self._in_flight[lease.account.id] += 1
        return Lease(lease.account, lease.model, lease.strikes, self._return)

    async def lease_or_wait(
        self, wish: Wish, *, deadline: float, max_wait_s: float, rescue_s: float = 0.0
    ) -> Lease | Unavailable:
        """Like `lease`; when none is free but one soon will be, wait for it in the order of arrival.

        `deadline` is on the clock's monotonic scale. Waits at most `max_wait_s` for a cool-down that ends within it, and at most
        `rescue_s` for an account that died to be signed in to again, when nothing else is left. Cancelling gives up the place.
        """
        if not self._room.expects(wish.model):
            outcome = self.lease(wish)
            if isinstance(outcome, Lease):
                return outcome
        return await self._room.wait(wish, deadline=deadline, max_wait_s=max_wait_s, rescue_s=rescue_s)

    @property
    def waiting(self) -> int:
        """How many requests wait for an account."""
        return len(self._room)

    @property
    def waits(self) -> Waits:
        """How the waiting of requests has ended so far."""
        return self._room.waits

    def in_flight(self, id_: str) -> int:
        """How many leases on this account are out."""
        return self._in_flight.get(id_, 0)

    @property
    def leases(self) -> int:
        """How many leases are out."""
        return self._in_flight.total()

    def report(self, lease: Lease, fault: Fault) -> None:
        """Apply what a failed attempt teaches: its cool-down, and a strike if the same thing just happens again."""
        if fault.hold is None:
            return
        account = lease.account
        key = CooldownKey.of(fault.hold.scope, project=account.project, model=lease.model, account=account.id)
        if key.model:
            # Counted from the lease: many requests refused at the same time are one strike.
            if len(self._strikes) >= MAX_STRIKES_KEPT:
                self._strikes.clear()
            slot = (key.project, key.model)
            self._strikes[slot] = max(self._strikes.get(slot, 0), lease.strikes + 1)
        if self._cooldowns.set(key, fault.hold.until, fault.kind):
            self._none.clear()
            self._on_cooldown(key, Cooldown(fault.hold.until, fault.kind))

    def succeeded(self, lease: Lease) -> None:
        """Forget the strikes of what has just worked."""
        if self._strikes:
            self._strikes.pop((lease.account.project, lease.model), None)
            self._strikes.pop(("", lease.model), None)

    def pardon(self, account: Candidate) -> None:
        """End the account's own cool-down, and its project's if that waits for a person: a person has acted."""
        self.clear(CooldownKey(scope=Scope.ACCOUNT, account=account.id))
        project = CooldownKey(scope=Scope.PROJECT, project=account.project)
        held = self._cooldowns.get(project)
        if held is not None and math.isinf(held.until):
            self.clear(project)

    def clear(self, key: CooldownKey) -> None:
        """End a cool-down early, here and in the other processes."""
        if self._cooldowns.clear(key):
            self._on_cooldown(key, None)
            self._changed()

    def observe(self, key: CooldownKey, cooldown: Cooldown | None) -> None:
        """Take over what another process set or (None) cleared."""
        if cooldown is not None:
            self._cooldowns.set(key, cooldown.until, cooldown.why)
            self._none.clear()
        elif self._cooldowns.clear(key):
            self._changed()

    def blocked(self, model: str) -> Blocked:
        """The cool-downs that matter for a model now; read it before the next call."""
        return self._cooldowns.blocked(model, self._clock.now())

    def cooldowns(self) -> list[tuple[CooldownKey, Cooldown]]:
        """Every cool-down that is active, for display."""
        self._cooldowns.prune(self._clock.now())
        return list(self._cooldowns.items())

    def _return(self, id_: str) -> None:
        self._in_flight[id_] -= 1
        if not self._in_flight[id_]:
            del self._in_flight[id_]

    def _drop_absence(self, id_: str) -> bool:
        why = self._absent.pop(id_, None)
        if why is not None:
            self._absences[why] -= 1
        return why is not None

    def _changed(self) -> None:
        self._none.clear()
        self._room.serve()


def _allowed(wish: Wish) -> Allowed | None:
    exclude, suits = wish.exclude, wish.suits
    if not exclude:
        return suits
    if suits is None:
        return lambda candidate: candidate.id not in exclude
    return lambda candidate: candidate.id not in exclude and suits(candidate)
