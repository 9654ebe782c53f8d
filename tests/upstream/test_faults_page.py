"""docs/faults.md says what the code does."""

from __future__ import annotations

from tests.upstream.faults_page import TARGET, render
from tests.upstream.recorded import CASES


def test_the_page_is_made_from_the_code_as_it_is() -> None:
    assert TARGET.read_text() == render(), "run: python -m tests.upstream.faults_page"


def test_the_page_has_a_row_for_each_answer_that_is_no_mere_variation() -> None:
    page = render()
    listed = [case for case in CASES if case.listed]
    assert len(listed) > 30
    assert all(f"| {case.says} |" in page for case in listed)
