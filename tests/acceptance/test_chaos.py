"""Every fault at random, and the promises hold: see `chaos/oracle.py` and `chaos/books.py` for what is asserted.

`make soak` runs this for long, with seeds by chance; `SEED=7 make soak` runs one seed again.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.chaos import faults
from tests.acceptance.chaos.run import run
from tests.sandbox_client import SandboxProcess

SECONDS = 8.0
"""Of faults; half a minute with the recovery."""
PER_SECOND = 80.0


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "protected"), [(6, False), (9, True)], ids=["plain", "quota_protection"])
def test_thousands_of_requests_meet_every_fault_and_every_promise_is_kept(
    sandbox: SandboxProcess, data_dir: Path, *, seed: int, protected: bool
) -> None:
    report = run(sandbox, data_dir, seed, seconds=SECONDS, per_second=PER_SECOND, protected=protected)
    print(report.summary())
    assert not report.breaches, report.told
    assert report.requests > SECONDS * PER_SECOND, "the crowd was there"
    assert len(report.met) > 15, f"few faults were met: {sorted(report.met)}"


def test_every_error_that_the_sandbox_knows_is_played(sandbox: SandboxProcess) -> None:
    played = {fault.fields.get("name") for fault in faults.ALL} | set(faults.DEADLY)
    played |= {behaviour.get("name") for behaviour in faults.TOKEN_TROUBLES}
    assert set(sandbox.state()["errors"]) <= played
