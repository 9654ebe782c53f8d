"""Problems as OpenAI writes them: `{"error": {"message", "type", "param", "code"}}`.

Which problem it is, is decided in `gateway/`. Source: openai-python 3.54, `_exceptions.py`: its classes go by the status.
"""

from __future__ import annotations

import msgspec

from regrant.dialects.base import ProblemAnswer, answer_problem
from regrant.messages.problem import Problem, ProblemKind

_TYPE_AND_CODE: dict[ProblemKind, tuple[str, str | None]] = {
    ProblemKind.INVALID_REQUEST: ("invalid_request_error", None),
    ProblemKind.UNAUTHORIZED: ("invalid_request_error", "invalid_api_key"),
    ProblemKind.ORIGIN_NOT_ALLOWED: ("invalid_request_error", "origin_not_allowed"),
    ProblemKind.NOT_FOUND: ("invalid_request_error", "not_found"),
    ProblemKind.MODEL_NOT_FOUND: ("invalid_request_error", "model_not_found"),
    ProblemKind.METHOD_NOT_ALLOWED: ("invalid_request_error", "method_not_allowed"),
    ProblemKind.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    ProblemKind.NO_ACCOUNTS: ("server_error", "no_accounts"),
    ProblemKind.RATE_LIMITED: ("rate_limit_exceeded", "rate_limit_exceeded"),
    ProblemKind.QUOTA_EXHAUSTED: ("insufficient_quota", "insufficient_quota"),
    ProblemKind.UPSTREAM_UNAVAILABLE: ("server_error", "upstream_unavailable"),
    ProblemKind.UPSTREAM_TIMEOUT: ("server_error", "upstream_unavailable"),
    ProblemKind.UPSTREAM_REJECTED: ("invalid_request_error", None),
    ProblemKind.INTERNAL: ("server_error", "internal_error"),
}


def encode_problem(problem: Problem) -> ProblemAnswer:
    return answer_problem(problem, status=problem.http_status, body=encode_error(problem))


def encode_error(problem: Problem) -> bytes:
    """The body alone; the same object is an event in a stream."""
    kind, code = _TYPE_AND_CODE[problem.kind]
    error = {
        "message": problem.message,
        "type": kind,
        "param": problem.param or None,
        "code": problem.code or code,
    }
    return msgspec.json.encode({"error": error})
