"""Quotas: what was used of them, what is held back, and when it comes back."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.acceptance.harness import MODEL, Gateway, People, account_file, wait_until
from tests.acceptance.wire import asked
from tests.sandbox_client import SandboxProcess

OTHER_MODEL = "gemini-2.5-flash"
OWN_PROJECT = "100000000001"


def limits(**table: object) -> str:
    return json.dumps([{"model": MODEL, **table}])


def test_a_project_at_its_reserve_is_left_alone_and_the_next_one_serves(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    for name, project in {"ann": "one", "bob": "one", "cara": "two"}.items():
        sandbox.person(f"{name}@example.com", projects=[project])
        account_file(
            data_dir, name, sandbox.grant(f"{name}@example.com"), fresh=True, project_id=project
        )
    settings = {
        "QUOTA__PROTECTION": "true",
        "QUOTA__RESERVE": "0.2",
        "QUOTA__LIMITS": limits(project_id="one", requests_per_day=5),
        "POOL__STRATEGY": "round_robin",
    }
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        served = [gateway.served_by(str(number)) for number in range(12)]
        assert sum(name != "cara" for name in served) == 4, "5 less the fifth that is held back"
        assert set(served[-4:]) == {"cara"}
        assert len(asked(sandbox)) == 12
        assert gateway.chat(model=OTHER_MODEL).status == 200
