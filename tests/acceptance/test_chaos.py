"""Every fault at random, and the promises hold: see `chaos/oracle.py` for what is asserted. `make soak` runs this for long."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.chaos.run import run
from tests.sandbox_client import SandboxProcess

SECONDS = 8.0
PER_SECOND = 80.0


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "protected"), [(1, False), (2, True)], ids=["plain", "quota_protection"])
def test_thousands_of_requests_meet_every_fault_and_every_promise_is_kept(
    sandbox: SandboxProcess, data_dir: Path, *, seed: int, protected: bool
) -> None:
    report = run(sandbox, data_dir, seed, seconds=SECONDS, per_second=PER_SECOND, protected=protected)
    print(report.summary())
    assert not report.breaches, report.told
