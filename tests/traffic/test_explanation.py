"""Every fault and every problem has words, and the story of a request names who, what, how long and what helps."""

from __future__ import annotations

import pytest

from regrant.messages.problem import ProblemKind
from regrant.traffic.exchange import Attempt, Exchange
from regrant.traffic.explanation import _PROBLEMS, FAULTS, Person, explain, in_words
from regrant.traffic.record import Record, record_of
from regrant.upstream.faults import FaultKind

PEOPLE = {
    "ann": Person("ann@example.com", "cooling"),
    "bob": Person("bob@example.com", "active"),
}


def record(*attempts: Attempt, **fields: object) -> Record:
    made = Exchange(
        id="req_1", at=1.0, dialect="openai", model="gpt-5", served_model="gemini-pro", status=200
    )
    made.attempts.extend(attempts)
    for name, value in fields.items():
        setattr(made, name, value)
    return record_of(made)


def story(kept: Record) -> str:
    return "\n".join(in_words(kept, explain(kept, PEOPLE)))


def test_every_fault_has_words() -> None:
    assert {str(kind) for kind in FaultKind} == set(FAULTS)
    assert all(words.happened and words.meaning.endswith((".", "?")) for words in FAULTS.values())


def test_every_problem_has_words() -> None:
    assert {str(kind) for kind in ProblemKind} | {"cut", "client left"} == set(_PROBLEMS)


def test_a_request_that_was_saved_names_the_accounts_in_their_order() -> None:
    kept = record(
        Attempt(account_id="ann", status=429, fault="rate_limited", ms=12, said="Slow down"),
        Attempt(account_id="bob", status=200, ms=1300),
        ms=2000.0,
        key="laptop",
    )
    assert story(kept).splitlines() == [
        "req_1 (openai, with the key laptop) asked for gpt-5, sent to gemini-pro.",
        "bob@example.com served it with 200 after 2.00 s. 1 attempt(s) had failed before.",
        "1. ann@example.com was over its limit after 12 ms; Google answered 429.",
        "   The project's rate limit for this model was reached. It reopens by itself; until then the project rests.",
        '   Google said: "Slow down"',
        "   The account is cooling now.",
        "2. bob@example.com answered after 1.30 s; Google answered 200.",
        "   It served the request.",
        "688 ms went by waiting for an account, or in the gateway itself.",
        "What helps:",
        "  - If it happens often: spread the load over more projects, or ask Google for a higher quota.",
    ]


def test_a_stream_is_not_said_to_have_waited_while_it_ran() -> None:
    kept = record(Attempt(account_id="bob", status=200, ms=290), ms=60_000.0, first_ms=300.0)
    told = explain(kept, PEOPLE)
    assert told.waited_ms == 10
    assert "after 60.00 s, the first of it after 300 ms" in told.outcome


def test_a_removed_account_is_named_by_its_id() -> None:
    kept = record(
        Attempt(account_id="carol-id", fault="account_died", ms=5), status=503, problem="no_accounts"
    )
    told = explain(kept, PEOPLE)
    assert (told.steps[0].email, told.steps[0].state) == ("", "removed")
    text = story(kept)
    assert "1. carol-id turned out to be dead after 5 ms; Google gave no answer." in text
    assert "regrant accounts reauth carol-id" in text
    assert "It ended with 503 after 0 ms: no account could serve it." in text
    assert "regrant accounts list" in text


@pytest.mark.parametrize("problem", [str(kind) for kind in ProblemKind])
def test_a_request_without_attempts_is_explained_by_its_problem(problem: str) -> None:
    text = story(record(status=400, problem=problem, model="", served_model=""))
    assert _PROBLEMS[problem].happened in text
    assert _PROBLEMS[problem].advice in text


def test_words_of_a_newer_version_do_no_harm() -> None:
    text = story(record(Attempt(account_id="ann", fault="eaten_by_a_bear"), problem="strange", status=500))
    assert "no words for this fault" in text
    assert "strange" in text
