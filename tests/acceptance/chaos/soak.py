"""The chaos for long: runs with seeds by chance until the time is over. `make soak`, `SOAK_S=600 make soak`, `make soak SEED=123`.

Prints each seed before its run; ends with 1 at the first breach, with all that is known about it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

from tests.acceptance.chaos import faults
from tests.acceptance.chaos.run import run
from tests.sandbox_client import SandboxProcess

SECONDS = 20.0
"""Of faults in one run; its recovery comes on top."""
PER_SECOND = 80.0
LARGEST_SEED = 1_000_000


def soak(seconds: float, seed: int | None) -> int:
    """The exit code. Runs one seed if it is given; else as many as fit, at least one."""
    end = time.monotonic() + seconds
    runs = 0
    unmet = {fault.label for fault in faults.ALL}
    while runs == 0 or (seed is None and time.monotonic() < end):
        chosen = SystemRandom().randrange(LARGEST_SEED) if seed is None else seed
        print(f"seed {chosen}", flush=True)
        with tempfile.TemporaryDirectory(prefix="regrant-soak-") as folder, SandboxProcess() as sandbox:
            data_dir = Path(folder) / "data"
            data_dir.mkdir(mode=0o700)
            protected = chosen % 2 == 0
            report = run(
                sandbox, data_dir, chosen, seconds=SECONDS, per_second=PER_SECOND, protected=protected
            )
        print(report.summary(), flush=True)
        if report.breaches:
            print(report.told, flush=True)
            return 1
        runs += 1
        unmet -= report.met
    print(f"{runs} runs without a breach; faults that no call met: {', '.join(sorted(unmet)) or 'none'}")
    return 0


if __name__ == "__main__":
    given = os.environ.get("SEED", "")
    sys.exit(soak(float(os.environ.get("SOAK_S", "600")), int(given) if given else None))
