"""Properties that every strategy keeps, with all, some or hardly any accounts free."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pool.fakes import make_candidates, make_field

from regrant.pool.selector import Candidate, Roster
from regrant.pool.strategies import STRATEGIES
from regrant.pool.strategies.round_robin import RoundRobin
from regrant.pool.strategies.sticky import Sticky

KEYS = [Random(7).getrandbits(64) for _ in range(1)] + [
    number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1, 600)
]


def nobody(_: Candidate) -> bool:
    return False


def same(one: Roster, other: Roster) -> bool:
    return all(
        getattr(one, name) == getattr(other, name) for name in Roster.__slots__ if name != "ids"
    ) and list(one.ids) == list(other.ids)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@given(count=st.integers(0, 40), free=st.sets(st.integers(0, 39)), key=st.none() | st.integers(0, 2**64 - 1))
def test_a_pick_is_free_and_fails_only_if_none_is(
    name: str, count: int, free: set[int], key: int | None
) -> None:
    ids = {f"id-{number}" for number in free}
    roster = Roster(make_candidates(count))
    available = ids & set(roster.ids)
    picked = STRATEGIES[name]().pick(make_field(roster, lambda one: one.id in ids), key)
    assert (picked is None) == (not available)
    assert picked is None or picked.id in available
    picked = STRATEGIES[name]().pick(make_field(roster), key, lambda candidate: candidate.id in ids)
    assert (picked is None) == (not available)
    assert picked is None or picked.id in available


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_the_last_free_one_of_ten_thousand_is_found(name: str) -> None:
    roster = Roster(make_candidates(10_000))
    strategy = STRATEGIES[name]()
    for number in (0, 4711, 9_999):
        last = f"id-{number}"
        picked = strategy.pick(make_field(roster), KEYS[number % 600], lambda one: one.id == last)  # noqa: B023 - called at once
        assert picked is not None
        assert picked.id == last
    assert strategy.pick(make_field(roster), KEYS[0], nobody) is None


@given(count=st.integers(1, 30), free=st.sets(st.integers(0, 29), min_size=1), rounds=st.integers(1, 4))
def test_round_robin_gives_every_free_account_the_same_number_of_turns(
    count: int, free: set[int], rounds: int
) -> None:
    roster = Roster(make_candidates(count))
    ids = {f"id-{number}" for number in free} & set(roster.ids)
    turns, field = RoundRobin(), make_field(roster, lambda one: one.id in ids)
    picks = Counter(picked.id for _ in range(rounds * len(ids)) if (picked := turns.pick(field, None)))
    assert picks == Counter(dict.fromkeys(ids, rounds))


def test_round_robin_starves_nobody_while_others_come_and_go() -> None:
    steady = make_candidates(5)
    turns, seen = RoundRobin(), Counter[str]()
    for number in range(200):
        roster = Roster([*steady, *make_candidates(1, first=10 + number % 7)])
        picked = turns.pick(make_field(roster), None)
        assert picked is not None
        seen[picked.id] += 1
    assert min(seen[candidate.id] for candidate in steady) >= 200 // 6 - 5


def test_each_model_takes_turns_of_its_own() -> None:
    roster, turns = Roster(make_candidates(2)), RoundRobin()
    picks = [
        (model, picked.id)
        for _ in range(4)
        for model in "xy"
        if (picked := turns.pick(make_field(roster, model=model), None))
    ]
    assert Counter(picks) == Counter({(model, id_): 2 for model in "xy" for id_ in ("id-0", "id-1")})


@pytest.mark.parametrize("count", [2, 10, 80, 600])
@pytest.mark.parametrize("share", [1.0, 0.3, 0.02])
def test_sticky_moves_only_the_conversations_of_the_account_that_left(count: int, share: float) -> None:
    dice = Random(count)
    candidates = make_candidates(count)
    free = {candidate.id for candidate in candidates if dice.random() < share} | {"id-0", "id-1"}
    whole, gone = Roster(candidates), "id-1"
    rest = whole.without(gone)
    sticky = Sticky()
    there = make_field(whole, lambda one: one.id in free)
    left = make_field(rest, lambda one: one.id in free)
    cooled = make_field(whole, lambda one: one.id in free - {gone})
    for key in KEYS:
        before, after, cooling = (sticky.pick(field, key) for field in (there, left, cooled))
        assert before is not None
        assert after == cooling  # gone and unavailable are the same to a conversation
        if before.id != gone:
            assert after == before


@pytest.mark.parametrize("count", [1, 10, 300])
def test_sticky_keeps_conversations_when_an_account_comes(count: int) -> None:
    roster = Roster(make_candidates(count))
    grown = roster.with_one(make_candidates(1, first=9_999)[0])
    sticky, fields = Sticky(), (make_field(roster), make_field(grown))
    moved = 0
    for key in KEYS:
        before, after = (sticky.pick(field, key) for field in fields)
        assert after is not None
        if after != before:
            assert after.id == "id-9999"
            moved += 1
    assert moved < 3 * len(KEYS) / (count + 1) + 10


@pytest.mark.parametrize("count", [5, 10, 50])
def test_sticky_spreads_conversations(count: int) -> None:
    field, sticky = make_field(make_candidates(count)), Sticky()
    load = Counter(
        picked.id
        for number in range(200 * count)
        if (picked := sticky.pick(field, KEYS[number % 600] ^ number))
    )
    assert len(load) == count
    assert max(load.values()) < 3 * 200


def test_conversations_without_a_key_take_turns() -> None:
    field, sticky = make_field(make_candidates(3)), Sticky()
    assert len({picked.id for _ in range(3) if (picked := sticky.pick(field, None))}) == 3


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=30))
def test_a_changed_roster_equals_one_built_anew(steps: list[tuple[bool, int]]) -> None:
    roster, members = Roster(), dict[str, Candidate]()
    for comes, number in steps:
        (candidate,) = make_candidates(1, first=number)
        if comes:
            roster = roster.with_one(candidate)
            members[candidate.id] = candidate
        else:
            roster = roster.without(candidate.id)
            members.pop(candidate.id, None)
        assert same(roster, Roster(members.values()))


def test_a_changed_account_takes_the_place_of_its_former_self() -> None:
    roster = Roster(make_candidates(3))
    changed = Candidate(id="id-1", email="a1@example.com", project="another")
    assert roster.with_one(changed).by_id["id-1"] is changed
    assert len(roster.with_one(changed)) == 3
    assert roster.by_id["id-1"].project == "project-1"
