"""Each sentence of docs/acceptance.md is proved by tests that exist, ran and passed.

Runs after all other tests, on the outcomes that they left (`scripts/test`).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "acceptance.md"
TEST_ID = re.compile(r"`(tests/[\w/.-]+\.py::[^`]+)`")


def named_tests() -> list[str]:
    return sorted(set(TEST_ID.findall(PAGE.read_text())))


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    path = os.environ.get("REGRANT_OUTCOMES", "")
    assert path, "run scripts/test: this check needs the outcomes of the whole run"
    found: dict[str, str] = json.loads((ROOT / path).read_text())
    return found


@pytest.mark.parametrize("test_id", named_tests())
def test_the_named_test_ran_and_passed(test_id: str, outcomes: dict[str, str]) -> None:
    # A name without parameters stands for all its cases.
    said = {
        name: word for name, word in outcomes.items() if name == test_id or name.startswith(test_id + "[")
    }
    assert said, f"{test_id} did not run"
    assert set(said.values()) == {"passed"}, said


def test_each_sentence_names_at_least_one_test() -> None:
    sentences = [
        line
        for line in PAGE.read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]
    rows = [line for line in sentences if "::" in line or not line.startswith(("| sentence", "| race"))]
    assert len(rows) > 20
    bare = [line for line in rows if not TEST_ID.search(line)]
    assert not bare, bare
