"""Every fault has words, which lead to a command that exists."""

from __future__ import annotations

import pytest

from regrant.upstream.fault_words import FAULT_WORDS, STRANGE, words_of
from regrant.upstream.faults import FaultKind


def test_every_fault_has_words_and_nothing_else_has() -> None:
    assert {str(kind) for kind in FaultKind} == set(FAULT_WORDS)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_words_are_sentences_and_a_command_names_the_account(kind: FaultKind) -> None:
    words = words_of(kind)
    assert words.happened
    assert words.meaning.endswith((".", "?"))
    assert words.advice.endswith(".") or not (words.advice or words.command)
    command = words.command_for("ann@example.com")
    assert command.startswith("regrant ") or not command
    assert "{" not in command


def test_a_fault_of_a_later_version_has_no_words() -> None:
    assert words_of("eaten_by_a_bear") is STRANGE
