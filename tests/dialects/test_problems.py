"""Every problem in every dialect, to the table of the design."""

import json
from typing import Any

import pytest

from regrant.dialects import anthropic, gemini, openai_chat
from regrant.errors import DialectError
from regrant.messages.problem import USUAL_STATUS, Problem, ProblemKind, describe_refusal

K = ProblemKind
OPENAI: dict[ProblemKind, tuple[int, str, str | None]] = {
    K.INVALID_REQUEST: (400, "invalid_request_error", None),
    K.UNAUTHORIZED: (401, "invalid_request_error", "invalid_api_key"),
    K.ORIGIN_NOT_ALLOWED: (403, "invalid_request_error", "origin_not_allowed"),
    K.NOT_FOUND: (404, "invalid_request_error", "not_found"),
    K.MODEL_NOT_FOUND: (404, "invalid_request_error", "model_not_found"),
    K.METHOD_NOT_ALLOWED: (405, "invalid_request_error", "method_not_allowed"),
    K.TOO_LARGE: (413, "invalid_request_error", "request_too_large"),
    K.NO_ACCOUNTS: (503, "server_error", "no_accounts"),
    K.RATE_LIMITED: (429, "rate_limit_exceeded", "rate_limit_exceeded"),
    K.QUOTA_EXHAUSTED: (429, "insufficient_quota", "insufficient_quota"),
    K.UPSTREAM_UNAVAILABLE: (502, "server_error", "upstream_unavailable"),
    K.UPSTREAM_TIMEOUT: (504, "server_error", "upstream_unavailable"),
    K.UPSTREAM_REJECTED: (400, "invalid_request_error", None),
    K.INTERNAL: (500, "server_error", "internal_error"),
}
ANTHROPIC: dict[ProblemKind, tuple[int, str]] = {
    K.INVALID_REQUEST: (400, "invalid_request_error"),
    K.UNAUTHORIZED: (401, "authentication_error"),
    K.ORIGIN_NOT_ALLOWED: (403, "permission_error"),
    K.NOT_FOUND: (404, "not_found_error"),
    K.MODEL_NOT_FOUND: (404, "not_found_error"),
    K.METHOD_NOT_ALLOWED: (405, "invalid_request_error"),
    K.TOO_LARGE: (413, "request_too_large"),
    K.NO_ACCOUNTS: (503, "api_error"),
    K.RATE_LIMITED: (429, "rate_limit_error"),
    K.QUOTA_EXHAUSTED: (429, "rate_limit_error"),
    K.UPSTREAM_UNAVAILABLE: (529, "overloaded_error"),
    K.UPSTREAM_TIMEOUT: (529, "overloaded_error"),
    K.UPSTREAM_REJECTED: (400, "invalid_request_error"),
    K.INTERNAL: (500, "api_error"),
}
GEMINI: dict[ProblemKind, tuple[int, str]] = {
    K.INVALID_REQUEST: (400, "INVALID_ARGUMENT"),
    K.UNAUTHORIZED: (401, "UNAUTHENTICATED"),
    K.ORIGIN_NOT_ALLOWED: (403, "PERMISSION_DENIED"),
    K.NOT_FOUND: (404, "NOT_FOUND"),
    K.MODEL_NOT_FOUND: (404, "NOT_FOUND"),
    K.METHOD_NOT_ALLOWED: (405, "UNIMPLEMENTED"),
    K.TOO_LARGE: (413, "INVALID_ARGUMENT"),
    K.NO_ACCOUNTS: (503, "UNAVAILABLE"),
    K.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED"),
    K.QUOTA_EXHAUSTED: (429, "RESOURCE_EXHAUSTED"),
    K.UPSTREAM_UNAVAILABLE: (502, "UNAVAILABLE"),
    K.UPSTREAM_TIMEOUT: (504, "DEADLINE_EXCEEDED"),
    K.UPSTREAM_REJECTED: (400, "INVALID_ARGUMENT"),
    K.INTERNAL: (500, "INTERNAL"),
}
DIALECTS = [openai_chat, anthropic, gemini]


@pytest.mark.parametrize("kind", ProblemKind)
def test_openai_problems(kind: Any) -> None:
    answer = openai_chat.encode_problem(Problem(kind, "what to do"))
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["type"], error["code"]) == OPENAI[kind]
    assert (error["message"], error["param"]) == ("what to do", None)


@pytest.mark.parametrize("kind", ProblemKind)
def test_anthropic_problems(kind: Any) -> None:
    answer = anthropic.encode_problem(Problem(kind, "what to do"))
    body = json.loads(answer.body)
    assert body["type"] == "error"
    assert (answer.status, body["error"]["type"]) == ANTHROPIC[kind]
    assert body["error"]["message"] == "what to do"


@pytest.mark.parametrize("kind", ProblemKind)
def test_gemini_problems(kind: Any) -> None:
    answer = gemini.encode_problem(Problem(kind, "what to do"))
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["status"]) == GEMINI[kind]
    assert (error["code"], error["message"]) == (answer.status, "what to do")


def test_every_kind_has_a_usual_status() -> None:
    assert set(USUAL_STATUS) == set(ProblemKind)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_upstream_that_is_away_keeps_its_status_except_in_anthropics_words(status: Any) -> None:
    problem = Problem(K.UPSTREAM_UNAVAILABLE, "away", status=status)
    assert openai_chat.encode_problem(problem).status == status
    assert gemini.encode_problem(problem).status == status
    assert anthropic.encode_problem(problem).status == 529


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
    ],
)
def test_a_rejection_keeps_the_upstreams_status_in_anthropics_words(status: Any, kind: Any) -> None:
    answer = anthropic.encode_problem(Problem(K.UPSTREAM_REJECTED, "no", status=status))
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (status, kind)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_how_long_to_wait_is_told_in_whole_seconds_rounded_up(dialect: Any) -> None:
    headers = dict(dialect.encode_problem(Problem(K.RATE_LIMITED, "wait", retry_after_s=1.2)).headers)
    assert headers == {b"content-type": b"application/json", b"retry-after": b"2"}
    assert b"retry-after" not in dict(dialect.encode_problem(Problem(K.RATE_LIMITED, "wait")).headers)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_sdks_are_asked_not_to_repeat_what_will_not_pass_soon(dialect: Any) -> None:
    for kind in (K.QUOTA_EXHAUSTED, K.NO_ACCOUNTS):
        assert (b"x-should-retry", b"false") in dialect.encode_problem(Problem(kind, "x")).headers


def test_gemini_clients_get_the_wait_as_a_duration() -> None:
    answer = gemini.encode_problem(Problem(K.RATE_LIMITED, "wait", retry_after_s=1.5))
    assert json.loads(answer.body)["error"]["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}
    ]


def test_a_refused_request_names_its_field_in_every_dialect() -> None:
    problem = describe_refusal(DialectError("Expected `str`, got `int`.", param="messages[0].content"))
    assert json.loads(openai_chat.encode_problem(problem).body)["error"]["param"] == "messages[0].content"
    assert "messages[0].content" in json.loads(anthropic.encode_problem(problem).body)["error"]["message"]
    details = json.loads(gemini.encode_problem(problem).body)["error"]["details"]
    assert details[0]["fieldViolations"][0]["field"] == "messages[0].content"


def test_a_problems_own_code_wins() -> None:
    body = openai_chat.encode_problem(Problem(K.UPSTREAM_UNAVAILABLE, "x", code="upstream_auth")).body
    assert json.loads(body)["error"]["code"] == "upstream_auth"
