"""For all tests: records how each one ended, for the acceptance check that runs after them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

OUTCOMES = Path(__file__).parent.parent / ".make" / "outcomes.json"


class Outcomes:
    """The worst word said about each test: passed, failed, skipped or xfailed."""

    def __init__(self) -> None:
        self.by_test: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        word = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        if report.when == "call" or word != "passed":
            self.by_test[report.nodeid] = word

    def pytest_sessionfinish(self) -> None:
        known = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
        OUTCOMES.parent.mkdir(exist_ok=True)
        OUTCOMES.write_text(json.dumps(known | self.by_test, indent=0, sort_keys=True))


def pytest_configure(config: pytest.Config) -> None:
    in_worker = hasattr(config, "workerinput")
    if not in_worker and "REGRANT_OUTCOMES" not in os.environ:
        config.pluginmanager.register(Outcomes(), "outcomes")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> None:
    """No test reads the settings or the home folder of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("REGRANT_") and name != "REGRANT_OUTCOMES"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))
