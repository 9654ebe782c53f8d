"""A new or repaired account takes its share by and by, and all of it when nobody else is free."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.pool.fakes import HandClock, make_candidates

from regrant.pool.lease import Absence, Lease, Wish
from regrant.pool.pool import Pool
from regrant.pool.slow_start import SlowStart
from regrant.pool.strategies import STRATEGIES

NEW = "id-9"
KEYS = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1, 1200)]


def make_pool(strategy: str, clock: HandClock, count: int = 3) -> Pool:
    pool = Pool(clock, STRATEGIES[strategy]())
    pool.use(None, slow_start_s=60)
    pool.replace(make_candidates(count))
    return pool


def picks(pool: Pool, *, keyed: bool) -> list[str]:
    found = []
    for key in KEYS:
        lease = pool.lease(Wish("m", key if keyed else None))
        assert isinstance(lease, Lease)
        found.append(lease.account.id)
        lease.release()
    return found


@pytest.mark.parametrize("strategy", ["round_robin", "least_loaded", "weighted", "sticky"])
@pytest.mark.parametrize("keyed", [True, False])
def test_a_new_account_grows_into_its_share(strategy: str, *, keyed: bool) -> None:
    clock = HandClock()
    pool = make_pool(strategy, clock)
    pool.admit(make_candidates(1, first=9)[0])
    shares = []
    for seconds in (0.001, 15, 30, 60):
        clock.time = 1_000_000 + seconds
        shares.append(picks(pool, keyed=keyed).count(NEW) / len(KEYS))
    assert shares[0] < 0.02
    whole = shares[3]
    assert whole > 0.15
    assert 0.1 * whole < shares[1] < 0.4 * whole
    assert 0.3 * whole < shares[2] < 0.7 * whole


def test_the_first_request_goes_to_it_at_once() -> None:
    pool = make_pool("round_robin", HandClock())
    pool.admit(make_candidates(1, first=9)[0])
    leases = [pool.lease(Wish("m")) for _ in range(8)]
    assert [lease.account.id for lease in leases if isinstance(lease, Lease)].count(NEW) == 1


def test_a_conversation_moves_to_it_at_most_once() -> None:
    clock = HandClock()
    pool = make_pool("sticky", clock)
    before = picks(pool, keyed=True)
    pool.admit(make_candidates(1, first=9)[0])
    for _ in range(8):
        pool.lease(Wish("m"))  # one request without a conversation proves that it works
    seen = [before]
    for seconds in range(1, 70, 4):
        clock.time = 1_000_000 + seconds
        seen.append(picks(pool, keyed=True))
    for homes in zip(*seen, strict=True):
        assert sum(one != other for one, other in pairwise(homes)) <= 1
        settled = [home for home in homes[2:] if home == NEW]
        assert list(homes[len(homes) - len(settled) :]) == settled


def test_a_new_account_that_is_the_only_one_free_is_never_refused() -> None:
    clock = HandClock()
    pool = make_pool("sticky", clock, count=1)
    pool.admit(make_candidates(1, first=9)[0])
    pool.evict("id-0", Absence.DISABLED)
    for key in KEYS[:50]:
        lease = pool.lease(Wish("m", key))
        assert isinstance(lease, Lease)
        assert lease.account.id == NEW


def test_the_first_account_of_a_pool_and_a_changed_one_have_their_whole_share() -> None:
    pool = make_pool("round_robin", HandClock(), count=0)
    for candidate in make_candidates(2):
        pool.admit(candidate)
        pool.admit(candidate)
    assert picks(pool, keyed=False).count("id-0") > len(KEYS) / 3


def test_fill_first_means_what_it_says_for_a_new_account_too() -> None:
    pool = make_pool("fill_first", HandClock())
    pool.admit(make_candidates(1, first=0)[0])
    assert set(picks(pool, keyed=True)) == {"id-0"}


def test_a_clock_that_is_set_back_ends_the_slow_start() -> None:
    slow = SlowStart(30.0)
    slow.begin("a", 1000.0)
    assert not slow.defers("a", None, 999.0)
    assert not slow


def test_zero_seconds_is_no_slow_start() -> None:
    slow = SlowStart()
    slow.begin("a", 1000.0)
    assert not slow
    assert not slow.defers("a", None, 1000.0)
