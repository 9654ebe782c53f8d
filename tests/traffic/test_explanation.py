"""Every fault and every problem has words, and the story of a request names who, what, how long and what helps."""

from __future__ import annotations

import pytest

from regrant.messages.problem import ProblemKind
from regrant.traffic.exchange import Attempt, Exchange
from regrant.traffic.explanation import _PROBLEMS, Person, explain, in_words
from regrant.traffic.record import Record, record_of

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
        "   bob@example.com was asked next.",
        "   The account is cooling now.",
        "2. bob@example.com answered after 1.30 s; Google answered 200.",
        "   It served the request.",
        "688 ms went by waiting for an account, or in the gateway itself.",
        "What helps:",
        "  - If it happens often: spread the load over more projects, or ask Google for a higher quota.",
    ]


def test_a_model_that_stood_in_is_named() -> None:
    kept = record(
        Attempt(account_id="bob", status=404, fault="model_not_found", ms=12, model="gemini-new"),
        Attempt(account_id="bob", status=200, ms=1300, model="gemini-pro"),
        ms=1320.0,
    )
    lines = story(kept).splitlines()
    assert "   gemini-pro stood in for gemini-new; bob@example.com was asked for it." in lines
    assert any(line.startswith("1. bob@example.com, asked for gemini-new, ") for line in lines)


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


def test_a_request_that_was_served_at_once_is_one_line() -> None:
    kept = record(Attempt(account_id="bob", status=200, ms=1300), ms=1310.0)
    assert story(kept) == (
        "req_1 (openai) asked for gpt-5, sent to gemini-pro: bob@example.com served it with 200 after 1.31 s."
    )


def test_a_second_try_of_the_same_account_says_what_was_changed() -> None:
    kept = record(
        Attempt(account_id="ann", status=401, fault="token_rejected", ms=5),
        Attempt(account_id="ann", status=400, fault="signature_refused", ms=5),
        Attempt(account_id="ann", status=200, ms=5),
    )
    told = explain(kept, PEOPLE)
    assert [step.then for step in told.steps] == [
        "It got a fresh token and was asked once more.",
        "It was asked once more, without the signature.",
        "",
    ]
    assert told.steps[0].advice.endswith(": regrant accounts verify ann@example.com")


def test_a_refused_request_says_why_nobody_else_was_asked() -> None:
    reasons = {"disabled": 2, "tried": 1}
    kept = record(
        Attempt(account_id="ann", status=403, fault="permission", ms=5),
        status=503,
        problem="no_accounts",
        reasons=reasons,
    )
    told = "Nobody else was free then: 2 disabled (the grant died; sign in again), 1 tried without success."
    assert told in story(kept).splitlines()
    kept = record(status=503, problem="no_accounts", reasons={"paused": 1})
    assert "Nobody was free then: 1 paused." in story(kept).splitlines()


def test_reasons_of_a_model_that_another_stood_in_for_are_not_kept() -> None:
    assert record(Attempt(account_id="bob", status=200), reasons={"cooldown": 1}).reasons == {}
