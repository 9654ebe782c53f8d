"""Which accounts a client key and a model may use."""

from __future__ import annotations

from typing import Any

import pytest
from tests.pool.fakes import HandClock, make_candidates

from regrant.errors import SettingsError
from regrant.pool.arrangement import Grouping, arrange, grouping_of
from regrant.pool.choices import DEFAULT, Choice, Choices, Rule
from regrant.pool.lease import Absence, Lease, Unavailable, Wish
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.pool.strategies.sticky import Sticky
from regrant.settings import make

GROUPS = [{"name": "work", "accounts": ["a0@example.com", "ID-1"], "priority": 2, "weight": 3.0}]


def arranged(*choices: dict[str, Any], clock: HandClock | None = None, **settings: Any) -> Pool:
    given = {"pool.groups": GROUPS, "pool.choices": list(choices), **settings}
    wanted = make(given).pool
    grouping = grouping_of(wanted)
    pool = Pool(clock or HandClock(), Sticky())
    arrange(pool, wanted)
    pool.replace(placed(one, grouping) for one in make_candidates(4))
    return pool


def placed(one: Candidate, grouping: Grouping) -> Candidate:
    place = grouping.place(one.id, one.email, "")
    return Candidate(
        id=one.id,
        email=one.email,
        project=one.project,
        groups=place.groups,
        priority=place.priority,
        weight=place.weight,
    )


def who(pool: Pool, client: str = "", model: str = "m") -> set[str]:
    leases = [pool.lease(Wish(model, key, client=client)) for key in range(60)]
    return {lease.account.id for lease in leases if isinstance(lease, Lease)}


def test_the_most_specific_rule_wins_whatever_the_order() -> None:
    rules = [
        Rule(Choice("any")),
        Rule(Choice("pattern"), model="gemini-*"),
        Rule(Choice("longer pattern"), model="gemini-3-*"),
        Rule(Choice("model"), model="gemini-3-pro"),
        Rule(Choice("key"), key="k"),
        Rule(Choice("key and pattern"), key="k", model="*-pro"),
        Rule(Choice("both"), key="k", model="gemini-3-pro"),
    ]
    for order in (rules, rules[::-1]):
        choices = Choices(order)
        found = {
            (key, model): choices.find(key, model).group
            for key in ("", "k")
            for model in ("x", "gemini-2", "gemini-3-x", "gemini-3-pro", "gemini-2-pro")
        }
        assert found == {
            ("", "x"): "any",
            ("", "gemini-2"): "pattern",
            ("", "gemini-3-x"): "longer pattern",
            ("", "gemini-3-pro"): "model",
            ("", "gemini-2-pro"): "pattern",
            ("k", "x"): "key",
            ("k", "gemini-2"): "key",
            ("k", "gemini-3-x"): "key",
            ("k", "gemini-3-pro"): "both",
            ("k", "gemini-2-pro"): "key and pattern",
        }
    assert Choices().find("k", "m") == DEFAULT


def test_a_group_names_accounts_by_email_id_or_label_whatever_the_case() -> None:
    grouping = grouping_of(make({"pool.groups": GROUPS}).pool)
    assert grouping.place("x", "A0@Example.com", "").groups == {"work"}
    assert grouping.place("id-1", "b", "").weight == 3.0
    assert grouping.place("x", "y", "id-1").priority == 2
    assert grouping.place("x", "y", "z").groups == frozenset()


def test_a_key_is_confined_to_its_group() -> None:
    pool = arranged({"key": "laptop", "group": "work"})
    assert who(pool, "laptop") == {"id-0", "id-1"}
    assert who(pool, "other") == who(pool) == {"id-0", "id-1", "id-2", "id-3"}
    for id_ in ("id-0", "id-1"):
        pool.evict(id_, Absence.PAUSED)
    none = pool.lease(Wish("m", client="laptop"))
    assert isinstance(none, Unavailable)
    assert none.reasons == {Absence.PAUSED: 2, Absence.UNSUITED: 2}
    assert who(pool) == {"id-2", "id-3"}


def test_a_model_may_have_a_group_of_its_own() -> None:
    pool = arranged({"model": "gemini-*-pro", "group": "work"})
    assert who(pool, model="gemini-3-pro") == {"id-0", "id-1"}
    assert who(pool, model="gemini-3-flash") == {"id-0", "id-1", "id-2", "id-3"}


@pytest.mark.parametrize("fallback", [True, False])
def test_a_pinned_account_falls_back_only_if_told_so(*, fallback: bool) -> None:
    pool = arranged({"key": "k", "account": "A2@example.com", "fallback": fallback})
    assert who(pool, "k") == {"id-2"}
    pool.evict("id-2", Absence.PAUSED)
    assert who(pool, "k") == ({"id-0", "id-1", "id-3"} if fallback else set())


def test_a_group_falls_back_only_when_nobody_of_it_is_free() -> None:
    pool = arranged({"key": "k", "group": "work", "fallback": True})
    assert who(pool, "k") == {"id-0", "id-1"}
    pool.evict("id-0", Absence.PAUSED)
    assert who(pool, "k") == {"id-1"}
    pool.evict("id-1", Absence.PAUSED)
    assert who(pool, "k") == {"id-2", "id-3"}


def test_a_key_may_have_a_strategy_of_its_own() -> None:
    pool = arranged({"key": "batch", "strategy": "fill_first"}, {"key": "turns", "strategy": "round_robin"})
    assert who(pool, "batch") == {"id-0"}
    leases = [pool.lease(Wish("m", 5, client="turns")) for _ in range(4)]
    assert len({lease.account.id for lease in leases if isinstance(lease, Lease)}) == 4
    pool.admit(make_candidates(1, first=7)[0])  # whose turn it is survives changes of the pool
    last = pool.lease(Wish("m", 5, client="turns"))
    assert isinstance(last, Lease)
    assert last.account.id == "id-7"


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"group": "nobody"}, 'found "nobody"'),
        ({"group": "work", "account": "a"}, "found a group and an account"),
        ({"strategy": "fastest"}, "fastest"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_an_error(choice: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make({"pool.groups": GROUPS, "pool.choices": [choice]})
