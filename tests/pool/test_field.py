"""The fields of free accounts are at every moment what the cool-downs and the pool say."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.pool.fakes import HandClock

from regrant.pool.cooldown import CooldownKey, Cooldowns
from regrant.pool.field import Fields
from regrant.pool.selector import EVERYONE, Candidate, Part, Roster
from regrant.upstream.faults import FaultKind, Scope

NUMBERS = st.integers(0, 7)
MODELS = st.sampled_from(["m", "n"])
PARTS = [EVERYONE, Part("even"), Part("", 1), Part("even", 0)]


def account(number: int, project: int, *, protected: bool, priority: int) -> Candidate:
    return Candidate(
        id=f"id-{number}",
        email="a@example.com",
        project=f"project-{project}",
        protected=frozenset({"m"} if protected else ()),
        groups=frozenset({"even"} if number % 2 == 0 else ()),
        priority=priority,
    )


class FieldMachine(RuleBasedStateMachine):
    """Whatever the order of events: a field that was kept up to date equals one that is built anew."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock(0.0)
        self.cooldowns = Cooldowns(self._recheck)
        self.reserves = Cooldowns(self._recheck)
        self.fields = Fields(self.cooldowns, self.reserves, {})
        self.roster = Roster()

    def _recheck(self, key: CooldownKey) -> None:
        self.fields.recheck(key)

    @rule(number=NUMBERS, project=NUMBERS, protected=st.booleans(), priority=st.integers(0, 1))
    def admit(self, number: int, project: int, protected: bool, priority: int) -> None:
        found = account(number, project, protected=protected, priority=priority)
        self.roster = self.roster.with_one(found)
        self.fields.change(self.roster, found.id)

    @rule(number=NUMBERS)
    def evict(self, number: int) -> None:
        self.roster = self.roster.without(f"id-{number}")
        self.fields.change(self.roster, f"id-{number}")

    @rule(scope=st.sampled_from(Scope), number=NUMBERS, model=MODELS, seconds=st.integers(0, 9))
    def hold(self, scope: Scope, number: int, model: str, seconds: int) -> None:
        key = CooldownKey.of(scope, project=f"project-{number}", model=model, account=f"id-{number}")
        self.cooldowns.set(key, self.clock.time + seconds, FaultKind.RATE_LIMITED)

    @rule(number=NUMBERS, model=MODELS, seconds=st.integers(1, 9))
    def reserve(self, number: int, model: str, seconds: int) -> None:
        key = CooldownKey(scope=Scope.PROJECT_MODEL, project=f"project-{number}", model=model)
        self.reserves.set(key, self.clock.time + seconds, FaultKind.RATE_LIMITED)

    @rule(scope=st.sampled_from(Scope), number=NUMBERS, model=MODELS)
    def clear(self, scope: Scope, number: int, model: str) -> None:
        self.cooldowns.clear(
            CooldownKey.of(scope, project=f"project-{number}", model=model, account=f"id-{number}")
        )

    @rule(seconds=st.integers(1, 5))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.time += seconds
        self.cooldowns.prune(self.clock.time)
        self.reserves.prune(self.clock.time)

    @invariant()
    def fields_are_as_if_built_anew(self) -> None:
        fresh = Fields(self.cooldowns, self.reserves, {})
        fresh.use(self.roster)
        for model in ("m", "n"):
            for part in PARTS:
                kept, built = self.fields.of((model, part)), fresh.of((model, part))
                assert kept.candidates == built.candidates
                assert (kept.ids, kept.seeds, kept.by_id) == (built.ids, built.seeds, built.by_id)
                assert (kept.sums, kept.ranked) == (built.sums, built.ranked)
                assert kept.ring is self.roster or not self.roster


TestAnyHistoryOfFields = FieldMachine.TestCase
TestAnyHistoryOfFields.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
