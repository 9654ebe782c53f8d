"""Problems as Anthropic writes them: `{"type": "error", "error": {"type", "message"}}`.

Which problem it is, is decided in `gateway/`. Source: docs.anthropic.com, "Errors".
"""

from __future__ import annotations

import msgspec

from regrant.dialects.base import ProblemAnswer, answer_problem
from regrant.messages.problem import Problem, ProblemKind

OVERLOADED = 529
"""Anthropic's own status for "away, ask again": its clients back off and repeat."""

_TYPES: dict[ProblemKind, str] = {
    ProblemKind.INVALID_REQUEST: "invalid_request_error",
    ProblemKind.UNAUTHORIZED: "authentication_error",
    ProblemKind.ORIGIN_NOT_ALLOWED: "permission_error",
    ProblemKind.NOT_FOUND: "not_found_error",
    ProblemKind.MODEL_NOT_FOUND: "not_found_error",
    ProblemKind.METHOD_NOT_ALLOWED: "invalid_request_error",
    ProblemKind.TOO_LARGE: "request_too_large",
    ProblemKind.NO_ACCOUNTS: "api_error",
    ProblemKind.RATE_LIMITED: "rate_limit_error",
    ProblemKind.QUOTA_EXHAUSTED: "rate_limit_error",
    ProblemKind.UPSTREAM_UNAVAILABLE: "overloaded_error",
    ProblemKind.UPSTREAM_TIMEOUT: "overloaded_error",
    ProblemKind.INTERNAL: "api_error",
}
_TYPES_OF_REJECTIONS = {403: "permission_error", 404: "not_found_error", 413: "request_too_large"}
_AWAY = frozenset({ProblemKind.UPSTREAM_UNAVAILABLE, ProblemKind.UPSTREAM_TIMEOUT})


def encode_problem(problem: Problem) -> ProblemAnswer:
    status = OVERLOADED if problem.kind in _AWAY else problem.http_status
    return answer_problem(problem, status=status, body=encode_error(problem))


def encode_failure(problem: Problem) -> bytes:
    """The event that ends a stream which broke off."""
    return b"event: error\ndata: %s\n\n" % encode_error(problem)


def encode_error(problem: Problem) -> bytes:
    """The body alone; the same object is the data of an `error` event in a stream."""
    if problem.kind is ProblemKind.UPSTREAM_REJECTED:
        kind = _TYPES_OF_REJECTIONS.get(problem.http_status, "invalid_request_error")
    else:
        kind = _TYPES[problem.kind]
    where = f"{problem.param}: " if problem.param and problem.param not in problem.message else ""
    error = {"type": kind, "message": where + problem.message}
    return msgspec.json.encode({"type": "error", "error": error})
