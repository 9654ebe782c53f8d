"""The accounts that may serve now: leases on them, cool-downs, and waiting for one.

Performs no I/O and belongs to one event loop. Who is in the pool is the keeper's word (`accounts/keeper.py`); choosing among the free ones
is `selector.py`; what an absence is explained with is `standing.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from regrant.clock import Clock
from regrant.pool.appeal import Appeal
from regrant.pool.breaker import Trials
from regrant.pool.census import Census, take_census
from regrant.pool.choices import Choices
from regrant.pool.cooldown import Blocked, Cooldown, CooldownKey, Cooldowns, Probe
from regrant.pool.field import Fields
from regrant.pool.lease import Absence, Lease, Unavailable, Wish
from regrant.pool.plans import Plan, Plans
from regrant.pool.prospect import Prospect, look_ahead
from regrant.pool.selector import Allowed, Candidate, Roster
from regrant.pool.slow_start import SlowStart
from regrant.pool.strategies import Strategy
from regrant.pool.waiting import WaitingRoom, Waits
from regrant.upstream.faults import Fault, Scope

MAX_CENSUSES = 1_000
CLOCK_SLACK_S = 60.0


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
        trial_after_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`trial_after_s` is how soon an account that needs a person is first tried again (`breaker.Trials`); 0: never."""
        self._clock = clock
        self._offset = clock.now() - clock.monotonic()
        self._plans = Plans(strategy)
        self._on_cooldown = on_cooldown
        self._roster = Roster()
        self._absent: dict[str, Absence] = {}
        self._absences: Counter[Absence] = Counter()
        self._in_flight: dict[str, int] = {}
        self._cooldowns = Cooldowns(self._cooldown_changed)
        self._half_open = self._cooldowns.circuits
        self._reserves = Cooldowns(self._cooldown_changed)
        self._fields = Fields(self._cooldowns, self._reserves, self._in_flight)
        self._none: dict[tuple[str, str], Census] = {}
        self._trials = Trials(trial_after_s)
        self._slow_start = SlowStart()
        self._room = WaitingRoom(clock, self.lease, max_waiting=max_waiting)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The accounts in the pool, in the order of their ids: a snapshot that never changes."""
        return self._roster.candidates

    @property
    def absences(self) -> Mapping[Absence, int]:
        """How many known accounts are out of the pool, by reason."""
        return +self._absences

    def use(
        self, strategy: Strategy | None, choices: Choices | None = None, *, slow_start_s: float = 0.0
    ) -> None:
        """Choose by this strategy (None: the one in use), these rules and this slow start (seconds) from the next lease on."""
        self._plans.use(strategy, choices or Choices())
        self._slow_start.use(slow_start_s)
        self._changed()

    def replace(
        self,
        candidates: Iterable[Candidate],
        absent: Mapping[str, Absence] | None = None,
        patients: Iterable[Candidate] = (),
    ) -> None:
        """Swap the whole pool at once; `absent` gives the reasons of the known accounts that are out of it.

        `patients` are those that are out only because they need attention.
        """
        self._trials.keep(patients, self._clock.now())
        self._roster = Roster(candidates)
        self._fields.use(self._roster)
        self._absent = dict(absent or {})
        self._absences = Counter(self._absent.values())
        self._changed()

    def admit(self, candidate: Candidate) -> None:
        """Let an account in, or swap it for its changed self. One that was out starts without the cool-downs that its repair ends."""
        was_out = self._drop_absence(candidate.id)
        self._trials.leave(candidate.id)
        if self._roster and candidate.id not in self._roster.by_id:
            self._slow_start.begin(candidate.id, self._clock.now())
        self._roster = self._roster.with_one(candidate)
        self._fields.change(self._roster, candidate.id)
        if was_out:
            self.pardon(candidate)
        self._changed()

    def evict(self, id_: str, why: Absence, patient: Candidate | None = None) -> None:
        """Take an account out, at once and for every later lease; leases in use go on.

        `patient`: it is out only because it needs attention, and is tried now and then.
        """
        if patient is None:
            self._trials.leave(id_)
        else:
            self._trials.enter(patient, self._clock.now())
        self._drop_absence(id_)
        self._absent[id_] = why
        self._absences[why] += 1
        self._leave(id_)

    def forget(self, id_: str) -> None:
        """Take an account out that exists no more."""
        self._drop_absence(id_)
        self._trials.leave(id_)
        self._leave(id_)

    def lease(self, wish: Wish) -> Lease | Unavailable:
        """An account that is free now, or why there is none. Never waits."""
        model, now = wish.model, self._clock.now()
        if now >= self._cooldowns.next_end:
            self._cooldowns.prune(now)
        if now >= self._reserves.next_end:
            self._reserves.prune(now)
        plan = self._plans.of(wish.client, model, self._roster.candidates)
        if (
            now >= self._trials.next_at
            and not wish.exclude
            and (trial := self._try_out(wish, plan, now)) is not None
        ):
            return trial
        account = None if self._cooldowns.holds_model(model) else self._choose(wish, plan, now)
        if account is None:
            return self._explain_none(wish, plan, now)
        probe = self._probe(account, model, now) if self._half_open else None
        return Lease(account, model, self._in_flight, probe)

    def _probe(self, account: Candidate, model: str, now: float) -> Probe | None:
        return self._cooldowns.probe(project=account.project, account=account.id, model=model, now=now)

    def _try_out(self, wish: Wish, plan: Plan, now: float) -> Lease | None:
        """A lease on an account that waits for a person and is due to be tried, if this request can try one; its first only."""

        def may(candidate: Candidate) -> bool:
            suits = wish.suits is None or wish.suits(candidate)
            grouped = not plan.limit or plan.limit in candidate.groups
            held = blocked.projects.get(candidate.project)
            # Its project may be out until a person acts, too: that is what is tried. What else is held back stays so.
            return (
                suits
                and grouped
                and wish.model not in candidate.protected
                and candidate.project not in blocked.project_models
                and not self._reserves.holds(candidate.project, candidate.id, wish.model)
                and (held is None or math.isinf(held.until))
            )

        def rests(id_: str) -> float:
            held = self._cooldowns.get(CooldownKey(scope=Scope.ACCOUNT, account=id_))
            return 0.0 if held is None else held.until

        blocked = self._cooldowns.blocked(wish.model, now)
        if blocked.model is not None:
            return None
        account = self._trials.take(now, may, rests)
        if account is None:
            return None
        return Lease(account, wish.model, self._in_flight, self._probe(account, wish.model, now), trial=True)

    def _choose(self, wish: Wish, plan: Plan, now: float) -> Candidate | None:
        allowed = _without(wish.exclude, wish.suits) if wish.exclude else wish.suits
        account = self._pick(wish, plan, allowed)
        if account is None or not self._slow_start or not plan.strategy.shares:
            return account
        deferred: set[str] = set()
        picked: Candidate | None = account
        while picked is not None and self._slow_start.defers(picked.id, wish.key, now):
            deferred.add(picked.id)
            picked = self._pick(wish, plan, _without(deferred, allowed))
        return picked or account  # nobody else is free: a newcomer is better than nobody

    def _pick(self, wish: Wish, plan: Plan, allowed: Allowed | None) -> Candidate | None:
        for part in plan.parts:
            field = self._fields.of((wish.model, part))
            if field.ids and (account := plan.strategy.pick(field, wish.key, allowed)) is not None:
                return account
        return None

    def _explain_none(self, wish: Wish, plan: Plan, now: float) -> Unavailable:
        plain = not wish.exclude and wish.suits is None
        name = (wish.model, plan.limit)
        if plain and (none := self._none.get(name)) is not None and now < none.ends:
            return none.describe(now)
        blocked = self._cooldowns.blocked(wish.model, now)
        reserved = self._reserves.blocked(wish.model, now).project_models
        candidates = self._roster.candidates
        none = take_census(wish, candidates, self._absences, blocked, group=plan.limit, reserved=reserved)
        if plain and len(self._none) < MAX_CENSUSES:
            self._none[name] = none
        return none.describe(now)

    def renew(self, lease: Lease) -> Lease:
        """Another lease on the same account: for the one replay after its token was refused."""
        account = lease.account
        probe = self._probe(account, lease.model, self._clock.now()) if lease.probe is not None else None
        return Lease(account, lease.model, self._in_flight, probe, trial=lease.trial)

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
        while True:
            outcome = await self._room.wait(wish, deadline=deadline, max_wait_s=max_wait_s, rescue_s=rescue_s)
            if not isinstance(outcome, Lease) or not self._reserves.holds(
                outcome.account.project, outcome.account.id, wish.model
            ):
                return outcome
            outcome.release()  # those who were let go before it have used up what there was

    @property
    def waiting(self) -> int:
        """How many requests wait for an account."""
        return len(self._room)

    @property
    def appeal(self) -> Appeal:
        """How many of them wait for a person to sign in, and who is told of it."""
        return self._room.appeal

    @property
    def waits(self) -> Waits:
        """How the waiting of requests has ended so far."""
        return self._room.waits

    def project_of(self, id_: str) -> str:
        """The quota project of an account in the pool; "" for one that is out of it."""
        found = self._roster.by_id.get(id_)
        return "" if found is None else found.project

    def in_flight(self, id_: str) -> int:
        """How many leases on this account are out."""
        return self._in_flight.get(id_, 0)

    @property
    def leases(self) -> int:
        """How many leases are out."""
        return sum(self._in_flight.values())

    def report(self, lease: Lease, fault: Fault) -> None:
        """Apply what a failed attempt teaches: its cool-down, longer if the same thing just happens again."""
        if lease.trial and fault.attention is not None:
            self._trials.failed(lease.account.id, self._clock.now())
        if fault.hold is None:
            return
        account, hold = lease.account, fault.hold
        key = CooldownKey.of(hold.scope, project=account.project, model=lease.model, account=account.id)
        # Counted from the lease: many requests refused at the same time are one strike.
        strikes = lease.strikes + 1 if hold.guessed else 0
        if self._cooldowns.set(key, hold.until, fault.kind, strikes, since=self._clock.now()):
            self._on_cooldown(key, self._cooldowns.get(key))

    def succeeded(self, lease: Lease) -> None:
        """What the request tried works again, for everybody."""
        if lease.probe is not None:
            for key in lease.probe.keys:
                held = self._cooldowns.get(key)
                if held is None or held.probing:  # what a later call was refused with stays
                    self.clear(key)

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
            self._cleared(key)

    def clear_all(self, *, account: str = "", project: str = "", model: str = "") -> int:
        """End, on a person's word, every cool-down of this account, project or model; of all, if none is named. How many ended."""
        anything = not (account or project or model)
        keys = [
            key
            for key, _ in self.cooldowns()
            if anything
            or (account and key.account == account)
            or (project and key.project == project)
            or (model and key.model == model)
        ]
        for key in keys:
            self.clear(key)
        return len(keys)

    def observe(self, key: CooldownKey, cooldown: Cooldown | None) -> None:
        """Take over what another process set or (None) cleared."""
        if cooldown is not None and self._began_in_future(cooldown):
            return
        if cooldown is not None:
            self._cooldowns.set(key, cooldown.until, cooldown.why, cooldown.strikes, since=cooldown.since)
        elif self._cooldowns.clear(key):
            self._cleared(key)

    def look_at_clock(self) -> None:
        """End what began in the future: the clock was wrong then and was turned back since, and its end is as wrong. Ask now and then."""
        offset = self._clock.now() - self._clock.monotonic()
        turned, self._offset = offset < self._offset - CLOCK_SLACK_S, offset
        for key, cooldown in self.cooldowns() if turned else ():
            if self._began_in_future(cooldown):
                self.clear(key)

    def _began_in_future(self, cooldown: Cooldown) -> bool:
        return cooldown.since is not None and cooldown.since > self._clock.now() + CLOCK_SLACK_S

    def blocked(self, model: str) -> Blocked:
        """The cool-downs that matter for a model now; read it before the next call."""
        return self._cooldowns.blocked(model, self._clock.now())

    def prospect(self, model: str, client: str = "", suits: Allowed | None = None) -> Prospect:
        """Who would serve a request with that client key, in which order; nothing is leased and nobody's turn changes."""
        plan = self._plans.of(client, model, self._roster.candidates)
        self.blocked(model)
        self.reserves(model)
        return look_ahead(plan, [self._fields.look((model, part)) for part in plan.parts], suits)

    def reserve(self, project: str, model: str, end: Cooldown | None) -> None:
        """Hold the rest of a quota back until then, or (None) no longer: the word of quota protection."""
        key = CooldownKey(scope=Scope.PROJECT_MODEL, project=project, model=model)
        known = self._reserves.get(key)
        if known is not None and known != end:
            self._reserves.clear(key)
            self._changed()
        if end is not None:
            self._reserves.set(key, end.until, end.why)

    def reserves(self, model: str) -> Mapping[str, Cooldown]:
        """The projects whose rest of the quota for a model is held back now; read it before the next call."""
        return self._reserves.blocked(model, self._clock.now()).project_models

    def cooldowns(self) -> list[tuple[CooldownKey, Cooldown]]:
        """Every cool-down that is active, for display."""
        self._cooldowns.prune(self._clock.now())
        return list(self._cooldowns.items())

    def _leave(self, id_: str) -> None:
        self._slow_start.end(id_)
        self._roster = self._roster.without(id_)
        self._fields.change(self._roster, id_)
        self._changed()

    def _cleared(self, key: CooldownKey) -> None:
        if key.scope is Scope.ACCOUNT:
            self._trials.hasten(key.account, self._clock.now())
        self._changed()

    def _cooldown_changed(self, key: CooldownKey) -> None:
        self._fields.recheck(key)
        self._none.clear()

    def _drop_absence(self, id_: str) -> bool:
        why = self._absent.pop(id_, None)
        if why is not None:
            self._absences[why] -= 1
        return why is not None

    def _changed(self) -> None:
        self._none.clear()
        self._plans.forget()
        self._room.serve()


def _without(ids: Collection[str], allowed: Allowed | None) -> Allowed:
    if allowed is None:
        return lambda candidate: candidate.id not in ids
    return lambda candidate: candidate.id not in ids and allowed(candidate)
