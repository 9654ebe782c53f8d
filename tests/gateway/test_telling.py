"""What clients are told: counts and the next step, never whom it concerns."""

from __future__ import annotations

import pytest

from regrant.gateway import verdict
from regrant.gateway.pipeline import Refusal
from regrant.gateway.telling import duration, tell, unknown_model
from regrant.messages.problem import ProblemKind
from regrant.pool.reasons import count_reasons


def refusal(kind: verdict.EndingKind, status: int, says: str = "", **about: float | bool | str) -> Refusal:
    reasons = {"disabled": 2, "cooldown": 1, "paused": 0}
    return Refusal(verdict.Ending(kind=kind, status=status, **about), None, reasons, says)  # type: ignore[arg-type]


def test_reasons_are_counted_in_words_and_zero_is_left_out() -> None:
    assert count_reasons({"paused": 2, "disabled": 0, "new word": 1}) == "2 paused, 1 new word"
    assert count_reasons({}) == ""


def test_nobody_to_serve_names_the_command() -> None:
    problem = tell(refusal(verdict.EndingKind.NO_ACCOUNTS, 503))
    assert (problem.kind, problem.http_status, problem.code) == (ProblemKind.NO_ACCOUNTS, 503, "no_accounts")
    assert "2 disabled" in problem.message
    assert "regrant accounts list" in problem.message
    empty = tell(Refusal(verdict.Ending(kind=verdict.EndingKind.NO_ACCOUNTS, status=503)))
    assert "regrant accounts add" in empty.message


def test_a_minute_s_limit_and_a_day_s_are_told_apart() -> None:
    minute = tell(refusal(verdict.EndingKind.RATE_LIMITED, 429, retry_after_s=0.2))
    day = tell(refusal(verdict.EndingKind.RATE_LIMITED, 429, retry_after_s=5000.0, per_day=True))
    assert (minute.kind, day.kind) == (ProblemKind.RATE_LIMITED, ProblemKind.QUOTA_EXHAUSTED)
    assert "Try again in 1 s." in minute.message
    assert day.retry_after_s == 5000.0
    assert "Try again in 1 h 24 min." in day.message


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "1 s"), (119.5, "120 s"), (121, "3 min"), (3599, "1 h"), (43_200, "12 h"), (43_201, "12 h 1 min")],
)
def test_a_wait_is_told_in_words_and_never_too_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_google_s_words_are_told_only_about_the_client_s_own_request() -> None:
    passed = tell(refusal(verdict.EndingKind.PASS_ON, 400, "Bad tool name."))
    assert (passed.kind, passed.message, passed.http_status) == (
        ProblemKind.UPSTREAM_REJECTED,
        "Bad tool name.",
        400,
    )
    away = tell(refusal(verdict.EndingKind.UPSTREAM_UNAVAILABLE, 502, "secret of ann@example.com"))
    assert "ann@" not in away.message
    assert tell(refusal(verdict.EndingKind.PASS_ON, 404)).kind is ProblemKind.MODEL_NOT_FOUND
    assert tell(refusal(verdict.EndingKind.UPSTREAM_UNAVAILABLE, 504)).kind is ProblemKind.UPSTREAM_TIMEOUT


def test_an_unknown_model_names_the_settings_and_is_not_quoted_at_length() -> None:
    problem = unknown_model("x" * 10_000)
    assert "models.aliases" in problem.message
    assert len(problem.message) < 600


def test_no_e_mail_in_googles_words_reaches_a_client() -> None:
    said = "Permission denied for ann.lee+work@mail.example.co.uk on project 1."
    told = tell(refusal(verdict.EndingKind.PASS_ON, 400, said))
    assert told.message == "Permission denied for an account on project 1."
