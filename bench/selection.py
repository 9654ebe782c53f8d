"""What choosing an account costs: microseconds per lease taken and given back, in one process without any server.

    python -m bench.selection        (in seconds)

The pool is the gateway's own, with its default strategy, conversations with and without a key, and with most projects cooling down.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.goals import Result
from bench.scale import Bench
from bench.work import FLASH, Wrong

if TYPE_CHECKING:
    from regrant.pool.pool import Pool

COMMAND = "python -m bench.selection"
ROUNDS = 5


def pool_of(accounts: int, *, strategy: str = "sticky", cooling: float = 0.0) -> Pool:
    """A pool whose accounts have a project each; the share `cooling` of them cools down for an hour."""
    from regrant.clock import SystemClock
    from regrant.pool.cooldown import Cooldown, CooldownKey
    from regrant.pool.pool import Pool
    from regrant.pool.selector import Candidate
    from regrant.pool.strategies import STRATEGIES
    from regrant.upstream.faults import FaultKind, Scope

    clock = SystemClock()
    pool = Pool(clock, STRATEGIES[strategy]())
    pool.replace(
        Candidate(id=f"account-{number}", email=f"a{number}@example.com", project=f"project-{number}")
        for number in range(accounts)
    )
    hold = Cooldown(clock.now() + 3600, FaultKind.RATE_LIMITED)
    for number in range(int(accounts * cooling)):
        key = CooldownKey(scope=Scope.PROJECT_MODEL, project=f"project-{number}", model=FLASH)
        pool.observe(key, hold)
    return pool


def lease_us(pool: Pool, picks: int, key_of: Callable[[int], int | None]) -> float:
    """The median over rounds of microseconds per lease. Raises Wrong when an account is refused though some are free."""
    from regrant.pool.lease import Lease, Wish

    found = []
    wishes = [Wish(FLASH, key_of(number)) for number in range(picks)]
    for _ in range(ROUNDS):
        started = time.process_time()
        for wish in wishes:
            lease = pool.lease(wish)
            if not isinstance(lease, Lease):
                raise Wrong(f"no account: {lease}")
            lease.release()
        found.append((time.process_time() - started) / picks * 1e6)
    return statistics.median(found)


def _conversation(number: int) -> int:
    """Keys as spread out as hashes are."""
    return number * 0x9E3779B97F4A7C15 % (1 << 64)


def measure(accounts: int, picks: int) -> dict[str, float]:
    """Microseconds per lease in each of the situations."""
    found = {
        "with a key us": lease_us(pool_of(accounts), picks, _conversation),
        "without a key us": lease_us(pool_of(accounts), picks, lambda _: None),
    }
    for share in (0.5, 0.9, 0.99):
        if accounts * share % 1:
            continue
        few = max(20, picks // 20)
        cooling = pool_of(accounts, cooling=share)
        found[f"with a key, {share:.0%} cooling us"] = lease_us(cooling, few, _conversation)
        found[f"without a key, {share:.0%} cooling us"] = lease_us(cooling, few, lambda _: None)
    return found


def selection(bench: Bench) -> list[Result]:
    """With nothing cooling, with and without a key: the slower of the two counts."""
    results = []
    for key, accounts in (("select_10", 10), ("select_10000", bench.scale.accounts)):
        found = measure(accounts, bench.scale.picks)
        value = max(found["with a key us"], found["without a key us"])
        results.append(Result(key, value, found, COMMAND))
    return results


def main() -> None:
    for accounts in (10, 10_000):
        print(f"{accounts:,} accounts")
        for name, value in measure(accounts, 20_000).items():
            print(f"  {name.removesuffix(' us'):32} {value:8.2f} us")


if __name__ == "__main__":
    main()
