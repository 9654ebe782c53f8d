"""What each strategy promises beyond picking a free account: fairness, weights, order."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.pool.fakes import HandClock, make_candidates, make_field

from regrant.pool.lease import Lease, Wish
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.pool.strategies import STRATEGIES
from regrant.pool.strategies.fill_first import FillFirst
from regrant.pool.strategies.least_loaded import LeastLoaded
from regrant.pool.strategies.priority import Priority
from regrant.pool.strategies.round_robin import RoundRobin
from regrant.pool.strategies.weighted import Weighted
from regrant.settings.table import STRATEGIES as NAMES


def test_the_settings_name_every_strategy_there_is() -> None:
    assert set(NAMES) == set(STRATEGIES)


@given(count=st.integers(1, 40), picks=st.integers(1, 200))
def test_round_robin_s_turns_differ_by_one_at_most(count: int, picks: int) -> None:
    turns, field = RoundRobin(), make_field(make_candidates(count))
    seen = Counter(picked.id for _ in range(picks) if (picked := turns.pick(field, None)))
    assert max(seen.values()) - min(seen.get(id_, 0) for id_ in field.ids) <= 1


@given(
    load=st.dictionaries(st.integers(0, 19).map("id-{}".format), st.integers(1, 5)),
    busy=st.sets(st.integers(0, 19)),
    rounds=st.integers(1, 30),
)
def test_least_loaded_never_picks_an_account_while_a_less_busy_one_may_be_had(
    load: dict[str, int], busy: set[int], rounds: int
) -> None:
    barred = {f"id-{number}" for number in busy}
    field = make_field(make_candidates(20), load=load)
    strategy = LeastLoaded()
    for _ in range(rounds):
        for allowed in (None, lambda one: one.id not in barred):
            picked = strategy.pick(field, None, allowed)
            open_to_all = [one for one in field.candidates if allowed is None or allowed(one)]
            if picked is None:
                assert not open_to_all
                continue
            assert load.get(picked.id, 0) == min(load.get(one.id, 0) for one in open_to_all)
            load[picked.id] = load.get(picked.id, 0) + 1


def test_among_idle_accounts_least_loaded_takes_turns() -> None:
    field, strategy = make_field(make_candidates(4)), LeastLoaded()
    assert len({picked.id for _ in range(4) if (picked := strategy.pick(field, None))}) == 4


@given(weights=st.lists(st.sampled_from([0.5, 1, 2, 5, 10]), min_size=1, max_size=12))
def test_weighted_gives_each_account_its_share_within_a_few_picks(weights: list[float]) -> None:
    candidates = [
        msgspec.structs.replace(one, weight=weight)
        for one, weight in zip(make_candidates(len(weights)), weights, strict=True)
    ]
    field, strategy, picks = make_field(candidates), Weighted(), 400
    seen = Counter(picked.id for _ in range(picks) if (picked := strategy.pick(field, None)))
    for one in candidates:
        assert abs(seen[one.id] - picks * one.weight / sum(weights)) <= 5


def test_weighted_finds_the_one_account_that_is_allowed_however_light() -> None:
    heavy, light = make_candidates(2)
    field = make_field(
        [msgspec.structs.replace(heavy, weight=1000.0), msgspec.structs.replace(light, weight=0.001)]
    )
    picked = Weighted().pick(field, None, lambda one: one.id == light.id)
    assert picked is not None
    assert picked.id == light.id


def test_fill_first_stays_with_the_first_until_it_is_out() -> None:
    first, second, third = make_candidates(3)
    field = make_field(
        [first, msgspec.structs.replace(second, weight=2.0), msgspec.structs.replace(third, priority=1)]
    )
    strategy = FillFirst()
    assert [strategy.pick(field, key) for key in (1, 2, None)] == [field.by_id[third.id]] * 3
    field.drop(third.id)
    assert strategy.pick(field, 1) == field.by_id[second.id]
    field.drop(second.id)
    assert strategy.pick(field, 1) == first


def test_priority_asks_a_lower_group_only_while_no_higher_one_is_free() -> None:
    low, high, higher = (
        msgspec.structs.replace(one, priority=priority)
        for one, priority in zip(make_candidates(3), (-1, 0, 5), strict=True)
    )
    pool = Pool(HandClock(), Priority())
    pool.replace([low, high, higher])

    def who(*without: Candidate) -> str:
        found = pool.lease(Wish("m", 7, exclude={one.id for one in without}))
        assert isinstance(found, Lease)
        return found.account.id

    assert [who(), who(higher), who(higher, high)] == [higher.id, high.id, low.id]


def test_priority_is_sticky_within_a_group() -> None:
    pool = Pool(HandClock(), Priority())
    pool.replace(
        [msgspec.structs.replace(one, priority=1) for one in make_candidates(8)]
        + make_candidates(4, first=20)
    )
    for key in range(40):
        picked = {
            lease.account.id for _ in range(3) if isinstance(lease := pool.lease(Wish("m", key)), Lease)
        }
        assert len(picked) == 1
        assert picked <= {f"id-{number}" for number in range(8)}
